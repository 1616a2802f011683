"""Where the images and masks of Open Images lie: in one folder, or in parts, as their archives are unpacked."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.data.packed import Array, open_index, save_strings

DIGITS = "0123456789abcdef"
"""The publisher's archives are named by the first digit of the ids in them."""


@dataclass(frozen=True)
class Parts:
    """The folders of one kind of files.

    Attributes:
        root: of the data set.
        main: where the files are looked for first; need not be there if others are.
        names: of all folders that are there, relative to the root.
        get: how to get what is missing.
    """

    root: Path
    main: Path
    names: tuple[str, ...]
    get: str

    @property
    def folders(self) -> list[Path]:
        """All of them."""
        return [self.root / name for name in self.names]

    def path(self, place: int, file: str) -> Path:
        """A file in one of the folders; where it would be expected, if the place is -1."""
        return (self.main if place < 0 else self.root / self.names[place]) / file


def find_parts(root: Path, mains: Sequence[str], siblings: Sequence[str], get: str) -> Parts:
    """Find the folders of one kind of files: the first of some that is there and the folders in it, and those of parts.

    A folder is read whole once, and again when it changes: it may hold millions of files, and folders among them.

    Args:
        root: of the data set.
        mains: relative to the root.
        siblings: likewise, of each part, to which its digit is added.
        get: how to get what is missing.
    """
    parts = [f"{name}{digit}" for name in siblings for digit in DIGITS]
    there = [name for name in parts if (root / name).is_dir()]
    for main in mains:
        if (root / main).is_dir():
            inside = [f"{main}/{name}" for name in _folders_in(root / main)]
            names = dict.fromkeys([main, *inside, *there])  # a part may be in the main folder too
            return Parts(root, root / main, tuple(names), get)
    return Parts(root, root / mains[0], tuple(there), get)


def _folders_in(folder: Path) -> list[str]:
    def build(into: Path) -> None:
        with os.scandir(folder) as entries:
            save_strings(into, "names", sorted(entry.name for entry in entries if _is_part(entry)))

    return open_index("openimages-folders-1", [folder], build).texts("names")


def _is_part(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not entry.name.startswith(".") and entry.name.isascii()
    except OSError:  # a link that leads to itself
        return False


def locate(names: Array, parts: Parts, ending: str) -> npt.NDArray[np.int32]:
    """In which of the folders each of some files is, the first if in several; -1 if in none.

    Args:
        names: different from each other, without the ending.
        parts: the folders.
        ending: of the names of the files, which may be nothing.
    """
    places = np.full(len(names), -1, np.int32)
    order = np.argsort(names)
    ordered, longest = names[order], names.dtype.itemsize
    for place, folder in enumerate(parts.folders):
        with os.scandir(folder) as entries:
            stems = (os.fsencode(entry.name.removesuffix(ending)) for entry in entries if entry.name.endswith(ending))
            found = np.fromiter((stem for stem in stems if len(stem) <= longest), dtype=names.dtype)
        at = np.searchsorted(ordered, found).clip(max=max(len(names) - 1, 0))
        rows = order[at[ordered[at] == found]] if len(names) else at
        places[rows[places[rows] < 0]] = place
    return places
