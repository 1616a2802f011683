"""ImageNet-1k on disk (ILSVRC 2012; Russakovsky et al. 2015, https://www.image-net.org/challenges/LSVRC/2012/).

Three layouts are known::

    train/<wnid>/*.JPEG    train/<wnid>/*.JPEG          ILSVRC/Data/CLS-LOC/{train/<wnid>,val,test}/*.JPEG
    val/<wnid>/*.JPEG      val/*.JPEG                   ILSVRC/Annotations/CLS-LOC/{train/<wnid>,val}/*.xml
                           ILSVRC2012_devkit_t12/data/  ILSVRC/ImageSets/CLS-LOC/*.txt
                                                        LOC_synset_mapping.txt, LOC_val_solution.csv

Labels number the classes that are there in the alphabetical order of their WordNet ids, as everybody does but the
development kit, whose own ids are in another order. So a subset of the classes works as well.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.folder import FolderImages, label_of, listing
from visionlab.data.layouts.matlab import read_table
from visionlab.data.layouts.xml import read_xml
from visionlab.data.packed import open_index, save, save_strings
from visionlab.data.plain import plain_size

Split = Literal["train", "val"]

MAX_BYTES = 1 << 27
"""Of a list: three times the longest."""

WNID = re.compile(r"n\d{8}")
"""An id of WordNet: n and eight digits."""

VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")

GET = (
    "ImageNet is given out after registration at https://www.image-net.org/download.php or "
    "https://www.kaggle.com/c/imagenet-object-localization-challenge: `visionlab data info imagenet` says how to "
    "unpack it"
)


@dataclass(frozen=True)
class Layout:
    """Where the files of ImageNet are.

    Attributes:
        title: of the layout.
        root: of the data set.
        images: the folder of ``train`` and ``val``.
        val_by_class: whether the validation images are in a folder for each class.
    """

    title: str
    root: Path
    images: Path
    val_by_class: bool

    @property
    def mapping(self) -> Path:
        """The names of the classes; not everywhere."""
        return self.root / "LOC_synset_mapping.txt"

    @property
    def solution(self) -> Path:
        """The classes of the validation images, by Kaggle."""
        return self.root / "LOC_val_solution.csv"

    @property
    def annotations(self) -> Path:
        """The folder of the boxes."""
        return self.root / "ILSVRC" / "Annotations" / "CLS-LOC"

    @property
    def devkit(self) -> Path:
        """The folder of the development kit's tables."""
        return self.root / "ILSVRC2012_devkit_t12" / "data"

    @property
    def truth(self) -> Path:
        """The development kit's ids of the classes of the validation images, in the order of their numbers."""
        return self.devkit / "ILSVRC2012_validation_ground_truth.txt"


def find(root: Path) -> Layout:
    """Find out in which layout a folder holds ImageNet.

    Raises:
        FileNotFoundError: if in none; the message says what was expected.
    """
    kaggle = root / "ILSVRC" / "Data" / "CLS-LOC"
    images = kaggle if kaggle.is_dir() else root
    for split in ("train", "val"):
        if not (images / split).is_dir():
            raise FileNotFoundError(f"{images / split} is missing. {GET}")
    if listing(images / "val")[0]:
        title = "Kaggle's folders, the validation images by class" if images is kaggle else "folders by class"
        return Layout(title, root, images, True)
    title = "Kaggle's folders" if images is kaggle else "the development kit's"
    return Layout(title, root, images, False)


def wnids(layout: Layout) -> list[str]:
    """The WordNet ids of the classes, by label: the folders of the training images.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if one is not a WordNet id.
    """
    train = layout.images / "train"
    folders, images, _ = listing(train)
    for name in folders:
        if not WNID.fullmatch(name):
            raise ValueError(
                f"{train / name} is not named by a WordNet id (n and 8 digits): for classes of your own use "
                "visionlab.data.folder.ImageFolder"
            )
    if images:
        raise ValueError(f"{train / images[0]} is not in the folder of a class")
    if not folders:
        raise FileNotFoundError(f"{train} has no folders. {GET}")
    return folders


def class_names(layout: Layout) -> list[str]:
    """The names of the classes, by label.

    Each is the first of WordNet's synonyms, with the id where another class has the same ("crane" is a bird and a
    machine), or the id where there is no ``LOC_synset_mapping.txt``.

    Raises:
        FileNotFoundError: if there are no classes.
        ValueError: if a file is not what it should be.
    """
    ids = wnids(layout)
    found = Findings()
    synonyms = read_mapping(layout.mapping, found) if layout.mapping.is_file() else {}
    stop_at_the_first(found)
    first = {wnid: synonyms[wnid].split(",")[0].strip() if wnid in synonyms else wnid for wnid in ids}
    times = Counter(text.split(",")[0].strip() for text in synonyms.values())
    return [f"{name} ({wnid})" if times[name] > 1 else name for wnid, name in first.items()]


def open_images(root: Path, split: Split) -> FolderImages:
    """Open a split: each image with its label.

    Raises:
        FileNotFoundError: if a file is missing; the message says how to get it.
        ValueError: if a file is not what it should be; the message names it, and the line.
    """
    layout = find(root)
    ids = wnids(layout)
    tree = layout.images / split
    by_class = split == "train" or layout.val_by_class
    folders = [tree / name for name in listing(tree)[0]] if by_class else []
    sources = [tree, *folders, layout.images / "train"]
    if not by_class:
        sources += [path for path in (layout.solution, layout.truth, layout.annotations / "val") if path.exists()]

    def build(into: Path) -> None:
        if by_class:
            files = [f"{folder.name}/{name}" for folder in folders for name in listing(folder)[1]]
            labels = label_of(files, ids, tree)
        else:
            found = Findings()
            wnid_of = val_wnids(layout, found)
            files = listing(tree)[1]
            compare(files, wnid_of, ids, tree, found)
            stop_at_the_first(found)
            labels = label_of([wnid_of[Path(name).stem] for name in files], ids, tree)
        empty = np.flatnonzero(np.bincount(labels, minlength=len(ids)) == 0)
        if not files or (split == "train" and len(empty) > 0):
            raise ValueError(f"{tree / ids[empty[0]] if files else tree} has no images")
        save_strings(into, "files", files)
        save(into, labels=labels)

    return FolderImages(tree, open_index(f"imagenet-{split}-1", sources, build), True)


def stop_at_the_first(found: Findings) -> None:
    """Raise what is wrong, if anything is.

    Raises:
        ValueError: with the message of the first error, and the number of further ones.
    """
    if found.errors:
        further = f" (and {len(found.errors) - 1:,} more)" if len(found.errors) > 1 else ""
        raise ValueError(f"{found.errors[0].message}{further}")


def compare(files: Sequence[str], wnid_of: dict[str, str], ids: Sequence[str], tree: Path, found: Findings) -> None:
    """Say which validation images have no class, or one that is not trained on, and which are missing."""
    stems, known = {Path(name).stem for name in files}, set(ids)
    for name in files:
        wnid = wnid_of.get(Path(name).stem)
        if wnid is None:
            found.error("missing-annotation", f"{tree / name} has no class in the lists", tree / name)
        elif wnid not in known:
            message = f"{tree / name} is of {wnid}, of which there are no training images"
            found.error("unknown-category", message, tree / name, id=wnid)
    for stem in [stem for stem in wnid_of if stem not in stems]:
        found.error("missing-image", f"{tree / stem}.JPEG is missing", tree / f"{stem}.JPEG", id=stem)


def val_wnids(layout: Layout, found: Findings) -> dict[str, str]:
    """The WordNet id of each validation image, by the name of the image without its ending.

    From Kaggle's ``LOC_val_solution.csv``, else from the development kit, else from the boxes.

    Args:
        layout: of the data set.
        found: takes what is wrong.

    Raises:
        FileNotFoundError: if there is none of these.
        ValueError: if the development kit's table cannot be read.
    """
    if layout.solution.is_file():
        return read_solution(layout.solution, found)
    if layout.truth.is_file():
        return read_devkit(layout, found)
    if (layout.annotations / "val").is_dir():
        return _from_boxes(layout.annotations / "val", found)
    raise FileNotFoundError(
        f"{layout.images / 'val'} has no folder for each class, and neither {layout.solution} nor {layout.truth} "
        "says what the images are: put one of the two there"
    )


def read_mapping(path: Path, found: Findings) -> dict[str, str]:
    """Read ``LOC_synset_mapping.txt``: a WordNet id and its synonyms on each line."""
    synonyms = dict[str, str]()
    for number, line in enumerate(_lines(path, found), 1):
        wnid, _, text = line.partition(" ")
        if not WNID.fullmatch(wnid) or not text.strip():
            message = f"{path}, line {number}: {line[:60]!r} is not a WordNet id and names"
            found.error("malformed-file", message, path, line=number)
        elif wnid in synonyms:
            found.error("duplicate-id", f"{path}, line {number}: {wnid} again", path, line=number, id=wnid)
        else:
            synonyms[wnid] = text.strip()
    return synonyms


def read_solution(path: Path, found: Findings) -> dict[str, str]:
    """Read ``LOC_val_solution.csv``: ``ImageId,PredictionString``, the latter a WordNet id and a box, repeated."""
    wnid_of = dict[str, str]()
    rows = csv.reader(_lines(path, found))
    if next(rows, None) != ["ImageId", "PredictionString"]:
        message = f"{path}, line 1: the columns are not ImageId,PredictionString"
        found.error("malformed-file", message, path, line=1)
        return {}
    for row in rows:
        number = rows.line_num
        wnid = row[1].split(" ", 1)[0] if len(row) == 2 else ""
        if not wnid or not VAL_NAME.fullmatch(row[0]) or not WNID.fullmatch(wnid):
            message = f"{path}, line {number}: {','.join(row)[:60]!r} is not a validation image and its class"
            found.error("malformed-file", message, path, line=number)
        elif row[0] in wnid_of:
            found.error("duplicate-id", f"{path}, line {number}: {row[0]} again", path, line=number, id=row[0])
        else:
            wnid_of[row[0]] = wnid
    return wnid_of


def read_devkit(layout: Layout, found: Findings) -> dict[str, str]:
    """Read the development kit's ``meta.mat`` and its list of the ids of the validation images' classes.

    Raises:
        FileNotFoundError: if ``meta.mat`` is missing.
        ValueError: if it cannot be read.
    """
    meta = layout.devkit / "meta.mat"
    if not meta.is_file():
        raise FileNotFoundError(f"{meta} is missing: unpack ILSVRC2012_devkit_t12.tar.gz in {layout.root}")
    wnid_of_id = dict[int, str]()
    for row in read_table(meta, "synsets"):
        number, wnid, children = (row.get(key) for key in ("ILSVRC2012_ID", "WNID", "num_children"))
        if not isinstance(number, float) or not isinstance(wnid, str) or not WNID.fullmatch(wnid):
            raise ValueError(f"{meta}: {wnid!r} with id {number!r} is no class")
        if children == 0:  # the others are classes of classes
            wnid_of_id[int(number)] = wnid
    wnid_of = dict[str, str]()
    for number, line in enumerate(_lines(layout.truth, found), 1):
        wnid = wnid_of_id.get(int(line)) if line.isascii() and line.isdigit() and len(line) < 9 else None
        if wnid is None:
            message = f"{layout.truth}, line {number}: {line[:40]!r} is not the id of a class in {meta.name}"
            found.error("unknown-category", message, layout.truth, line=number)
        else:
            wnid_of[f"ILSVRC2012_val_{number:08}"] = wnid
    return wnid_of


def _from_boxes(folder: Path, found: Findings) -> dict[str, str]:
    wnid_of = dict[str, str]()
    for name in listing(folder)[2]:
        try:
            names = [element.only("name").text for element in read_xml(folder / name).all("object")]
        except ValueError as error:
            found.error("malformed-file", str(error), folder / name)
            continue
        if len(set(names)) != 1 or not WNID.fullmatch(names[0]):
            message = f"{folder / name} does not name one class, but {', '.join(sorted(set(names))) or 'none'}"
            found.error("unknown-category", message, folder / name)
        else:
            wnid_of[Path(name).stem] = names[0]
    return wnid_of


def _lines(path: Path, found: Findings) -> list[str]:
    """The lines of a text file; a message in ``found`` and none, if it is none."""
    try:
        plain_size(path, MAX_BYTES)
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        found.error("malformed-file", f"{path} is not text in UTF-8: {error.reason} at byte {error.start}", path)
    except ValueError as error:
        found.error("malformed-file", str(error), path)
    return []
