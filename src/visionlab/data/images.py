"""Reading image files: whole, bounded in memory, as stored."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError


def read_image(path: Path, channels: int) -> npt.NDArray[np.uint8]:
    """Read an image file as it is stored: EXIF rotation is not applied, for annotations do not follow it.

    Args:
        path: any format that Pillow reads; palette, CMYK, 16-bit and transparent images are converted.
        channels: 1 for grey, 3 for RGB.

    Returns:
        ``(H, W, channels)``.

    Raises:
        ValueError: if the file is not an image, is cut off, or would decode to more than 178 million pixels; the
            message names it.
    """
    try:
        with Image.open(path) as image:
            eight_bit = _eight_bit(image) if image.mode.startswith("I") else image
            decoded = np.asarray(eight_bit.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is not a whole image: {error}") from error
    return decoded.reshape(*decoded.shape[:2], channels)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit pixels, which Pillow would clip at 255 instead."""
    return Image.fromarray(np.rint(np.asarray(image) / 257).clip(0, 255).astype(np.uint8))


def resized(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Resize an image ``(H, W, channels)`` bilinearly, with antialiasing where it shrinks; ``channels`` is 1 or 3."""
    grey = image.shape[2] == 1
    scaled = Image.fromarray(image[..., 0] if grey else image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.uint8).reshape(height, width, image.shape[2])
