"""Any folder of images: a sub-folder for each class, or no classes at all.

::

    root/train/<class>/...      root/<class>/...      root/...
    root/val/<class>/...
    root/test/<class>/...

Images may lie deeper, in any format that is known by :data:`SUFFIXES`; hidden files and folders, whose names begin with
a dot, are left out. Links are followed. Where there is no ``val``, validation images are held out of the others by a
hash of their names. Splits by other names, as ``valid``, are refused: they would be classes, or be passed over.
"""

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from visionlab.data.headers import SUFFIXES as OF_FORMATS
from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.images import Fingerprints, check_images, check_leaks
from visionlab.data.packed import Arrays, open_index, save, save_strings
from visionlab.data.sample import Annotations

Split = Literal["train", "val", "test"]

SUFFIXES = {suffix for suffixes in OF_FORMATS.values() for suffix in suffixes}
"""The ends of the names of image files, in lower case."""


SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trainset", "train_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "valset", "val_set"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "test_set"), "test"),
}
"""What people call the splits, in lower case."""


class FolderImages:
    """Images below a folder, as records: those with a class have a label.

    Args:
        folder: what the names of the files are relative to.
        arrays: ``files``, their names, and ``labels``, ``(N,)``, unless there are no classes.
        labelled: whether there are.
    """

    def __init__(self, folder: Path, arrays: Arrays, labelled: bool) -> None:
        self.folder, self.arrays, self.labelled = folder, arrays, labelled

    def __len__(self) -> int:
        return len(self.arrays["files_offsets"]) - 1

    def path(self, index: int) -> Path:
        """The image file at ``index``."""
        return self.folder / self.name(index)

    def name(self, index: int) -> str:
        """The file at ``index``, relative to the folder, with slashes."""
        return self.arrays.text("files", index)

    def annotations(self, index: int) -> Annotations:
        """The label of the image at ``index``, or nothing."""
        return {"label": int(self.arrays["labels"][index])} if self.labelled else {}


def class_names(root: Path) -> list[str]:
    """The classes, which are the sub-folders of ``root/train``, or of ``root``, in alphabetical order.

    Raises:
        FileNotFoundError: if there is no folder, or none in it.
        ValueError: if folders in ``root`` are named like splits, but not as those must be.
    """
    base = _base(root)
    _require_known_splits(root)
    if names := listing(base)[0]:
        return names
    raise FileNotFoundError(
        f"{base} has no folder for each class: expected {base}/<class>/*; images without classes are read by "
        "visionlab.data.folder.Images"
    )


def open_classes(root: Path, split: Split, val_fraction: float) -> FolderImages:
    """Open one split of a folder with classes.

    Args:
        root: the folder.
        split: where there is no ``test``, that is ``val``.
        val_fraction: the share of the training images to hold out where there is no ``val``, in (0, 1).

    Raises:
        FileNotFoundError: if there is no folder, or none in it.
        ValueError: if a class has no training images, a folder of another split is no class, or a split is empty.
    """
    names = class_names(root)
    tree, part = _where(root, split)
    files, folders = images_below(tree, by_class=True)

    def build(into: Path) -> None:
        kept = files if part is None else held_out(files, part, val_fraction)
        labels = label_of(kept, names, tree)
        if split == "train":
            _require_all(labels, names, tree)
        _require_some(kept, tree, split)
        save_strings(into, "files", kept)
        save(into, labels=labels)

    form = f"folder-{split}-{part}-{val_fraction}-1"
    return FolderImages(tree, open_index(form, [_base(root), *folders], build), True)


def open_images(root: Path, split: Split, val_fraction: float) -> FolderImages:
    """Open one split of images without classes, at any depth below a folder.

    Args:
        root: the folder.
        split: ``test`` is ``val``.
        val_fraction: the share of the images to hold out for validation, in (0, 1).

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if a split is empty.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: give the one that holds the images")
    files, folders = images_below(root)

    def build(into: Path) -> None:
        kept = held_out(files, "train" if split == "train" else "val", val_fraction)
        _require_some(kept, root, split)
        save_strings(into, "files", kept)

    return FolderImages(root, open_index(f"images-{split}-{val_fraction}-1", folders, build), False)


def held_out(files: Sequence[str], split: Literal["train", "val"], val_fraction: float) -> list[str]:
    """The files of one split: which one a file belongs to depends on its name and the fraction alone, so that it is the
    same on every machine, and stays so when files are added.
    """
    return [file for file in files if (_share(file) < val_fraction) == (split == "val")]


def _share(file: str) -> float:
    """A number in [0, 1) for a name; macOS decomposes letters with accents, others do not."""
    digest = hashlib.sha256(unicodedata.normalize("NFC", file).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def listing(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """The names in a folder, hidden ones left out, in alphabetical order: folders, image files and other files.

    Raises:
        ValueError: if a name is not UTF-8.
    """
    folders, images, others = list[str](), list[str](), list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_text(entry.name):
                raise ValueError(f"{folder} holds {os.fsencode(entry.name)!r}, a name that is not UTF-8: rename it")
            if _is_folder(entry):
                folders.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122  # pathlib is ten times as slow
                images.append(entry.name)
            else:
                others.append(entry.name)
    return sorted(folders), sorted(images), sorted(others)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def images_below(folder: Path, *, by_class: bool = False) -> tuple[list[str], list[Path]]:
    """The image files at any depth below a folder.

    Args:
        folder: to look in.
        by_class: whether to leave out those in the folder itself.

    Returns:
        Their names relative to the folder, with slashes, in alphabetical order; and all folders, itself among them.

    Raises:
        ValueError: if a link leads back to a folder above it, or a name is not UTF-8.
    """
    files, visited = list[str](), list[Path]()
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        prefix, above = waiting.pop()
        here = folder / prefix
        status = here.stat()
        if (status.st_dev, status.st_ino) in above:
            raise ValueError(f"{here} is a link to a folder above it")
        inside = above | {(status.st_dev, status.st_ino)}
        visited.append(here)
        folders, images, _ = listing(here)
        files += [prefix + name for name in images if prefix or not by_class]
        waiting += [(f"{prefix}{name}/", inside) for name in folders]
    return sorted(files), sorted(visited)


def label_of(files: Sequence[str], names: Sequence[str], folder: Path) -> npt.NDArray[np.int64]:
    """The label of each file by the first folder of its name, ``(N,)``.

    Raises:
        ValueError: if that is no class.
    """
    labels = {name: i for i, name in enumerate(names)}
    of_each = [file.split("/", 1)[0] for file in files]
    for unknown in set(of_each) - set(labels):
        raise ValueError(f"{folder / unknown} is no class: the training images have none of that name")
    return np.array([labels[name] for name in of_each], dtype=np.int64)


def _base(root: Path) -> Path:
    """The folder of the training images, and of those held out."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: give the one that holds the images")
    return root / "train" if (root / "train").is_dir() else root


def _require_known_splits(root: Path) -> None:
    """Refuse folders that hold a split by its name, and would be taken for a class or passed over.

    Without ``train`` one such name alone may well be a class, beside others as ``invalid``.

    Raises:
        ValueError: if there are some; the message names one.
    """
    folders = listing(root)[0]
    splits = [name for name in folders if name.lower() in SPLIT_WORDS]
    if "train" in folders:
        wrong = [name for name in splits if SPLIT_WORDS[name.lower()] not in folders]
    else:
        wrong = splits if len(splits) > 1 or len(splits) == len(folders) else []
    for name in sorted(wrong, key=lambda name: name == SPLIT_WORDS[name.lower()]):  # first what must be renamed
        split = SPLIT_WORDS[name.lower()]
        says = "there is no train beside it" if name == split else f"name it {split}"
        raise ValueError(f"{root / name} looks like a split, not a class: {says} (train, val and test are known)")


def _where(root: Path, split: Split) -> tuple[Path, Literal["train", "val"] | None]:
    """The folder of a split, and which part of it the split is where it is not the whole."""
    part: Literal["train", "val"] = "train" if split == "train" else "val"
    if not (root / "train").is_dir():
        return root, part
    if split == "test" and (root / "test").is_dir():
        return root / "test", None
    if (root / "val").is_dir():
        return root / part, None
    return root / "train", part


def _require_all(labels: npt.NDArray[np.int64], names: Sequence[str], folder: Path) -> None:
    for empty in np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0).tolist():
        raise ValueError(f"{folder / names[empty]} has no images to train on")


def _require_some(files: Sequence[str], folder: Path, split: str) -> None:
    if not files:
        raise ValueError(f"{folder} has no images for {split}; ends of names that count: {', '.join(sorted(SUFFIXES))}")


def check(root: Path) -> Findings:
    """Read every image below a folder, with classes or without, and say what is wrong with each."""
    found = Findings()
    if not root.is_dir():
        found.error("missing-file", f"{root} is not a folder", root)
        return found
    splits = [split for split in ("train", "val", "test") if (root / split).is_dir()]
    try:
        trees = {split: root / split for split in splits} if "train" in splits else {"all": root}
        names = listing(_base(root))[0]
        _require_known_splits(root)
        found.classes = len(names)
        if not names:
            found.notes.append(f"{root} has no folder for each class: checked as images without classes")
        if "train" in splits and "val" not in splits:
            found.notes.append(f"{root} has no val: a run holds images of train out for it")
        check_leaks({split: _check_tree(found, split, tree, names) for split, tree in trees.items()}, found)
    except ValueError as error:
        found.error("malformed-name", str(error), root)
    return found


def _check_tree(found: Findings, split: str, tree: Path, names: Sequence[str]) -> Fingerprints:
    files, folders = images_below(tree, by_class=bool(names))
    others = [folder / other for folder in folders for other in listing(folder)[2]]
    if others:
        found.notes.append(f"{tree} holds {len(others):,} files that are no images, the first {others[0]}")
    if names:
        if stray := listing(tree)[1]:
            message = (
                f"{tree} holds {len(stray):,} images outside of the folders of classes, the first {tree / stray[0]}"
            )
            found.notes.append(f"{message}: they are left out")
        for unknown in [name for name in listing(tree)[0] if name not in names]:
            found.error("unknown-category", f"{tree / unknown} is no class of the training images", tree / unknown)
        files = [file for file in files if PurePosixPath(file).parts[0] in names]
        labels = label_of(files, names, tree)
        found.labels[split] = labels
        for empty in np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0).tolist():
            if split in ("train", "all"):
                found.error("missing-image", f"{tree / names[empty]} has no images", tree / names[empty])
            else:
                found.notes.append(f"{tree} has no images of {names[empty]}")
    if not files:
        found.error("missing-image", f"{tree} has no images", tree)
    return check_images(split, [tree / file for file in files], found)
