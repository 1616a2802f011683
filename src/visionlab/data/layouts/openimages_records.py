"""The images of Open Images with what is known about each, out of packed tables."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from visionlab.data.images import image_size, read_mask, same_proportion
from visionlab.data.layouts.openimages_tables import ID, Array, flag
from visionlab.data.packed import Arrays, open_index, save
from visionlab.data.sample import Annotations

MissingImages = Literal["raise", "leave_out"]

MASK_PIXELS = 1 << 29
"""The masks of one image may not have more together."""


class OpenImagesRecords(ABC):
    """Some images of a split.

    Args:
        table: packed by :func:`visionlab.data.layouts.openimages_tables.pack`.
        view: which images of the table, and which of its classes: of :func:`open_view`.
        folder: of the images.
        verified: the packed table of image labels, of the same classes, where annotations are to have them.
    """

    def __init__(self, table: Arrays, view: Arrays, folder: Path, verified: Arrays | None = None) -> None:
        self.table, self.view, self.folder, self.verified = table, view, folder, verified

    def __len__(self) -> int:
        return len(self.view["rows"])

    def name(self, index: int) -> str:
        """The id of an image."""
        return bytes(self.table["ids"][self.view["rows"][index]]).decode("ascii")

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.folder / f"{self.name(index)}.jpg"

    @property
    def left_out(self) -> int:
        """How many images were left out because their files are missing."""
        return int(self.view["left_out"][0])

    @abstractmethod
    def annotations(self, index: int) -> Annotations:
        """What is known about an image."""

    def rows(self, index: int, *names: str) -> tuple[npt.NDArray[np.int64], list[Array]]:
        """The labels of an image, in ``0..C-1``, and other columns of the table, without the classes left out."""
        row = self.view["rows"][index]
        start, end = self.table["offsets"][row : row + 2].tolist()
        labels = self.view["labels"][self.table["labels"][start:end]].astype(np.int64)
        kept = labels >= 0
        return labels[kept], [self.table[name][start:end][kept] for name in names]

    def verified_labels(self, index: int) -> Annotations:
        """``labels`` of an image as :class:`ImageLabels` has them, where its objects are to have them."""
        if self.verified is None:
            return {}
        ids, ours = self.verified["ids"], self.view["labels"]
        name = self.table["ids"][self.view["rows"][index]]
        row = int(np.searchsorted(ids, name))
        labels = np.full(int(ours.max()) + 1, np.nan, np.float32)
        if row < len(ids) and ids[row] == name:
            start, end = self.verified["offsets"][row : row + 2].tolist()
            known, positive = ours[self.verified["labels"][start:end]], self.verified["positive"][start:end]
            labels[known[known >= 0]] = 0
            labels[known[(known >= 0) & positive]] = 1
        return {"labels": labels}


class Boxes(OpenImagesRecords):
    """Images with boxes; a group of more than five objects that touch (``IsGroupOf``) is a crowd."""

    def annotations(self, index: int) -> Annotations:
        """The objects of an image, which may be none: ``boxes``, ``labels`` and ``crowd``; and its verified labels."""
        labels, (boxes, flags) = self.rows(index, "boxes", "flags")
        height, width = image_size(self.path(index))
        pixels = boxes * np.array([width, height, width, height], np.float64)
        crowd = flag(flags, "IsGroupOf") == 1
        return {"objects": {"boxes": pixels, "labels": labels, "crowd": crowd}, **self.verified_labels(index)}


class Masks(OpenImagesRecords):
    """Images with masks.

    Args:
        table: of masks.
        view: as in :class:`OpenImagesRecords`.
        folder: of the images.
        masks: the folder of the masks, or of folders of them by the first digit of the image's id.
        verified: as in :class:`OpenImagesRecords`.
    """

    def __init__(self, table: Arrays, view: Arrays, folder: Path, masks: Path, verified: Arrays | None = None) -> None:
        super().__init__(table, view, folder, verified)
        self.masks = masks

    def mask_paths(self, index: int) -> list[Path]:
        """The files of the masks of an image."""
        _, (names,) = self.rows(index, "masks")
        return [mask_path(self.masks, bytes(name).decode("ascii")) for name in names]

    def annotations(self, index: int) -> Annotations:
        """The objects of an image that have masks: ``boxes``, ``labels`` and ``masks``; and its verified labels.

        The masks were drawn on other sizes of the images than those that are distributed
        (openimages/dataset, issue 92): they are brought to the size of the image, without interpolation.

        Raises:
            FileNotFoundError: if a mask is missing.
            ValueError: if a mask is damaged, or its sides are not in the proportion of those of the image.
        """
        labels, (boxes,) = self.rows(index, "boxes")
        height, width = image_size(self.path(index))
        if len(labels) * height * width > MASK_PIXELS:
            raise ValueError(
                f"image {self.name(index)} has {len(labels):,} masks of {width} x {height} pixels, "
                f"more than {MASK_PIXELS:,} pixels together"
            )
        masks = np.zeros((len(labels), height, width), np.uint8)
        for mask, path in zip(masks, self.mask_paths(index), strict=True):
            drawn = (read_mask(path) > 0).astype(np.uint8)
            check_proportion(path, drawn.shape, (height, width))
            mask[:] = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        pixels = boxes * np.array([width, height, width, height], np.float64)
        return {"objects": {"boxes": pixels, "labels": labels, "masks": masks}, **self.verified_labels(index)}


class ImageLabels(OpenImagesRecords):
    """Images with the classes that people verified to be there, or not to be there.

    Args:
        table: of image labels.
        view: as in :class:`OpenImagesRecords`.
        folder: of the images.
        classes: how many.
    """

    def __init__(self, table: Arrays, view: Arrays, folder: Path, classes: int) -> None:
        super().__init__(table, view, folder)
        self.classes = classes

    def annotations(self, index: int) -> Annotations:
        """``labels`` of an image: NaN for classes that nobody verified, 1 where two verifications contradict."""
        known, (positive,) = self.rows(index, "positive")
        labels = np.full(self.classes, np.nan, np.float32)
        labels[known] = 0
        labels[known[positive]] = 1
        return {"labels": labels}


def open_view(
    name: str,
    table: Arrays,
    folder: Path,
    labels: Sequence[int],
    missing_images: MissingImages,
    *,
    only_with_classes: bool,
) -> Arrays:
    """Choose among the images of a table: ``rows`` of it, ``labels``, ours by those of the table, and ``left_out``, how
    many images were because of their missing files.

    Args:
        name: of the table.
        table: packed.
        folder: of the images.
        labels: ours, by those of the table; -1 for a class that is left out.
        missing_images: what becomes of images without a file.
        only_with_classes: whether images of which no row has one of our classes are left out, too.

    Raises:
        FileNotFoundError: if the folder is missing, or images are missing and not left out.
        ValueError: if no image is left.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: `visionlab data info openimages` says how to get the images")

    def build(target: Path) -> None:
        rows = np.arange(len(table["ids"]), dtype=np.int32)
        ours = np.array(labels, dtype=np.int16)
        if only_with_classes:
            before = np.concatenate([[0], np.cumsum(ours[table["labels"]] >= 0)])
            rows = rows[np.diff(before[table["offsets"]]) > 0]
            if len(rows) == 0:
                raise ValueError(f"no image of {name} has one of the classes that are wanted")
        there = np.isin(table["ids"][rows], image_ids(folder))
        missing = len(rows) - int(there.sum())
        if missing == len(rows) and missing_images == "leave_out":
            raise ValueError(f"{folder} has none of the {missing:,} images of {name}")
        if missing and missing_images == "raise":
            first = bytes(table["ids"][rows[~there][0]]).decode("ascii")
            raise FileNotFoundError(
                f"{missing:,} of {len(rows):,} images are missing, the first is {folder / first}.jpg: get them "
                "(`visionlab data info openimages` says how), or give `missing_images: leave_out`"
            )
        save(target, rows=rows[there], labels=ours, left_out=np.array([missing]))

    return open_index(name, [table.folder, folder], build)


def image_ids(folder: Path) -> Array:
    """The ids of the images that are in a folder, in any order."""
    with os.scandir(folder) as entries:
        names = (entry.name[:-4].encode("utf-8", "replace") for entry in entries if entry.name.endswith(".jpg"))
        return np.fromiter((name for name in names if ID.fullmatch(name)), dtype="S64")


def mask_path(folder: Path, name: str) -> Path:
    """Where a mask lies, below a folder that is flat or has folders by the first digit."""
    flat = folder / name
    return flat if flat.is_file() else folder / name[0] / name


def check_proportion(path: Path, mask: tuple[int, ...], image: tuple[int, int]) -> None:
    """Make sure that a mask has the proportion of its image.

    Args:
        path: of the mask.
        mask: height and width.
        image: likewise.

    Raises:
        ValueError: if it has another, beyond what rounding each side explains.
    """
    if not same_proportion((mask[0], mask[1]), image):
        raise ValueError(
            f"{path} has {mask[1]} x {mask[0]} pixels, in another proportion than its image of {image[1]} x {image[0]}"
        )
