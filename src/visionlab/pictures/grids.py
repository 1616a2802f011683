"""Contact sheets: many images at once, each with its caption and a frame that says what became of it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionlab.pictures.colours import INK, PAPER, Colour
from visionlab.pictures.text import font, printable, shorten

FRAME = 4  # pixels of all lengths
GAP = 12
CAPTION = 12
LINE = 15
TITLE = 16
LONGEST_TITLE = 800


def grid(
    images: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str] | None = None,
    colours: Sequence[Colour | None] | None = None,
    columns: int = 8,
    cell: int = 128,
    title: str = "",
) -> Image.Image:
    """Lay images out in rows.

    Images that fit into a cell are enlarged by the largest whole factor that still fits, each pixel to a square of its
    own colour; others are reduced with antialiasing.

    Args:
        images: at least one, ``(H, W, channels)`` ``uint8`` each, with 1 or 3 channels and of any size.
        captions: one an image, of any number of lines; what is wider than the cell is cut, with an ellipsis.
        colours: of the frame around each image; None for no frame.
        columns: images in a row, at least 1.
        cell: the greatest height and width of an image in the sheet, in pixels.
        title: one line above all.

    Returns:
        RGB. Its size depends on the arguments; it is as small as they allow.

    Raises:
        ValueError: if the arguments do not fit each other or this description.
    """
    _check(images, captions, colours, columns, cell)
    shown = [fit(image, cell) for image in images]
    lines = [[printable(line) for line in caption.split("\n")] for caption in captions] if captions is not None else []
    colours = colours if colours is not None else [None] * len(images)
    columns = min(columns, len(images))
    # captions want some width, whatever the images have
    width = max(*(image.width for image in shown), cell * 3 // 4) + 2 * FRAME
    height = max(image.height for image in shown) + 2 * FRAME
    row = height + LINE * max((len(caption) for caption in lines), default=0) + GAP
    top = GAP + (TITLE + GAP if title else 0)

    heading, heading_font = printable(title), font(TITLE, bold=True)
    sheet_width = columns * (width + GAP) + GAP
    heading = shorten(heading, max(sheet_width - 2 * GAP, LONGEST_TITLE), heading_font)
    sheet_width = max(sheet_width, 2 * GAP + int(np.ceil(heading_font.getlength(heading))))
    sheet = Image.new("RGB", (sheet_width, top + row * -(-len(images) // columns)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), heading, INK, heading_font, anchor="lt")
    for i, image in enumerate(shown):
        left, upper = GAP + i % columns * (width + GAP), top + i // columns * row
        x, y = left + (width - image.width) // 2, upper + (height - image.height) // 2
        if (colour := colours[i]) is not None:
            sheet.paste(colour, (x - FRAME, y - FRAME, x + image.width + FRAME, y + image.height + FRAME))
        sheet.paste(image, (x, y))
        for at, line in enumerate(lines[i] if lines else []):
            caption = shorten(line, width, font(CAPTION))
            draw.text((left + width / 2, upper + height + LINE * (at + 1)), caption, INK, font(CAPTION), anchor="ms")
    return sheet


def fit(image: npt.NDArray[np.uint8], cell: int) -> Image.Image:
    """Enlarge or reduce an image ``(H, W, 1 or 3)`` to the size at which :func:`grid` shows it in a cell, in RGB.

    Raises:
        ValueError: if it is none, or the cell has no pixel.
    """
    _check([image], None, None, 1, cell)
    height, width, channels = image.shape
    whole = Image.fromarray(image[:, :, 0] if channels == 1 else image).convert("RGB")
    factor = cell // max(height, width)
    if factor >= 1:
        return whole.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    scale = cell / max(height, width)
    return whole.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)


def _check(
    images: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str] | None,
    colours: Sequence[Colour | None] | None,
    columns: int,
    cell: int,
) -> None:
    if len(images) == 0:
        raise ValueError("a grid needs at least one image")
    if columns < 1 or cell < 1:
        raise ValueError(f"columns and cell must be at least 1, not {columns} and {cell}")
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
            raise ValueError(f"images must be uint8 (H, W, 1 or 3), not {image.dtype} {image.shape}")
    for name, values in (("captions", captions), ("colours", colours)):
        if values is not None and len(values) != len(images):
            raise ValueError(f"{len(images)} images need as many {name}, not {len(values)}")
