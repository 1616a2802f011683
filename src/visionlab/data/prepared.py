"""A split's images, decoded and made smaller once, so that training need not decode them every epoch.

A prepared folder holds

- ``pixels``: the images one after another, raw ``uint8``, ``(H, W, 3)`` each;
- ``offsets.npy``: ``(N + 1,)`` ``int64``, where in ``pixels`` each begins, and the end;
- ``sizes.npy``: ``(N, 2)`` ``int64``, height and width of each, 0 and 0 of one that could not be read;
- ``names.npy``: ``(N,)`` ``uint32``, the CRC-32 of each image's name.

At a short side of 256, ImageNet's training images take about 340 GB. ``benchmarks/jpeg_input.py`` says what it gains.
"""

import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from visionlab.data.images import read_image, resized
from visionlab.data.sample import Records
from visionlab.data.threads import in_threads

UInt8Array = npt.NDArray[np.uint8]


def prepare(records: Records, folder: Path, short_side: int) -> list[str]:
    """Write the images of a split into a prepared folder, with a progress bar. The folder appears whole or not at all.

    An image that cannot be read has no pixels in it, and is as unreadable there as its file: hours of work are not lost
    for one of a million.

    Args:
        records: of the split; only its images are read.
        folder: where to; must not be there yet.
        short_side: in pixels; an image whose short side is longer is resized to it, keeping its aspect, bilinearly with
            antialiasing.

    Returns:
        What is wrong with each image that could not be read.

    Raises:
        FileExistsError: if ``folder`` is there.
        ValueError: if there are no images, or none that can be read, or ``short_side`` is not at least 1.
    """
    if short_side < 1:
        raise ValueError(f"short_side must be at least 1 pixel, not {short_side}")
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: remove it to prepare the images anew")
    if len(records) == 0:
        raise ValueError(f"there are no images to prepare in {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".preparing-") as beside:
        unfinished = Path(beside) / folder.name
        unfinished.mkdir()
        sizes = np.empty((len(records), 2), np.int64)
        images = in_threads(lambda index: _small(records.path(index), short_side), len(records))
        unreadable = list[str]()
        with (unfinished / "pixels").open("wb") as file:
            for index, image in enumerate(tqdm(images, total=len(records), unit="image", disable=None)):
                if isinstance(image, str):
                    unreadable.append(image)
                    sizes[index] = 0
                    continue
                sizes[index] = image.shape[:2]
                file.write(image.data)
            file.flush()
            os.fsync(file.fileno())
        if len(unreadable) == len(records):
            raise ValueError(f"none of the {len(records):,} images can be read; the first: {unreadable[0]}")
        np.save(unfinished / "offsets.npy", _offsets(sizes))
        np.save(unfinished / "sizes.npy", sizes)
        np.save(unfinished / "names.npy", _names(records))
        unfinished.rename(folder)
    return unreadable


class Prepared:
    """The images of a prepared folder, memory-mapped: the processes of a loader share them.

    Opened when the first image is asked for, and not pickled, so that sending it to a process costs nothing.

    Args:
        folder: which :func:`prepare` wrote.
        records: of the split, which the images must be those of.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it was prepared from other images, or is damaged; the message says which is the first that
            differs. The images' files are not looked at: prepare anew what was changed under its old name.
    """

    def __init__(self, folder: Path, records: Records) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"there are no prepared images in {folder}")
        names, given = _load(folder / "names.npy", np.uint32), _names(records)
        if len(names) != len(given):
            raise ValueError(f"{folder} was prepared from {len(names):,} images, and the data set has {len(given):,}")
        if (names != given).any():
            index = int(np.argmax(names != given))
            raise ValueError(
                f"{folder} was prepared from other images, or in another order: number {index:,} is not "
                f"{records.name(index)!r} there"
            )
        offsets, sizes = _load(folder / "offsets.npy", np.int64), _load(folder / "sizes.npy", np.int64)
        found = (folder / "pixels").stat().st_size
        if sizes.shape != (len(names), 2) or not np.array_equal(offsets, _offsets(sizes)):
            raise ValueError(f"{folder} is damaged: the offsets of its images do not fit their sizes")
        if offsets[-1] != found:
            raise ValueError(f"{folder / 'pixels'} has {found:,} bytes, and its images need {offsets[-1]:,}")
        self.folder, self._length = folder, len(names)
        self._unreadable = {index: records.path(index) for index in np.flatnonzero(sizes.prod(axis=1) == 0).tolist()}
        self._arrays: tuple[UInt8Array, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self._length

    def image(self, index: int) -> UInt8Array:
        """The image at ``index``: ``(H, W, 3)``, RGB, not to be written to.

        Raises:
            ValueError: if it could not be read when it was to be prepared.
        """
        if index in self._unreadable:
            raise ValueError(f"{self._unreadable[index]} could not be read when {self.folder} was prepared")
        if self._arrays is None:
            self._arrays = (
                np.asarray(np.memmap(self.folder / "pixels", np.uint8, mode="r")),
                _load(self.folder / "offsets.npy", np.int64),
                _load(self.folder / "sizes.npy", np.int64),
            )
        pixels, offsets, sizes = self._arrays
        height, width = sizes[index].tolist()
        start = int(offsets[index])
        return pixels[start : start + 3 * height * width].reshape(height, width, 3)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}


def _small(path: Path, short_side: int) -> UInt8Array | str:
    """An image, made smaller, or what is wrong with its file."""
    try:
        image = read_image(path, 3)
    except (ValueError, OSError) as error:
        return str(error)
    height, width = image.shape[:2]
    shortest = min(height, width)
    if shortest <= short_side:
        return np.ascontiguousarray(image)
    return resized(image, round(height * short_side / shortest), round(width * short_side / shortest))


def _offsets(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(3 * sizes.prod(axis=1))])


def _names(records: Records) -> npt.NDArray[np.uint32]:
    return np.fromiter((zlib.crc32(records.name(i).encode()) for i in range(len(records))), np.uint32, len(records))


def _load(path: Path, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Memory-map an array, without anything that a pickle could run."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if array.dtype != dtype:
        raise ValueError(f"{path} is damaged: it holds {array.dtype}, not {np.dtype(dtype)}")
    return np.asarray(array)
