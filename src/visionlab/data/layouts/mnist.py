"""MNIST and what follows its format on disk: idx files, gzipped or plain (LeCun et al. 1998; http://yann.lecun.com/exdb/mnist).

Reads with numpy alone, so that files can be checked without waiting for torch.
"""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from visionlab.data.download import Remote, fetch, is_right
from visionlab.data.layouts.findings import Findings
from visionlab.data.plain import plain_size

SIDE = 28
"""Height and width of every image."""

MAX_VALUES = 1 << 26
"""Of an array: MNIST's training images have 47 million."""

SLACK = 1 << 16
"""How many bytes more than values a file may have: its header, and what gzip adds."""

CLASSES_MNIST = tuple("0123456789")

CLASSES_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

SPLITS: dict[Literal["train", "test"], tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""The files of images and labels of each split, without ``.gz``."""


@dataclass(frozen=True)
class Mnist:
    """One data set of four idx files, which lie in ``<folder>`` below the root, or in the root itself.

    Attributes:
        name: of the data set's card.
        folder: below the root; the name that torchvision gives it.
        remotes: the publisher's four files.
        classes: the class names, by label.
    """

    name: str
    folder: str
    remotes: tuple[Remote, ...]
    classes: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return (SIDE, SIDE, 1)

    def absent(self, root: Path) -> bool:
        """Whether not even a part of the data set is there."""
        return not any(path.is_file() for path in self._paths(root).values())

    def read(self, root: Path, split: Literal["train", "test"]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Read a split: ``(N, 28, 28, 1)`` images and ``(N,)`` labels.

        Raises:
            FileNotFoundError: if any file of the data set is missing, of this split or the other; the message names it
                and says how to get it.
            ValueError: if a file of the split is not what it should be; the message names it.
        """
        paths = self._paths(root)
        for file, path in paths.items():
            if not path.is_file():
                raise FileNotFoundError(self._missing(root, file))
        images, labels = SPLITS[split]
        return read_split(paths[images], paths[labels], len(self.classes))

    def check(self, root: Path) -> Findings:
        """Read every file and say what is wrong with each."""
        findings = Findings()
        paths = self._paths(root)
        for file, path in paths.items():
            if not path.is_file():
                findings.error("missing-file", self._missing(root, file), path)
        for split, (images, labels) in SPLITS.items():
            if not (paths[images].is_file() and paths[labels].is_file()):
                continue
            try:
                findings.labels[split] = read_split(paths[images], paths[labels], len(self.classes))[1]
            except (OSError, ValueError) as error:
                findings.error("damaged-file", str(error), paths[images].parent)
        official = {Path(remote.path).name: remote for remote in self.remotes}
        unofficial = [
            path
            for path in paths.values()
            if path.suffix == ".gz" and path.is_file() and not is_right(path, official[path.name])
        ]
        if unofficial:
            names = ", ".join(path.name for path in unofficial)
            findings.notes.append(f"{unofficial[0].parent}: not the official bytes (a twin or a subset?): {names}")
        return findings

    def download(self, root: Path) -> None:
        """Fetch those of the four files that are not there.

        Raises:
            OSError: if a file cannot be had; the message says which file to put where.
            ValueError: if the folder holds readable data other than the official.
        """
        there = all((root / remote.path).is_file() and is_right(root / remote.path, remote) for remote in self.remotes)
        if not there and not self.absent(root) and not self.check(root).errors:
            raise ValueError(
                f"{root} holds readable data already (a twin, a subset, unpacked files?): "
                "move it away, or give another root"
            )
        for remote in self.remotes:
            fetch(remote, root, self._command(root))

    def _command(self, root: Path) -> str:
        return f"visionlab data download {self.name} --root {root}"

    def _missing(self, root: Path, file: str) -> str:
        path = root / self.folder / f"{file}.gz"
        return f"{path} is missing: put it there, or run `{self._command(root)}`"

    def _paths(self, root: Path) -> dict[str, Path]:
        """Where each file is, or would be: all in one folder, so that two data sets never mix."""
        for folder in (root / self.folder, root):
            paths = {file: _gzipped_or_plain(folder / file) for files in SPLITS.values() for file in files}
            if any(path.is_file() for path in paths.values()):
                return paths
        return {file: root / self.folder / f"{file}.gz" for files in SPLITS.values() for file in files}


def read_split(images: Path, labels: Path, num_classes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read a file of images and the file of their labels: ``(N, 28, 28, 1)`` and ``(N,)``.

    Raises:
        ValueError: if a file is not what it should be, if they do not fit together, or if a label is out of range; the
            message names the file.
    """
    pixels = read_idx(images, 3)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise ValueError(
            f"{images} holds images of {pixels.shape[1]} x {pixels.shape[2]} pixels; expected {SIDE} x {SIDE}"
        )
    numbers = read_idx(labels, 1)
    if len(numbers) != len(pixels):
        raise ValueError(f"{labels} holds {len(numbers)} labels, but {images} {len(pixels)} images")
    wrong = np.flatnonzero(numbers >= num_classes)
    if len(wrong):
        raise ValueError(f"{labels}, row {wrong[0]}: label {numbers[wrong[0]]} is not in 0..{num_classes - 1}")
    return pixels[..., None], numbers.astype(np.int64)


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an idx file of unsigned bytes: two zeros, the type 8, the number of dimensions, each dimension as a
    big-endian 32-bit integer, and the values in C order.

    Args:
        path: gzipped if it ends in ``.gz``.
        dimensions: how many the array must have.

    Raises:
        ValueError: if the file is anything else, or cut; the message names it.
    """
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(header)
            if not magic.startswith(start[:4]):
                raise ValueError(
                    f"{path} is no idx file of {dimensions} dimensions: it starts with the bytes {start[:4].hex(' ')}, "
                    f"not {magic.hex(' ')}"
                )
            if len(start) < header:
                raise ValueError(f"{path} is cut: it ends within its header")
            shape = [int.from_bytes(start[at : at + 4]) for at in range(4, header, 4)]
            size = math.prod(shape)
            most = min(size, MAX_VALUES)
            plain_size(path, most + SLACK)
            values = file.read(most + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is cut or damaged: {error}") from error
    if len(values) != size:
        more = " or more" if len(values) > size else ""
        raise ValueError(f"{path} is cut or damaged: its header announces {size} values, it holds {len(values)}{more}")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _gzipped_or_plain(path: Path) -> Path:
    gzipped = path.with_name(path.name + ".gz")
    return gzipped if gzipped.is_file() else path


def _remotes(folder: str, mirrors: tuple[str, ...], files: dict[str, tuple[int, str]]) -> tuple[Remote, ...]:
    return tuple(
        Remote(f"{folder}/{name}", size, checksum, tuple(mirror + name for mirror in mirrors))
        for name, (size, checksum) in files.items()
    )


MNIST = Mnist(
    name="mnist",
    folder="MNIST/raw",
    remotes=_remotes(
        "MNIST/raw",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {  # checksums as in torchvision.datasets.MNIST
            "train-images-idx3-ubyte.gz": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            "train-labels-idx1-ubyte.gz": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            "t10k-images-idx3-ubyte.gz": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            "t10k-labels-idx1-ubyte.gz": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        },
    ),
    classes=CLASSES_MNIST,
)

FASHION_MNIST = Mnist(
    name="fashionmnist",
    folder="FashionMNIST/raw",
    remotes=_remotes(
        "FashionMNIST/raw",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        {  # checksums as in torchvision.datasets.FashionMNIST
            "train-images-idx3-ubyte.gz": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            "train-labels-idx1-ubyte.gz": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            "t10k-images-idx3-ubyte.gz": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            "t10k-labels-idx1-ubyte.gz": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        },
    ),
    classes=CLASSES_FASHION,
)
