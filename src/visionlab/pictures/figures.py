"""Drawing with matplotlib without its global state: no pyplot, no window, any thread."""

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageFont

from visionlab.pictures.colours import Colour
from visionlab.pictures.text import font

DPI = 120
"""Pixels per inch of every figure, with text of 8 to 11 points: read without zooming."""


def render(figure: Figure) -> Image.Image:
    """Draw a figure into an RGB image of its size in inches times its dpi."""
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib's types do not cover its canvases
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def unit(colour: Colour) -> tuple[float, float, float]:
    """A colour in [0, 1], as matplotlib wants it."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def at_points(points: float, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font in which a figure writes at a size in points, to measure text with."""
    return font(round(points * DPI / 72), bold)
