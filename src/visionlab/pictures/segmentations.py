"""What a net made of an image, pixel by pixel, beside what is true."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionlab.pictures.colours import PAPER, WRONG
from visionlab.pictures.grids import fit
from visionlab.pictures.masks import semantic

GAP = 6
"""Pixels between the pictures of an image."""


def compared(
    image: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.uint8],
    found: npt.NDArray[np.uint8],
    classes: Sequence[str],
    void: int = 255,
    side: int = 320,
) -> Image.Image:
    """An image, its true mask, the predicted one, and where it is wrong, side by side.

    Args:
        image: ``(H, W, 1 or 3)``.
        truth: ``(H, W)``, the class of each pixel in ``0..C-1``, or ``void``, which is hatched.
        found: ``(H, W)``, in ``0..C-1``.
        classes: the names of the classes, ``C`` of them.
        void: the value of pixels that count for nothing.
        side: the longer side of each of the four, without legends.

    Returns:
        RGB.

    Raises:
        ValueError: if the arguments do not fit each other or this description.
    """
    errors = np.where(truth == void, void, truth != found).astype(np.uint8)
    return _beside(
        [
            fit(image, side),
            semantic(image, truth, classes, void=void, side=side),
            semantic(image, found, classes, void=void, side=side),
            semantic(image, errors, ("right", "wrong"), (None, WRONG), void, side),
        ]
    )


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in a row, at the top."""
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, max(picture.height for picture in pictures)), PAPER)
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet
