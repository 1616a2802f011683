"""Reading image files: whole, bounded in memory, as stored.

OpenCV decodes JPEG and PNG, faster than Pillow (``benchmarks/jpeg_input.py``), and WebP, in a quarter of the memory.
Pillow decodes CMYK JPEGs and the other formats. The bytes are looked at first, by :mod:`visionlab.data.headers`: OpenCV
gives a picture for a JPEG that is cut off.
"""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from visionlab.data.headers import MAX_PIXELS, check_png_rows, check_whole, one_line, read_header
from visionlab.data.plain import plain_size

UInt8Array = npt.NDArray[np.uint8]

MAX_BYTES = 4 * MAX_PIXELS
"""Larger files are refused unread."""

HEAD = 1 << 16
"""Bytes that hold the header of nearly every file."""

_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(path: Path, channels: int) -> UInt8Array:
    """Read an image file as it is stored: EXIF rotation is not applied, for annotations do not follow it.

    The orientation of a TIFF, which is no part of EXIF, is applied, by Pillow.

    Args:
        path: a JPEG, PNG, GIF, BMP, PPM, TIFF or WebP, whatever its name; of several pictures the first is read.
            Palette, CMYK, 16-bit and transparent images are converted, and transparency is dropped.
        channels: 1 for grey, 3 for RGB.

    Returns:
        ``(H, W, channels)``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not an image, is cut off or damaged, or has more pixels than
            :data:`visionlab.data.headers.MAX_PIXELS`; the message names it.
    """
    return decode(read_file(path), path, channels)


def read_file(path: Path, most: int = -1) -> bytes:
    """Read the bytes of a file.

    Args:
        path: a plain file or a link to one: a pipe or a device could go on for ever.
        most: how many bytes from the beginning; all of them if negative.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty, is no plain file, or is larger than :data:`MAX_BYTES`.
    """
    if plain_size(path, MAX_BYTES) == 0:
        raise ValueError(f"{path} is not a whole image: it is empty")
    with path.open("rb", buffering=0) as file:
        return file.read(most)


def decode(data: bytes, path: Path, channels: int) -> UInt8Array:
    """Decode the bytes of an image file: :func:`read_image` for a file that was read before.

    Args:
        data: the whole file.
        path: named in messages.
        channels: 1 for grey, 3 for RGB.

    Returns:
        ``(H, W, channels)``.

    Raises:
        ValueError: as :func:`read_image` does.
    """
    header = read_header(data, path)
    check_whole(header, data, path)
    if header.format in ("PNG", "WEBP") or (header.format == "JPEG" and header.components != 4):
        image = _by_opencv(data, path)
    else:
        image = _by_pillow(data, path, header.format)
    if image.shape[:2] != (header.height, header.width):
        raise ValueError(
            f"{path} is not a whole image: its header says {header.width} x {header.height} pixels, and it holds "
            f"{image.shape[1]} x {image.shape[0]}"
        )
    return image if channels == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], dtype=np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """The height and width of an image file, from its header.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not an image, or has more pixels than
            :data:`visionlab.data.headers.MAX_PIXELS`. Whether it is whole is not looked at.
    """
    head = read_file(path, HEAD)
    try:
        header = read_header(head, path)
    except ValueError:
        if len(head) < HEAD:
            raise
        header = read_header(read_file(path), path)
    return header.height, header.width


def same_proportion(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two heights and widths are in one proportion, but for what rounding each side explains."""
    return abs(one[0] * other[1] - other[0] * one[1]) <= sum(one) + sum(other)


def read_mask(path: Path) -> UInt8Array:
    """Read a PNG whose pixels are labels: the indices of a palette, or the values of 8-bit or 1-bit grey.

    Returns:
        ``(H, W)``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no whole PNG, has more pixels than :data:`visionlab.data.headers.MAX_PIXELS`, or its
            pixels are not labels (colours, transparency, 16 bits, grey of 2 or 4 bits); the message names it.
    """
    data = read_file(path)
    header = read_header(data, path)
    if header.format != "PNG":
        raise ValueError(f"{path} is a {header.format}; labels are read from PNG only")
    if header.colour != 3 and (header.colour, header.bits) not in ((0, 8), (0, 1)):
        mode = {0: "grey", 2: "RGB", 4: "grey and alpha", 6: "RGBA"}[header.colour]
        raise ValueError(f"{path} is of mode {mode} with {header.bits} bits; labels are a palette or 8-bit grey")
    check_png_rows(header, data, path)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.array(image, dtype=np.uint8)
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ValueError(f"{path} is not a whole image: {one_line(error)}") from error


def resized(image: UInt8Array, height: int, width: int) -> UInt8Array:
    """Resize an image ``(H, W, channels)`` bilinearly, with antialiasing where it shrinks; ``channels`` is 1 or 3."""
    grey = image.shape[2] == 1
    scaled = Image.fromarray(image[..., 0] if grey else image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.uint8).reshape(height, width, image.shape[2])


def _by_opencv(data: bytes, path: Path) -> UInt8Array:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED)
    except cv2.error as error:
        raise ValueError(f"{path} is not a whole image: {one_line(error)}") from error
    if image is None:
        raise ValueError(f"{path} is not a whole image: it cannot be decoded")
    return _eight_bit(image) if image.dtype == np.uint16 else np.asarray(image, dtype=np.uint8)


def _by_pillow(data: bytes, path: Path, name: str) -> UInt8Array:
    try:
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            if image.mode == "F" or image.mode.startswith("I"):
                grey = _eight_bit(np.asarray(image))
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ValueError(f"{path} is not a whole image: {one_line(error)}") from error


def _eight_bit(pixels: npt.NDArray[Any]) -> UInt8Array:
    """Scale 16-bit pixels, which Pillow would clip at 255 instead."""
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"pixels of {pixels.dtype} have no known scale; expected 8 or 16 bits")
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=1 / 257), dtype=np.uint8)
