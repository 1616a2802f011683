"""Text in pictures: one font that comes with matplotlib, so that pictures look the same on every machine."""

from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
BOLD_FONT = FONT.with_name("DejaVuSans-Bold.ttf")


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of all pictures, at a size in pixels."""
    return ImageFont.truetype(str(BOLD_FONT if bold else FONT), size)


def printable(text: str) -> str:
    """One line that the font can draw: runs of white space become a space, missing characters the replacement sign."""
    line = " ".join(text.split())
    return "".join(character if ord(character) in _characters() else "\N{REPLACEMENT CHARACTER}" for character in line)


def shorten(text: str, width: float, at: ImageFont.FreeTypeFont) -> str:
    """Cut a line so that it is no wider than ``width`` pixels, with an ellipsis for what is left out."""
    if at.getlength(text) <= width:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:  # widths grow with length
        middle = (fits + too_long) // 2
        if at.getlength(text[:middle].rstrip() + "…") <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + "…"


@cache
def _characters() -> frozenset[int]:
    return frozenset(FT2Font(str(FONT)).get_charmap())
