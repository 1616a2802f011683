"""Many small images as one without gaps, and such images over time as a film."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def tiles(images: Sequence[npt.NDArray[np.uint8]], columns: int = 8) -> Image.Image:
    """Lay images of one size side by side, without gaps, pixel by pixel.

    Args:
        images: at least one, ``(H, W, 1 or 3)`` each.
        columns: images in a row, at least 1; what the last row lacks is black.

    Raises:
        ValueError: if there is no image, or they are not of one size.
    """
    if len({image.shape for image in images}) != 1 or columns < 1:
        raise ValueError(f"tiles are images of one size, at least one, not {sorted({i.shape for i in images})}")
    height, width, channels = images[0].shape
    columns = min(columns, len(images))
    sheet = np.zeros((-(-len(images) // columns) * height, columns * width, channels), np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)


def save_film(frames: Sequence[Image.Image], path: Path, seconds: float) -> None:
    """Save a GIF that plays again and again, its last frame for two seconds.

    Args:
        frames: at least one, of one size.
        path: ends in ``.gif``.
        seconds: how long it plays; no frame takes less than a fiftieth, nor more than half a second.
    """
    each = min(max(int(1000 * seconds / len(frames)), 20), 500)
    first, *others = frames
    durations = [each] * len(others) + [2000]
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0)
