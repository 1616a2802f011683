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


Attack = Callable[[Place], list[Path]]
"""Spoils some files and returns them: the check, or whoever opens the data set, must name each."""

Attacks = list[tuple[str, Attack]]
"""The names of data sets, and what is done to their twins."""


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


def named(name: str, attack: Attack) -> Attack:
    """The same, under a name for the tests."""

    def same(place: Place) -> list[Path]:
        return attack(place)

    same.__name__ = name
    return same


def no_images(pattern: str) -> Attack:
    """Bombs of every kind, and what is no file, in the place of pictures."""

    def attack(place: Place) -> list[Path]:
        paths = sorted(place.root.glob(pattern))[: len(BOMBS) + len(NO_FILES)]
        for path, content in zip(paths, BOMBS.values(), strict=False):
            path.write_bytes(content)
        for path, spoil in zip(paths[len(BOMBS) :], NO_FILES, strict=True):
            spoil(path)
        harmless = [
            paths[i] for i, name in enumerate(BOMBS) if name.startswith("png ")
        ]  # a text or profile of any size
        return [path for path in paths if path not in harmless and not path.is_dir()]

    return named(f"images {pattern}", attack)


def no_files(*patterns: str) -> Attack:
    """A pipe, a device, a loop, a folder and a file without end, each in the place of a file."""

    def attack(place: Place) -> list[Path]:
        paths = [path for pattern in patterns for path in sorted(place.root.glob(pattern))][: len(NO_FILES)]
        for path, spoil in zip(paths, NO_FILES, strict=False):
            spoil(path)
        return paths

    return named(f"no files {patterns[0]}", attack)


def in_place_of(pattern: str, spoil: Callable[[Path], None]) -> Attack:
    def attack(place: Place) -> list[Path]:
        path = place.first(pattern)
        spoil(path)
        return [path]

    return named(f"{spoil.__name__} {pattern}", attack)


def planted(name: str, pattern: str, *contents: bytes | str) -> Attack:
    """Contents in the place of those of some files; OUTSIDE and CANARY are replaced by those paths."""

    def attack(place: Place) -> list[Path]:
        paths = sorted(place.root.glob(pattern))[: len(contents)]
        for path, content in zip(paths, contents, strict=True):
            data = content.encode() if isinstance(content, str) else content
            path.write_bytes(filled(data, place))
        return paths

    return named(f"{name} {pattern}", attack)


def appended(name: str, pattern: str, line: str) -> Attack:
    """A line more in a file."""

    def attack(place: Place) -> list[Path]:
        path = place.first(pattern)
        path.write_bytes(path.read_bytes() + filled(line.encode(), place) + b"\n")
        return [path]

    return named(f"{name} {pattern}", attack)


def filled(content: bytes, place: Place) -> bytes:
    return content.replace(b"OUTSIDE", bytes(place.outside)).replace(b"CANARY", bytes(place.canary))


# --- pickles


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def pickled(name: str, content: Callable[[Place], bytes]) -> Attack:
    def attack(place: Place) -> list[Path]:
        path = place.first("*/data_batch_1")
        path.write_bytes(content(place))
        return [path]

    return named(f"pickled {name}", attack)


PICKLES = (
    pickled("command", lambda place: pickle.dumps({b"data": Runs(os.system, f"touch {place.canary}")}, 2)),
    pickled("code", lambda place: pickle.dumps(Runs(eval, f"open({str(place.canary)!r}, 'w')"), 2)),
    pickled("file", lambda place: pickle.dumps({b"data": Runs(np.fromfile, str(place.outside / "secret"))}, 2)),
    pickled("memo", lambda place: b"\x80\x02Nr" + struct.pack("<I", 1 << 31) + b"."),
    pickled("array", lambda place: b"\x80\x02cnumpy\nndarray\n(\x8a\x05\0\0\0\0\x20\x85tR."),
    pickled("nest", lambda place: b"\x80\x02" + b"]" * 30_000_000 + b"a" * 29_999_999 + b"."),
    pickled("copies", lambda place: copies()),
)


def copies() -> bytes:
    """10 MB of text that is copied a thousand times."""
    text = b"X" + struct.pack("<I", 10_000_000) + b"x" * 10_000_000 + b"q\0"
    copy = b"c_codecs\nencode\nh\0X\6\0\0\0latin1\x86R"
    return b"\x80\x02" + text + b"0](" + copy * 1000 + b"e."


@functools.cache
def zeros() -> bytes:
    """65 kB that unpack to 64 MB."""
    return gzip.compress(bytes(1 << 26))


def gzip_bomb(place: Place) -> list[Path]:
    """5 MB that unpack to 5 GB and begin like images."""
    path = place.first("MNIST/raw/train-images*")
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">III", 1 << 28, 28, 28)) + zeros() * 80)
    return [path]


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


def header(text: str) -> bytes:
    """An array of which the shape and the type are told by ``text``."""
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


ARRAYS: dict[str, Callable[[Place], bytes]] = {
    "pickle": lambda place: array([Runs(os.system, f"touch {place.canary}")]),
    "code": lambda place: header(f"__import__('os').system('touch {place.canary}')"),
    "cut": lambda place: header("{'descr': ('<i8', "),
    "huge": lambda place: array([0, 1]).replace(b"(2,)", b"(9999999999999,)"),
    "empty": lambda place: b"",
}


# --- what is planted where

ATTACKS: Attacks = [
    ("camvid", no_images("CamVid/train/*.png")),
    ("camvid", planted("bomb", "CamVid/trainannot/*", png(SIDE, SIDE, 0, bytes(1_000_000)))),
    ("camvid", appended("upwards", "CamVid/train.txt", "x/../secret.png x/../secret.png")),
    ("camvid", appended("absolute", "CamVid/train.txt", "/secret.png OUTSIDE/../secret.png")),
    ("camvid", appended("null", "CamVid/train.txt", "train/\0.png")),
    ("camvid", appended("long", "CamVid/train.txt", "a" * 10_000_000)),
    *(("camvid", in_place_of("CamVid/train.txt", spoil)) for spoil in NO_FILES),
    ("camvid", no_files("CamVid/trainannot/*")),
    *(("cifar10", attack) for attack in PICKLES),
    ("cifar10", no_files("*/data_batch_?")),
    ("mnist", gzip_bomb),
    ("mnist", no_files("MNIST/raw/*")),
]
