"""Open Images v4 to v7 on disk (Kuznetsova et al. 2020, https://storage.googleapis.com/openimages/web/index.html).

The tables may lie in the root or in its folders ``annotations`` and ``metadata``, under the names that the publisher
gave them in any version; of two versions of a table the newer is read. The images are in ``train``, ``validation`` and
``test``, below the root or below ``images``; the masks in ``masks/<split>``, ``<split>-masks`` or ``masks``. Both may
lie in folders in there, of any names, and in folders beside them that are named like the publisher's archives:
``train_0``, ``train-masks-0``.
"""

import base64
import csv
import hashlib
import json
import urllib.request
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from visionlab.data.download import SILENCE, Remote, begins, fetch, refuse_page
from visionlab.data.layouts.openimages_classes import Classes, chosen, read_ancestors, read_classes
from visionlab.data.layouts.openimages_folders import Parts, find_parts
from visionlab.data.layouts.openimages_records import Boxes, ImageLabels, Masks, MissingImages, open_view
from visionlab.data.layouts.openimages_tables import (
    ID,
    Array,
    Report,
    pack,
    read_boxes,
    read_labels,
    read_masks,
    read_relationships,
    refuse,
)
from visionlab.data.packed import Arrays, open_index

Split = Literal["train", "val", "test"]
Vocabulary = Literal["boxable", "all"]
Kind = Literal["boxes", "masks", "boxable labels", "all labels", "relationships", "images"]

SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
"""What the publisher calls each; the first is the name of the folder of images."""

VERSIONS = ("oidv7-", "oidv6-", "")
FOLDERS = (".", "annotations", "metadata")

TABLES: dict[Kind, str] = {
    "boxes": "annotations-bbox.csv",
    "masks": "annotations-object-segmentation.csv",
    "boxable labels": "annotations-human-imagelabels-boxable.csv",
    "all labels": "annotations-human-imagelabels.csv",
    "relationships": "annotations-vrd.csv",
    "images": "images-with-rotation.csv",
}

CLASSES: dict[Vocabulary, str] = {"boxable": "class-descriptions-boxable.csv", "all": "class-descriptions.csv"}

HIERARCHY = "bbox_labels_600_hierarchy.json"

STORAGE = "https://storage.googleapis.com/openimages"

BEGINNINGS = {
    "class-descriptions": (b"LabelName,", b"/m/"),  # those of some versions have no header
    "hierarchy": (b"{",),
    "object-segmentation": (b"MaskPath,",),
}
"""With what a table begins, by a part of its name: what a proxy sends in its place does not. The others begin with the
column ``ImageID``."""

ADDRESSES = (
    "v7/oidv7-class-descriptions-boxable.csv",
    "v7/oidv7-class-descriptions.csv",
    "2018_04/bbox_labels_600_hierarchy.json",
    "v6/oidv6-train-annotations-bbox.csv",
    "v5/validation-annotations-bbox.csv",
    "v5/test-annotations-bbox.csv",
    "2018_04/validation/validation-images-with-rotation.csv",
    "2018_04/test/test-images-with-rotation.csv",
    "v7/oidv7-train-annotations-human-imagelabels.csv",
    "v7/oidv7-val-annotations-human-imagelabels.csv",
    "v7/oidv7-test-annotations-human-imagelabels.csv",
    "v5/train-annotations-human-imagelabels-boxable.csv",
    "v5/validation-annotations-human-imagelabels-boxable.csv",
    "v5/test-annotations-human-imagelabels-boxable.csv",
    "v5/train-annotations-object-segmentation.csv",
    "v5/validation-annotations-object-segmentation.csv",
    "v5/test-annotations-object-segmentation.csv",
    "v6/oidv6-train-annotations-vrd.csv",
    "v6/oidv6-validation-annotations-vrd.csv",
    "v6/oidv6-test-annotations-vrd.csv",
)
"""The tables of v7, below :data:`STORAGE`: what its download page links, for it keeps the files of older versions."""


@dataclass(frozen=True)
class OpenImages:
    """A folder of the data set.

    Attributes:
        root: of the folder.
    """

    root: Path

    def table(self, kind: Kind, split: Split) -> Path:
        """The table of a kind.

        Raises:
            FileNotFoundError: if it is missing; the message names it and says how to get it.
        """
        path = self.find_table(kind, split)
        return path if path is not None else self._missing(f"{SPLITS[split][0]}-{_suffix(kind, split)}")

    def find_table(self, kind: Kind, split: Split) -> Path | None:
        """The table of a kind, if there is one."""
        return self.find(*(f"{word}-{_suffix(kind, split)}" for word in SPLITS[split]))

    def find(self, *names: str) -> Path | None:
        """The newest version that there is of a table of one of some names."""
        every = [(folder, f"{version}{name}") for version in VERSIONS for name in names for folder in FOLDERS]
        return next(
            (self.root / folder / name for folder, name in every if (self.root / folder / name).is_file()), None
        )

    def classes_file(self, vocabulary: Vocabulary) -> Path:
        """The table of class names.

        Raises:
            FileNotFoundError: if it is missing.
        """
        path = self.find(CLASSES[vocabulary])
        return path if path is not None else self._missing(CLASSES[vocabulary])

    def classes(self, vocabulary: Vocabulary, wanted: Sequence[str] | None) -> Classes:
        """The classes of a vocabulary, or those of them that are wanted.

        Raises:
            FileNotFoundError: if the table of class names is missing.
            ValueError: if it is not what it should be, or a class is wanted that it does not have.
        """
        path = self.classes_file(vocabulary)
        classes = read_classes(path)
        return classes if wanted is None else chosen(classes, wanted, path)

    def ancestors(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which classes a class belongs to: see :func:`read_ancestors`.

        Raises:
            FileNotFoundError: if the hierarchy is missing.
        """
        path = self.find(HIERARCHY)
        return read_ancestors(path if path is not None else self._missing(HIERARCHY), ids)

    def image_parts(self, split: Split) -> Parts:
        """The folders of the images, none of which need be there."""
        word = SPLITS[split][0]
        get = "get them (`visionlab data info openimages` says how)"
        return find_parts(self.root, (f"images/{word}", word), (f"{word}_", f"images/{word}_"), get)

    def mask_parts(self, split: Split) -> Parts:
        """The folders of the masks.

        Raises:
            FileNotFoundError: if there is none.
        """
        word = SPLITS[split][0]
        mains = (f"masks/{word}", f"{word}-masks", "masks")
        get = f"unpack {word}-masks-0.zip to {word}-masks-f.zip in {self.root / mains[0]}"
        parts = find_parts(self.root, mains, (f"masks/{word}-masks-", f"{word}-masks-"), get)
        if not parts.names:
            raise FileNotFoundError(f"{parts.main} is missing: {get}")
        return parts

    def boxes(self, split: Split, wanted: Sequence[str] | None, missing_images: MissingImages) -> Boxes:
        """Open the images of a split with their boxes.

        The images are those of the publisher's list if it is there, else those with a box. If only some classes are
        wanted, training keeps the images that show one of them; evaluation keeps all, for false positives count.

        Raises:
            FileNotFoundError: if a table is missing, or images are, unless they are left out.
            ValueError: if a table is not what it should be; the message names the file and the line.
        """
        table = self.box_table(split)
        only = wanted is not None and split == "train"
        view = self._view(table, split, "boxable", wanted, missing_images, only)
        return Boxes(table, view, self.root, self._verified(split))

    def box_table(self, split: Split) -> Arrays:
        """Open all boxes of a split by image, as :func:`read_boxes` gives them; errors are those of :meth:`boxes`."""
        path, images = self.table("boxes", split), self.find_table("images", split)

        def build(folder: Path) -> None:
            known = None if images is None else read_images(images, split, refuse)
            pack(folder, read_boxes(path, self.classes("boxable", None).ids, refuse), path, known, refuse)

        sources = [path, self.classes_file("boxable"), *([] if images is None else [images])]
        return open_index("openimages-boxes-1", sources, build)

    def masks(self, split: Split, wanted: Sequence[str] | None, missing_images: MissingImages) -> Masks:
        """Open the images of a split that have masks; arguments and errors are those of :meth:`boxes`."""
        path = self.table("masks", split)
        ids = self.classes("boxable", None).ids

        def build(folder: Path) -> None:
            pack(folder, read_masks(path, ids, refuse), path, None, refuse)
            names, counts = np.unique(Arrays(folder)["masks"], return_counts=True)
            if (counts > 1).any():
                raise ValueError(f"{path}: {bytes(names[counts > 1][0]).decode('ascii')} is there twice")

        table = open_index("openimages-masks-1", [path, self.classes_file("boxable")], build)
        only = wanted is not None and split == "train"
        view = self._view(table, split, "boxable", wanted, missing_images, only, self.mask_parts(split))
        return Masks(table, view, self.root, self._verified(split))

    def labels(
        self, split: Split, vocabulary: Vocabulary, wanted: Sequence[str] | None, missing_images: MissingImages
    ) -> ImageLabels:
        """Open the images of a split of which any label was verified; errors are those of :meth:`boxes`."""
        table = self.label_table(split, vocabulary)
        view = self._view(table, split, vocabulary, wanted, missing_images, only_with_classes=wanted is not None)
        return ImageLabels(table, view, self.root, len(self.classes(vocabulary, wanted).ids))

    def label_table(self, split: Split, vocabulary: Vocabulary) -> Arrays:
        """Open all verified labels of a split by image, as :func:`read_labels` gives them; errors are those of
        :meth:`boxes`.
        """
        path = self.table("boxable labels" if vocabulary == "boxable" else "all labels", split)
        ids = self.classes(vocabulary, None).ids
        return open_index(
            "openimages-labels-1",
            [path, self.classes_file(vocabulary)],
            lambda folder: pack(folder, read_labels(path, ids, refuse), path, None, refuse),
        )

    def _verified(self, split: Split) -> Arrays | None:
        """The verified labels that evaluation wants, if there are any."""
        there = split != "train" and self.find_table("boxable labels", split) is not None
        return self.label_table(split, "boxable") if there else None

    def relationships(self, split: Split) -> Arrays:
        """Open the packed visual relationships of a split, with the columns of :func:`read_relationships` by image.

        Raises:
            FileNotFoundError: if the table is missing.
            ValueError: if it is not what it should be; the message names the file and the line.
        """
        path = self.table("relationships", split)
        return open_index(
            "openimages-relationships-1",
            [path],
            lambda folder: pack(folder, read_relationships(path, refuse), path, None, refuse),
        )

    def _view(
        self,
        table: Arrays,
        split: Split,
        vocabulary: Vocabulary,
        wanted: Sequence[str] | None,
        missing_images: MissingImages,
        only_with_classes: bool,
        masks: Parts | None = None,
    ) -> Arrays:
        all_ids, ids = self.classes(vocabulary, None).ids, self.classes(vocabulary, wanted).ids
        label = {one: i for i, one in enumerate(ids)}
        choice = hashlib.sha256(json.dumps([ids, missing_images, only_with_classes]).encode()).hexdigest()[:16]
        images = self.image_parts(split)
        view = open_view(
            f"openimages-{SPLITS[split][0]}-{choice}-2",
            table,
            images,
            masks,
            [label.get(one, -1) for one in all_ids],
            missing_images,
            only_with_classes=only_with_classes,
        )
        if (left_out := int(view["left_out"][0])) > 0:
            total = left_out + len(view["rows"])
            or_masks = "" if masks is None else f", or whose masks are not in {masks.main}"
            says = f"left out {left_out:,} of {total:,} images, which are not in {images.main}{or_masks}"
            warnings.warn(says, stacklevel=2)
        return view

    def _missing(self, name: str) -> Path:
        raise FileNotFoundError(
            f"{self.root / name} is missing (or oidv6-{name}, oidv7-{name}): run "
            f"`visionlab data download openimages --root {self.root}`"
        )


def download(root: Path) -> None:
    """Fetch the tables of v7, about 7 GB; images and masks are another matter, see the card.

    The server says the size of each file, and the checksum of most.

    Raises:
        OSError: if a table cannot be had; the message says which file to put where.
    """
    command = f"visionlab data download openimages --root {root}"
    for address in ADDRESSES:
        url, path = f"{STORAGE}/{address}", f"annotations/{address.rpartition('/')[2]}"
        beginnings = next((start for part, start in BEGINNINGS.items() if part in path), (b"ImageID,",))
        if not ((root / path).is_file() and begins(root / path, beginnings)):
            try:
                size, md5 = _size_and_md5(url)
            except OSError as error:
                raise OSError(
                    f"{root / path} could not be downloaded ({url}: {error}): put it there by hand"
                ) from error
            fetch(Remote(path, size, md5, (url,), beginnings), root, command)


def _size_and_md5(url: str) -> tuple[int, str | None]:
    """What Google's storage says of a file; it knows no MD5 of one that was put together from parts."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "visionlab"})
    with urllib.request.urlopen(request, timeout=SILENCE) as response:
        refuse_page(response.headers)
        length = response.headers["Content-Length"]
        hashes = ",".join(response.headers.get_all("x-goog-hash", [])).replace(" ", "").split(",")
    if length is None:
        raise OSError("the server does not say its size")
    md5 = next((one.removeprefix("md5=") for one in hashes if one.startswith("md5=")), None)
    return int(length), None if md5 is None else base64.b64decode(md5).hex()


def read_images(path: Path, split: Split, report: Report) -> Array:
    """Read the list of the images of a split: ``(N,)`` ids, sorted.

    Args:
        path: ``*images*-with-rotation.csv``.
        split: other splits in the list are passed over.
        report: takes what is wrong; such an image is left out.

    Raises:
        ValueError: if it is no such list, or has no image of the split.
    """
    ids: set[bytes] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if "ImageID" not in (reader.fieldnames or ()):
                raise ValueError(f"{path}, line 1: no column ImageID")
            for row in reader:
                name, line = (row["ImageID"] or "").encode(), reader.line_num
                if row.get("Subset", SPLITS[split][0]) not in SPLITS[split]:
                    continue
                if not ID.fullmatch(name):
                    kind, says = "path-outside-root", "is not an image id"
                elif name in ids:
                    kind, says = "duplicate-id", "is there twice"
                else:
                    ids.add(name)
                    continue
                text = name.decode("utf-8", "replace")[:80]
                report(kind, f"{path}, line {line}: {text!r} {says}", path, line=line, id=text)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a list of images: {error}") from error
    if not ids:
        raise ValueError(f"{path} has no image of {SPLITS[split][0]}")
    return np.array(sorted(ids))


def _suffix(kind: Kind, split: Split) -> str:
    # the training images with boxes have a list of their own, among nine million
    return "images-boxable-with-rotation.csv" if (kind, split) == ("images", "train") else TABLES[kind]
