"""What an image file says of itself before anything is decoded: its format, its size, and whether it is all there.

A file is known by its bytes, never by its name. Formats: JPEG (ITU T.81), PNG (W3C PNG, third edition), WebP
(RFC 9649), and what Pillow tells of GIF, BMP, PPM and TIFF.
"""

import io
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

MAX_PIXELS = 1 << 26
"""Images of more pixels (8192 x 8192) are refused unread: even a progressive CMYK JPEG of that size decodes within a
gigabyte of memory."""

MAX_SCANS = 32
"""How often the pixels of the largest image may be gone over: a JPEG can repeat scans of a few bytes without end. A
progressive one in CMYK has 18."""

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""The formats that are read, under Pillow's names, and the usual ends of their files' names, in lower case."""

_MAGIC = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<GIF>GIF8[79]a)|(?P<BMP>BM)|(?P<PPM>P[1-6]\s)"
    rb"|(?P<TIFF>II[*+]\0|MM\0[*+])|(?P<WEBP>RIFF....WEBP)",
    re.DOTALL,
)

_MARKER = re.compile(rb"\xff([^\x00\xff])")  # FF 00 is a data byte, and further FFs may come before a marker
_SCANS = re.compile(rb"\xff\xda")  # found three times as fast as by bytes.count
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the others are tables
_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a length: TEM and the restarts
_SCAN, _END = 0xDA, 0xD9


class TruncatedImageError(ValueError):
    """A file that ends before its image does."""


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say.

    Attributes:
        format: a key of :data:`SUFFIXES`.
        height: in pixels.
        width: in pixels.
        components: of a JPEG: 1 is grey, 3 is colour, 4 is CMYK. 0 for other formats.
        bits: of a PNG: per sample, or per index of a palette. 0 for other formats.
        colour: of a PNG, its colour type: 0 is grey, 2 is RGB, 3 is palette, and 4 more has alpha. 0 for others.
        interlaced: whether a PNG is.
    """

    format: str
    height: int
    width: int
    components: int = 0
    bits: int = 0
    colour: int = 0
    interlaced: bool = False


def read_header(data: bytes, path: Path) -> Header:
    """Read what a file says of itself.

    Args:
        data: the file, or its beginning.
        path: named in messages.

    Raises:
        TruncatedImageError: if ``data`` ends within the header.
        ValueError: if it is no image of a format in :data:`SUFFIXES`, or has no pixels, or more than
            :data:`MAX_PIXELS`.
    """
    match = _MAGIC.match(data)
    if match is None:
        raise ValueError(
            f"{path} is not a whole image: it begins with {data[:8]!r}, like none of {', '.join(SUFFIXES)}"
        )
    name = str(match.lastgroup)
    try:
        header = _READERS.get(name, _other)(data, path, name)
    except (struct.error, IndexError):
        raise _cut(path, "it ends within its header") from None
    if header.height < 1 or header.width < 1:
        raise ValueError(f"{path} is not a whole image: its header says {header.width} x {header.height} pixels")
    if header.height * header.width > MAX_PIXELS:
        raise ValueError(
            f"{path} is not read: its header says {header.width} x {header.height} pixels, and the limit is "
            f"{MAX_PIXELS:,}"
        )
    return header


def check_whole(header: Header, data: bytes, path: Path) -> None:
    """Check that a JPEG, PNG or WebP is all there, for some decoders give a picture if it is not.

    Raises:
        TruncatedImageError: if the file is cut off.
        ValueError: if the file is damaged, or takes unreasonably long to decode.
    """
    if header.format == "JPEG":
        _check_jpeg(header, data, path)
    elif header.format == "PNG":
        for _, _ in _png_chunks(data, path):
            pass
    elif header.format == "WEBP" and 8 + struct.unpack_from("<I", data, 4)[0] > len(data):
        raise _cut(path, "it is shorter than it says")


def check_png_rows(header: Header, data: bytes, path: Path) -> None:
    """Check that the compressed rows of a PNG are all there, which Pillow does not.

    Raises:
        TruncatedImageError: if there are too few.
        ValueError: if they are damaged.
    """
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[header.colour]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]  # Adam7
    expected = 0
    for top, left, down, right in passes if header.interlaced else [(0, 0, 1, 1)]:
        rows, columns = -(-(header.height - top) // down), -(-(header.width - left) // right)
        if rows > 0 and columns > 0:
            expected += rows * (1 + -(-columns * samples * header.bits // 8))
    packed = b"".join(content for kind, content in _png_chunks(data, path) if kind == b"IDAT")
    try:
        found = len(zlib.decompressobj().decompress(packed, expected))
    except zlib.error as error:
        raise ValueError(f"{path} is not a whole image: {error}") from error
    if found < expected:
        raise _cut(path, "rows are missing")


def _cut(path: Path, why: str) -> TruncatedImageError:
    return TruncatedImageError(f"{path} is not a whole image: {why}")


def _jpeg(data: bytes, path: Path, name: str) -> Header:
    """The first frame header; what stands between segments is passed over, as libjpeg does."""
    at = 2
    while match := _MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        if marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, at + 3)
            return Header(name, height, width, components)
        if marker in (_SCAN, _END):
            raise ValueError(f"{path} is not a whole image: it has no frame header")
        if marker not in _BARE:
            at += struct.unpack_from(">H", data, at)[0]
    raise IndexError


def _check_jpeg(header: Header, data: bytes, path: Path) -> None:
    pixels = header.height * header.width
    most = MAX_SCANS * MAX_PIXELS // pixels
    if len(data) // 10 > most and (scans := len(_SCANS.findall(data))) > most:  # the header of a scan takes 10 bytes
        raise ValueError(f"{path} is not read: it goes over its {pixels:,} pixels {scans:,} times")
    # each block of 8 x 8 pixels takes a Huffman code, of a bit or more
    if len(data) * 512 < pixels or not (data.endswith(b"\xff\xd9") or _has_end(data)):
        raise _cut(path, f"{len(data):,} bytes do not hold {header.width} x {header.height} pixels to the end")


def _has_end(data: bytes) -> bool:
    """Whether the end marker is there; phones and cameras append their own data to it."""
    at = 2
    while match := _MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        if marker == _END:
            return True
        if marker not in _BARE:
            at += int.from_bytes(data[at : at + 2])
    return False


def _png(data: bytes, path: Path, name: str) -> Header:
    width, height, bits, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if data[12:16] != b"IHDR" or colour not in (0, 2, 3, 4, 6) or bits not in (1, 2, 4, 8, 16):
        raise ValueError(f"{path} is not a whole image: its header is none of a PNG")
    return Header(name, height, width, bits=bits, colour=colour, interlaced=interlace != 0)


def _png_chunks(data: bytes, path: Path) -> list[tuple[bytes, memoryview]]:
    """The chunks of a PNG, by kind and content, their checksums checked."""
    view, chunks, at = memoryview(data), list[tuple[bytes, memoryview]](), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        kind = data[at + 4 : at + 8]
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(f"{path} is not a whole image: its chunk {kind!r} at byte {at} has a wrong checksum")
        chunks.append((kind, view[at + 8 : end]))
        if kind == b"IEND":
            return chunks
        at = end + 4
    raise _cut(path, "it ends before its last chunk")


def _webp(data: bytes, path: Path, name: str) -> Header:
    """The canvas, which Pillow would allocate before it tells its size."""
    kind = data[12:16]
    if kind == b"VP8X":
        low, high, tall, taller = struct.unpack_from("<HBHB", data, 24)
        return Header(name, 1 + tall + (taller << 16), 1 + low + (high << 16))
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return Header(name, 1 + (packed >> 14 & 0x3FFF), 1 + (packed & 0x3FFF))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(name, height & 0x3FFF, width & 0x3FFF)
    raise ValueError(f"{path} is not a whole image: {kind!r} is no chunk that a WebP begins with")


def _other(data: bytes, path: Path, name: str) -> Header:
    try:
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            return Header(name, image.height, image.width)
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ValueError(f"{path} is not a whole image: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """What an error of another library says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


_READERS = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}
