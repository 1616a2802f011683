"""Files from someone who means harm, planted in the twins of data sets."""

import functools
import gzip
import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 50_000
"""Of pictures that are said to be far too large."""


@dataclass(frozen=True)
class Place:
    """Where an attack takes place.

    Attributes:
        root: the data set.
        outside: a folder beside it, which must be neither read nor written.
        cache: where indices are written.
    """

    root: Path
    outside: Path
    cache: Path
    secret: str = "the launch code is 0000"

    @property
    def canary(self) -> Path:
        """A file that code which must not run would write."""
        return self.outside / "canary"

    def first(self, pattern: str, skip: int = 0) -> Path:
        """One of the files of the data set."""
        return sorted(path for path in self.root.glob(pattern) if path.is_file())[skip]


Attack = Callable[[Place], None]


# --- pictures


def encoded(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 60), (200, 100, 50)).save(file, form)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, colour: int, rows: bytes, more: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    whole = encoded("JPEG")
    at = whole.index(b"\xff\xc0")
    return whole[: at + 5] + struct.pack(">HH", height, width) + whole[at + 9 :]


def tiff_of(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 8)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(entries)) + table + bytes(4)


BOMBS = {
    "png": png(SIDE, SIDE, 2, bytes(10_000_000)),
    "png text": png(8, 8, 2, bytes(200), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9))),
    "png profile": png(8, 8, 2, bytes(200), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8), 9))),
    "jpeg": jpeg_of(SIDE, SIDE),
    "jpeg within the limit": jpeg_of(8000, 8000),
    "gif": b"GIF89a" + struct.pack("<HH", SIDE, SIDE) + encoded("GIF")[10:],
    "bmp": encoded("BMP")[:18] + struct.pack("<ii", SIDE, SIDE) + encoded("BMP")[26:],
    "tiff": tiff_of(SIDE, SIDE),
    "webp": encoded("WEBP")[:26] + struct.pack("<HH", 16383, 16383) + encoded("WEBP")[30:],
    "ppm": b"P6 50000 50000 255\n" + bytes(1000),
    "script": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) run\n",
    "drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
}


def pipe(path: Path) -> None:
    """A file that no one ever writes to: to open it is to wait for ever."""
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def sparse(path: Path) -> None:
    """A line of 4 GB that takes no room on the disk."""
    with path.open("ab") as file:
        file.truncate(1 << 32)


NO_FILES = (pipe, endless, loop, folder, sparse)


def spoil_images(pattern: str) -> Attack:
    """Every kind of bomb, and of what is no file, in the place of some pictures."""

    def images(place: Place) -> None:
        paths = sorted(place.root.glob(pattern))
        for path, content in zip(paths, BOMBS.values(), strict=False):
            path.write_bytes(content)
        for path, spoil in zip(paths[len(BOMBS) :], NO_FILES, strict=False):
            spoil(path)

    return images


def in_place_of(pattern: str, spoil: Callable[[Path], None]) -> Attack:
    def attack(place: Place) -> None:
        spoil(place.first(pattern))

    attack.__name__ = f"{spoil.__name__} {pattern}"
    return attack


def with_content(pattern: str, name: str, content: bytes | str) -> Attack:
    def attack(place: Place) -> None:
        place.first(pattern).write_bytes(content.encode() if isinstance(content, str) else content)

    attack.__name__ = f"{name} {pattern}"
    return attack


# --- pickles


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def pickled_command(place: Place) -> None:
    place.first("*/data_batch_1").write_bytes(pickle.dumps({b"data": Runs(os.system, f"touch {place.canary}")}, 2))


def pickled_code(place: Place) -> None:
    code = f"open({str(place.canary)!r}, 'w')"
    place.first("*/batches.meta").write_bytes(pickle.dumps(Runs(eval, code), 2))


def pickled_file(place: Place) -> None:
    inner = Runs(np.fromfile, str(place.outside / "secret"), np.uint8)
    place.first("*/test_batch").write_bytes(pickle.dumps({b"data": inner, b"labels": []}, 2))


def pickled_memo(place: Place) -> None:
    """Twelve bytes that ask for a table of 2^31 entries."""
    place.first("*/data_batch_2").write_bytes(b"\x80\x02Nr" + struct.pack("<I", 1 << 31) + b".")


def pickled_array(place: Place) -> None:
    place.first("*/data_batch_3").write_bytes(b"\x80\x02cnumpy\nndarray\n(\x8a\x05\0\0\0\0\x20\x85tR.")


def pickled_nest(place: Place) -> None:
    place.first("*/data_batch_4").write_bytes(b"\x80\x02" + b"]" * 3_000_000 + b"a" * 2_999_999 + b".")


PICKLES = (pickled_command, pickled_code, pickled_file, pickled_memo, pickled_array, pickled_nest)


@functools.cache
def zeros() -> bytes:
    """65 kB that unpack to 64 MB."""
    return gzip.compress(bytes(1 << 26))


def gzip_bomb(place: Place) -> None:
    """5 MB that unpack to 5 GB and begin like images."""
    start = gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">III", 1 << 28, 28, 28))
    place.first("MNIST/raw/train-images*").write_bytes(start + zeros() * 80)


# --- archives and arrays

Planter = Callable[[Path, Place], None]


def tarred(*members: tarfile.TarInfo) -> Planter:
    def plant(path: Path, place: Place) -> None:
        with tarfile.open(path, "w:gz") as tar:
            for info in members:
                info.name, info.linkname = (
                    text.replace("OUTSIDE", str(place.outside)) for text in (info.name, info.linkname)
                )
                content = b"planted" if info.isreg() else b""
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

    return plant


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped(*members: tuple[str, int]) -> Planter:
    def plant(path: Path, place: Place) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for name, mode in members:
                info = zipfile.ZipInfo(name.replace("OUTSIDE", str(place.outside)))
                info.external_attr = mode << 16
                file.writestr(info, str(place.outside))

    return plant


def zip_bomb(path: Path, place: Place) -> None:
    """0.4 MB that unpack to 400 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(6):
            file.writestr(f"{i}", bytes(1 << 26))


def zip_that_lies(path: Path, place: Place) -> None:
    """A file that is said to have ten bytes and unpacks to 64 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(1 << 26))
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 1 << 26), struct.pack("<I", 10)))


def zip_that_overlaps(path: Path, place: Place) -> None:
    """Three hundred names of the same megabyte of noise (Fifield 2019, "A better zip bomb")."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("0000", np.random.default_rng(0).bytes(1 << 20))
        (info,) = file.infolist()
        for i in range(1, 300):
            copy = zipfile.ZipInfo(f"{i:04d}")
            for name in ("CRC", "compress_size", "file_size", "header_offset", "create_version", "flag_bits"):
                setattr(copy, name, getattr(info, name))
            file.filelist.append(copy)
            file.NameToInfo[copy.filename] = copy


def tar_bomb(path: Path, place: Place) -> None:
    large = member("zeros")
    large.size = 5 << 28
    path.write_bytes(gzip.compress(large.tobuf()) + zeros() * 20)


def tar_name_bomb(path: Path, place: Place) -> None:
    long = member("name", tarfile.GNUTYPE_LONGNAME)
    long.size = 5 << 28
    path.write_bytes(gzip.compress(long.tobuf()) + zeros() * 20)


ARCHIVES: dict[str, Planter] = {
    "upwards.tar.gz": tarred(member("good"), member("../outside/planted")),
    "absolute.tar.gz": tarred(member("good"), member("OUTSIDE/planted")),
    "symlink.tar.gz": tarred(member("way", tarfile.SYMTYPE, "OUTSIDE"), member("way/planted")),
    "hardlink.tar.gz": tarred(member("copy", tarfile.LNKTYPE, "../outside/secret"), member("copy")),
    "device.tar.gz": tarred(member("zero", tarfile.CHRTYPE)),
    "pipe.tar.gz": tarred(member("pipe", tarfile.FIFOTYPE)),
    "bomb.tar.gz": tar_bomb,
    "name-bomb.tar.gz": tar_name_bomb,
    "upwards.zip": zipped(("good", 0), ("../outside/planted", 0)),
    "absolute.zip": zipped(("OUTSIDE/planted", 0)),
    "symlink.zip": zipped(("way", stat.S_IFLNK), ("way/planted", 0)),
    "device.zip": zipped(("zero", stat.S_IFCHR)),
    "bomb.zip": zip_bomb,
    "liar.zip": zip_that_lies,
    "overlap.zip": zip_that_overlaps,
}


def array(value: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(value), allow_pickle=True)
    return file.getvalue()


ARRAYS: dict[str, Callable[[Place], bytes]] = {
    "pickle": lambda place: array([Runs(os.system, f"touch {place.canary}")]),
    "code": lambda place: (
        b"\x93NUMPY\1\0\x76\0" + f"__import__('os').system('touch {place.canary}')".encode().ljust(118)
    ),
    "huge": lambda place: array([0, 1]).replace(b"(2,)", b"(9999999999999,)"),
    "empty": lambda place: b"",
}


# --- CamVid


def camvid_line(name: str, line: str) -> Attack:
    def attack(place: Place) -> None:
        listing = place.root / "CamVid" / "train.txt"
        listing.write_text(listing.read_text() + line.format(outside=place.outside) + "\n")

    attack.__name__ = name
    return attack


def camvid_mask_bomb(place: Place) -> None:
    place.first("CamVid/trainannot/*").write_bytes(png(SIDE, SIDE, 0, bytes(10_000_000)))


ATTACKS: list[tuple[str, Attack, str]] = [
    ("camvid", spoil_images("CamVid/train/*.png"), "is not read"),
    ("camvid", camvid_mask_bomb, "50000 x 50000"),
    ("camvid", camvid_line("upwards", "x/../secret.png x/../secret.png"), "train.txt, line 25"),
    ("camvid", camvid_line("absolute", "/secret.png {outside}/../secret.png"), "train.txt, line 25"),
    ("camvid", camvid_line("null", "train/\0.png"), "train.txt, line 25"),
    ("camvid", camvid_line("long", "a" * 10_000_000), "train.txt, line 25"),
    *(("camvid", in_place_of("CamVid/train.txt", spoil), "train.txt") for spoil in NO_FILES),
    *(("camvid", in_place_of("CamVid/trainannot/*", spoil), "trainannot") for spoil in NO_FILES),
    *(("cifar10", spoil, "cifar-10-batches-py/") for spoil in PICKLES),
    *(("cifar10", in_place_of("*/data_batch_1", spoil), "data_batch_1") for spoil in NO_FILES),
    ("mnist", gzip_bomb, "train-images"),
    *(("mnist", in_place_of("MNIST/raw/train-images*", spoil), "train-images") for spoil in NO_FILES),
]
