"""Tags that name what a box is around."""

import numpy as np
from PIL import ImageDraw

from visionlab.pictures.colours import BLACK, PAPER, Colour
from visionlab.pictures.palette import linear
from visionlab.pictures.text import font, printable, shorten

Rectangle = tuple[int, int, int, int]
"""The first column, the first row, the last column and the last row."""

TEXT = 11  # pixels of all lengths
HEIGHT = 14
MARGIN = 2


def draw_tag(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: Rectangle,
    text: str,
    colour: Colour,
    others: list[Rectangle],
) -> list[Rectangle]:
    """Draw a tag at a corner of a box, inside the picture, where it covers the least of other tags.

    Args:
        draw: what to draw on, in RGB.
        size: width and height of the picture.
        box: what the tag belongs to.
        text: in the tag; what is wider than the picture is cut.
        colour: of the tag; its text is black or white, whichever stands out more.
        others: the tags that are there already.

    Returns:
        Where the tag is; nothing where the picture has no room for a line of text.
    """
    line = shorten(printable(text), size[0] - 2 * MARGIN, font(TEXT))
    width = int(np.ceil(font(TEXT).getlength(line))) + 2 * MARGIN
    if size[1] < HEIGHT or size[0] < width:
        return []
    left, top, right, bottom = box
    corners = [
        *((left, top - HEIGHT), (left, top), (left, bottom + 1), (left, bottom + 1 - HEIGHT)),
        *((right + 1 - width, top - HEIGHT), (right + 1 - width, top)),
        *((right + 1 - width, bottom + 1), (right + 1 - width, bottom + 1 - HEIGHT)),
    ]
    inside = [(min(max(x, 0), size[0] - width), min(max(y, 0), size[1] - HEIGHT)) for x, y in corners]
    places = [(x, y, x + width - 1, y + HEIGHT - 1) for x, y in inside]
    place = min(places, key=lambda one: sum(_shared(one, other) for other in others))
    draw.rectangle(place, colour)
    draw.text((place[0] + MARGIN, place[3] - MARGIN - 1), line, _readable_on(colour), font(TEXT), anchor="ls")
    return [place]


def _shared(one: Rectangle, other: Rectangle) -> int:
    """How many pixels two rectangles share."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    return max(width, 0) * max(height, 0)


def _readable_on(colour: Colour) -> Colour:
    """Black or white, by contrast ratio (WCAG 2.2, "relative luminance": the two are equal at 0.179)."""
    luminance = linear(np.array(colour, np.uint8)) @ (0.2126, 0.7152, 0.0722)
    return BLACK if luminance > 0.179 else PAPER
