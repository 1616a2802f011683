"""Objects in an image: their boxes, with tags that name them, their masks and their skeletons."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionlab.pictures.colours import BLACK, VERMILLION, Colour
from visionlab.pictures.grids import fit
from visionlab.pictures.masks import resized_mask, tint
from visionlab.pictures.skeletons import draw_skeleton
from visionlab.pictures.tags import Rectangle, draw_tag

DASH, BREAK = 6, 4  # pixels
SMALL = 12  # pixels of height or width under which a box is drawn finely


def objects(
    image: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.float64],
    captions: Sequence[str] | None = None,
    colours: Sequence[Colour] | None = None,
    masks: npt.NDArray[np.uint8] | None = None,
    keypoints: npt.NDArray[np.float64] | None = None,
    dashed: npt.NDArray[np.bool_] | None = None,
    thin: npt.NDArray[np.bool_] | None = None,
    side: int = 512,
) -> Image.Image:
    """Draw objects over an image; the smaller over the larger ones, and the tags over all.

    Args:
        image: ``(H, W, 1 or 3)``.
        boxes: ``(n, 4)``, left, top, right, bottom in pixels of the image, between pixels; what lies outside the image
            is not seen, and a box with a NaN not drawn.
        captions: in the tags, one an object; "" for no tag. A tag lies inside the picture; one that is wider is cut,
            and a picture lower than a line of text has none.
        colours: one an object; all have the same if not given.
        masks: ``(n, H, W)``, 1 inside.
        keypoints: ``(n, K, 3)``, as :func:`visionlab.pictures.skeletons.draw_skeleton` wants them, but in pixels of the
            image.
        dashed: ``(n,)``, which boxes have dashed lines: those of crowds and groups.
        thin: ``(n,)``, which boxes have thin lines: the difficult ones.
        side: the longer side of the picture: the image is enlarged or reduced to it as by
            :func:`visionlab.pictures.grids.fit`, before anything is drawn.

    Returns:
        RGB.

    Raises:
        ValueError: if the arguments do not fit each other or this description.
    """
    shown = fit(image, side)
    _check(image, boxes, captions, colours, masks, keypoints, dashed, thin)
    scale = np.array(shown.size) / (image.shape[1], image.shape[0])
    corners = boxes * np.tile(scale, 2)
    order = [int(i) for i in np.argsort(-_areas(corners), kind="stable") if not np.isnan(corners[i]).any()]
    paint = [VERMILLION] * len(boxes) if colours is None else colours
    if masks is not None:
        pixels = np.array(shown)
        for i in order:
            tint(pixels, resized_mask(masks[i], *shown.size) > 0, paint[i])
        shown = Image.fromarray(pixels)
    draw = ImageDraw.Draw(shown)
    rectangles = {i: _rectangle(corners[i], *shown.size) for i in order}
    for i in order:
        _draw_box(draw, rectangles[i], paint[i], dashed is not None and dashed[i], thin is not None and thin[i])
    if keypoints is not None:
        for i in order:
            draw_skeleton(draw, keypoints[i] * (*scale, 1), paint[i])
    tags: list[Rectangle] = []
    for i in order:
        if captions is not None and captions[i]:
            tags.extend(draw_tag(draw, shown.size, rectangles[i], captions[i], paint[i], tags))
    return shown


def _areas(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    areas: npt.NDArray[np.float64] = np.prod((boxes[:, 2:] - boxes[:, :2]).clip(0, 1e9), axis=1)
    return areas


def _rectangle(box: npt.NDArray[np.float64], width: int, height: int) -> Rectangle:
    """The first and last column and row of a box, which has at least one; lines far outside the picture come nearer."""
    far = 2 * (DASH + BREAK)  # where dashes are not seen either
    left, top, right, bottom = np.clip(box, -far, np.tile([width + far, height + far], 2)).tolist()
    (first_column, last_column), (first_row, last_row) = _span(left, right), _span(top, bottom)
    return first_column, first_row, last_column, last_row


def _span(start: float, end: float) -> tuple[int, int]:
    if round(end) > round(start):
        return round(start), round(end) - 1
    return math.floor(start), math.floor(start)


def _draw_box(draw: ImageDraw.ImageDraw, rectangle: Rectangle, colour: Colour, dashed: bool, thin: bool) -> None:
    """Draw a frame inside a rectangle, and inside that a black one, without which it would not show everywhere."""
    left, top, right, bottom = rectangle
    width = 1 if thin or min(right - left, bottom - top) < SMALL else 2
    if width == 2 or thin:
        _draw_frame(draw, (left + width, top + width, right - width, bottom - width), BLACK, 1, dashed)
    _draw_frame(draw, rectangle, colour, width, dashed)


def _draw_frame(draw: ImageDraw.ImageDraw, rectangle: Rectangle, colour: Colour, width: int, dashed: bool) -> None:
    left, top, right, bottom = rectangle
    if right < left or bottom < top:
        return
    dash = DASH if dashed else max(right - left, bottom - top) + 1
    for x in range(left, right + 1, dash + BREAK):
        end = min(x + dash - 1, right)
        draw.rectangle((x, top, end, min(top + width - 1, bottom)), colour)
        draw.rectangle((x, max(bottom - width + 1, top), end, bottom), colour)
    for y in range(top, bottom + 1, dash + BREAK):
        end = min(y + dash - 1, bottom)
        draw.rectangle((left, y, min(left + width - 1, right), end), colour)
        draw.rectangle((max(right - width + 1, left), y, right, end), colour)


def _check(
    image: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.float64],
    captions: Sequence[str] | None,
    colours: Sequence[Colour] | None,
    masks: npt.NDArray[np.uint8] | None,
    keypoints: npt.NDArray[np.float64] | None,
    dashed: npt.NDArray[np.bool_] | None,
    thin: npt.NDArray[np.bool_] | None,
) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be (n, 4), not {boxes.shape}")
    given = {"captions": captions, "colours": colours, "masks": masks, "keypoints": keypoints}
    for name, values in (given | {"dashed": dashed, "thin": thin}).items():
        if values is not None and len(values) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes need as many {name}, not {len(values)}")
    if masks is not None and masks.shape[1:] != image.shape[:2]:
        raise ValueError(f"the masks of an image {image.shape[:2]} must have its shape, not {masks.shape[1:]}")
    if keypoints is not None and (keypoints.ndim != 3 or keypoints.shape[2] != 3):
        raise ValueError(f"keypoints must be (n, K, 3), not {keypoints.shape}")
