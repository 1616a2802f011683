"""Masks: what an image is made of, pixel by pixel, seen through."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionlab.pictures.colours import INK, PAPER, Colour
from visionlab.pictures.grids import fit
from visionlab.pictures.palette import class_colour
from visionlab.pictures.text import font, printable, shorten

OPACITY = 0.45
VOID_GREY: Colour = (128, 128, 128)
VOID_LIGHT: Colour = (235, 235, 235)
STRIPE = 4  # pixels of all lengths
GAP = 6
SWATCH = 12
TEXT = 12
LINE = 18
NARROWEST = 128


def tint(pixels: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], colour: Colour) -> None:
    """Lay a colour over a part of a picture, in place: translucent, and opaque along the edge of the part.

    Args:
        pixels: ``(H, W, 3)``.
        inside: ``(H, W)``; nothing changes outside.
        colour: what to lay.
    """
    pixels[inside] = _blend(pixels[inside], np.array(colour))
    # an edge of the picture is no edge of the part
    core = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    pixels[inside & (core == 0)] = colour


def resized_mask(mask: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Bring a mask ``(H, W)`` to the size of a picture, each pixel to the nearest."""
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def semantic(
    image: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.uint8],
    classes: Sequence[str],
    colours: Sequence[Colour | None] | None = None,
    void: int = 255,
    side: int = 512,
) -> Image.Image:
    """Lay the class of each pixel over an image, above a legend of the classes that are there.

    Args:
        image: ``(H, W, 1 or 3)``.
        mask: ``(H, W)``, the class of each pixel in ``0..C-1``, or ``void``, which is hatched.
        classes: the names of the classes, ``C`` of them.
        colours: of the classes; None leaves a class as it is. :func:`visionlab.pictures.palette.class_colour` of each
            if not given.
        void: the value of pixels that count for nothing.
        side: the longer side of the picture without its legend: the image is enlarged or reduced to it as by
            :func:`visionlab.pictures.grids.fit`.

    Returns:
        RGB.

    Raises:
        ValueError: if the arguments do not fit each other or this description.
    """
    shown = fit(image, side)
    if mask.shape != image.shape[:2] or mask.dtype != np.uint8:
        raise ValueError(
            f"the mask of an image {image.shape[:2]} must be uint8 of that shape, not {mask.dtype} {mask.shape}"
        )
    present = [value for value in np.unique(mask).tolist() if value != void]
    if present and present[-1] >= len(classes):
        raise ValueError(f"the mask has a class {present[-1]}, but there are {len(classes)}")
    if colours is None:
        colours = [class_colour(label) for label in range(len(classes))]
    elif len(colours) != len(classes):
        raise ValueError(f"{len(classes)} classes need as many colours, not {len(colours)}")
    pixels, values = np.array(shown), resized_mask(mask, *shown.size)
    for label in present:
        if (colour := colours[label]) is not None:
            tint(pixels, values == label, colour)
    pixels[values == void] = _blend(pixels, _hatch(*values.shape))[values == void]
    entries = [(classes[label], np.array(PAPER if colours[label] is None else colours[label])) for label in present]
    if (mask == void).any():
        entries.append(("void", _hatch(SWATCH, SWATCH)))
    return _with_legend(Image.fromarray(pixels), entries)


def _blend(pixels: npt.NDArray[np.uint8], colours: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    blended: npt.NDArray[np.uint8] = np.rint(pixels * (1 - OPACITY) + colours * OPACITY).astype(np.uint8)
    return blended


def _hatch(height: int, width: int) -> npt.NDArray[np.int64]:
    """Diagonal stripes of two greys, ``(H, W, 3)``."""
    dark = np.add.outer(np.arange(height), np.arange(width)) % (2 * STRIPE) < STRIPE
    return np.where(dark[..., None], np.array(VOID_GREY), np.array(VOID_LIGHT))


def _with_legend(picture: Image.Image, entries: list[tuple[str, npt.NDArray[np.int64]]]) -> Image.Image:
    """A picture above swatches of one colour, or of a pattern, and their names."""
    width = max(picture.width, NARROWEST)
    places, x, y = [], 0, picture.height + GAP
    for name, _ in entries:
        text = shorten(printable(name), width - SWATCH - GAP, font(TEXT))
        needed = SWATCH + GAP + int(np.ceil(font(TEXT).getlength(text)))
        if x and x + needed > width:
            x, y = 0, y + LINE
        places.append((x, y, text))
        x += needed + 2 * GAP
    sheet = Image.new("RGB", (width, y + LINE), PAPER)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for (x, y, text), (_, fill) in zip(places, entries, strict=True):
        swatch = np.broadcast_to(fill, (SWATCH, SWATCH, 3)).astype(np.uint8)
        sheet.paste(Image.fromarray(swatch), (x, y))
        draw.rectangle((x, y, x + SWATCH - 1, y + SWATCH - 1), None, INK)
        draw.text((x + SWATCH + GAP, y + SWATCH - 2), text, INK, font(TEXT), anchor="ls")
    return sheet
