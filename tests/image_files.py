"""The bytes of small image files, sound and hostile."""

import io
import struct
import zipfile
import zlib

import cv2
import numpy as np
from PIL import Image


def natural():
    """A smooth picture, as colours are subsampled in JPEGs: ``(60, 80, 3)``."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (80, 60), interpolation=cv2.INTER_CUBIC)


def encoded(form, mode="RGB", **options):
    """A sound file; ``options`` are those of Pillow's writers."""
    file = io.BytesIO()
    Image.fromarray(natural()).convert(mode).save(file, form, **options)
    return file.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, bits, colour, rows, *, interlaced=0, more=b""):
    """Any PNG: the header, other chunks, and the compressed rows are as given, and may contradict each other."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    parts = (chunk(b"IHDR", header), more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def cut(form, share, mode="RGB", **options):
    whole = encoded(form, mode, **options)
    return whole[: int(share * len(whole))]


def jpeg_of(width, height):
    """A small JPEG whose header was changed."""
    whole = encoded("JPEG")
    at = whole.index(b"\xff\xc0")
    return whole[: at + 5] + struct.pack(">HH", height, width) + whole[at + 9 :]


def many_scans():
    whole = encoded("JPEG", "L", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * 600_000 + b"\xff\xd9"


def tiff_of(width, height, strip=b"\0" * 8):
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(strip))]
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + table + bytes(4)


def flipped(data):
    """One byte in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("image.jpg", encoded("JPEG"))
    return file.getvalue()


SIDE = 50_000  # of bombs
NOISE = np.random.default_rng(1).bytes(5000)
# files that must not be read as images, by name
HOSTILE = {
    "bomb.png": lambda: png(SIDE, SIDE, 8, 2, bytes(1000)),
    "true-bomb.png": lambda: png(20_000, 20_000, 1, 0, bytes(20_000 * 2501)),
    "bomb.jpg": lambda: jpeg_of(SIDE, SIDE),
    "bomb-within-the-limit.jpg": lambda: jpeg_of(8000, 8000),
    "bomb.gif": lambda: b"GIF89a" + struct.pack("<HH", SIDE, SIDE) + encoded("GIF")[10:],
    "bomb-in-the-frame.gif": lambda: encoded("GIF").replace(
        b",\0\0\0\0" + struct.pack("<HH", 80, 60), b",\0\0\0\0" + struct.pack("<HH", SIDE, SIDE)
    ),
    "bomb.bmp": lambda: encoded("BMP")[:18] + struct.pack("<ii", SIDE, SIDE) + encoded("BMP")[26:],
    "bomb.tif": lambda: tiff_of(SIDE, SIDE),
    "bomb.webp": lambda: encoded("WEBP")[:26] + struct.pack("<HH", 16383, 16383) + encoded("WEBP")[30:],
    "bomb-lossless.webp": lambda: encoded("WEBP", lossless=True)[:21] + b"\xff" * 4 + bytes(100),
    "bomb-extended.webp": lambda: b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\xff" * 2 + bytes(300),
    "bomb.ppm": lambda: b"P6 50000 50000 255\n" + bytes(1000),
    "comment-bomb.png": lambda: png(
        8, 8, 8, 2, bytes(10), more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9))
    ),
    "scans.jpg": many_scans,
    "empty.jpg": lambda: b"",
    "start-only.jpg": lambda: b"\xff\xd8\xff",
    "start-and-end.jpg": lambda: b"\xff\xd8\xff\xd9",
    "cut-in-header.jpg": lambda: encoded("JPEG")[:100],
    "cut-10.jpg": lambda: cut("JPEG", 0.6),
    "cut-90.jpg": lambda: cut("JPEG", 0.9),
    "cut-end.jpg": lambda: encoded("JPEG")[:-2],
    "cut-half-end.jpg": lambda: encoded("JPEG")[:-1],
    "cut-then-zeros.jpg": lambda: cut("JPEG", 0.8) + bytes(4096),
    "cut-progressive.jpg": lambda: cut("JPEG", 0.5, progressive=True),
    "cut-cmyk.jpg": lambda: cut("JPEG", 0.8, "CMYK"),
    "cut-exif.jpg": lambda: encoded("JPEG", exif=b"Exif\0\0" + bytes(60_000))[:30_000],
    "cut-in-header.png": lambda: encoded("PNG")[:20],
    "cut-50.png": lambda: cut("PNG", 0.5),
    "cut-end.png": lambda: encoded("PNG")[:-12],
    "cut-palette.png": lambda: cut("PNG", 0.9, "P"),
    "few-rows.png": lambda: png(100, 100, 8, 2, bytes(301 * 40)),
    "flipped.png": lambda: flipped(encoded("PNG")),
    "cut.gif": lambda: cut("GIF", 0.5),
    "cut.bmp": lambda: cut("BMP", 0.5),
    "cut.tif": lambda: cut("TIFF", 0.5),
    "cut.webp": lambda: cut("WEBP", 0.7),
    "cut.ppm": lambda: cut("PPM", 0.5),
    "float.tif": lambda: encoded("TIFF", "F"),
    "noise.jpg": lambda: NOISE,
    "noise-after-start.jpg": lambda: b"\xff\xd8\xff\xe0" + NOISE,
    "noise-after-start.png": lambda: b"\x89PNG\r\n\x1a\n" + NOISE,
    "noise-after-start.webp": lambda: b"RIFF\x80\x13\0\0WEBP" + NOISE,
    "text.jpg": lambda: b"<!DOCTYPE html><html>404 Not Found</html>\n" * 30,
    "archive.jpg": zipped,
    "script.jpg": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",  # Pillow would run Ghostscript
    "drawing.png": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>',
    "nothing.png": lambda: png(0, 10, 8, 2, b""),
    "flat.jpg": lambda: jpeg_of(80, 0),
}
