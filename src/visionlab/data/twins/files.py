"""How the images and masks of a twin are encoded: one function for each kind of file that the data sets hold.

The same pixels give the same bytes, with the same release of Pillow. The suffix of a path decides nothing, so that a
PNG can be named ``.JPEG``, as one of ImageNet's is.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

UInt8Array = npt.NDArray[np.uint8]


def write_jpeg(
    path: Path, image: UInt8Array, *, quality: int = 90, progressive: bool = False, orientation: int | None = None
) -> None:
    """Write a JPEG.

    Args:
        path: the file.
        image: ``(H, W, 3)`` RGB, or ``(H, W)`` for a greyscale file.
        quality: libjpeg's, 1 to 95.
        progressive: whether in scans of growing detail.
        orientation: an EXIF tag says that viewers should turn the picture so, e.g. 6 for a quarter turn clockwise; the
            pixels are stored as they are given.
    """
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(image).save(path, "JPEG", quality=quality, progressive=progressive, exif=exif)


def write_cmyk_jpeg(path: Path, image: UInt8Array, *, quality: int = 90) -> None:
    """Write a JPEG of four inks with Adobe's marker and Adobe's inverted values, as 22 of ImageNet's images are.

    Args:
        path: the file.
        image: ``(H, W, 3)`` RGB.
        quality: libjpeg's, 1 to 95.
    """
    Image.fromarray(image).convert("CMYK").save(path, "JPEG", quality=quality)


def write_png(path: Path, image: UInt8Array) -> None:
    """Write a PNG of ``(H, W, 3)`` RGB or ``(H, W)`` grey pixels: a picture, or a map of classes without a palette."""
    Image.fromarray(image).save(path, "PNG")


def write_palette_png(path: Path, labels: UInt8Array) -> None:
    """Write an ``(H, W)`` map of labels as a PNG whose pixels are indices into VOC's colours, as VOC's masks are."""
    image = Image.fromarray(labels)
    image.putpalette(voc_colours().tobytes())
    image.save(path, "PNG")


def write_mask_png(path: Path, mask: npt.NDArray[np.bool_], *, bits: int) -> None:
    """Write an ``(H, W)`` mask as a PNG of 1 bit a pixel, as Open Images' are, or of 8 bits: 0, and 255 inside.

    Raises:
        ValueError: if ``bits`` is neither 1 nor 8.
    """
    if bits not in (1, 8):
        raise ValueError(f"bits={bits}, but a mask has 1 or 8 bits a pixel")
    image = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    (image.convert("1") if bits == 1 else image).save(path, "PNG")


def voc_colours() -> UInt8Array:
    """The palette of VOC's masks (``VOClabelcolormap.m`` of the development kit).

    The bits of an index, taken three at a time from the lowest, are bits of red, green and blue from the highest.

    Returns:
        ``(256, 3)``; 0 is black, 1 is (128, 0, 0), 255 (void) is (224, 224, 192).
    """
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    colours = np.zeros((256, 3), np.int64)
    for k in range(8):
        colours |= (index >> (3 * k + channel) & 1) << (7 - k)
    return colours.astype(np.uint8)
