"""The images of Open Images with what is known about each, out of packed tables."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from visionlab.data.images import image_size, read_mask, same_proportion
from visionlab.data.layouts.openimages_folders import Parts, locate
from visionlab.data.layouts.openimages_tables import Array, flag
from visionlab.data.packed import Arrays, open_index, save, save_strings
from visionlab.data.sample import Annotations

MissingImages = Literal["raise", "leave_out"]

MASK_PIXELS = 1 << 29
"""The masks of one image may not have more together."""


class OpenImagesRecords(ABC):
    """Some images of a split.

    Args:
        table: packed by :func:`visionlab.data.layouts.openimages_tables.pack`.
        view: which images of the table, and which of its classes: of :func:`open_view`.
        root: of the data set.
        verified: the packed table of image labels, of the same classes, where annotations are to have them.
    """

    def __init__(self, table: Arrays, view: Arrays, root: Path, verified: Arrays | None = None) -> None:
        self.table, self.view, self.root, self.verified = table, view, root, verified

    def __len__(self) -> int:
        return len(self.view["rows"])

    def name(self, index: int) -> str:
        """The id of an image."""
        return bytes(self.table["ids"][self.view["rows"][index]]).decode("ascii")

    def path(self, index: int) -> Path:
        """The file of an image."""
        folder = self.view.text("image_folders", int(self.view["image_places"][index]))
        return self.root / folder / f"{self.name(index)}.jpg"

    @property
    def left_out(self) -> int:
        """How many images were left out because their files, or those of their masks, are missing."""
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
    """Images with masks; the view has the places of those."""

    def mask_paths(self, index: int) -> list[Path]:
        """The files of the masks of an image."""
        row = self.view["rows"][index]
        start, end = self.table["offsets"][row : row + 2].tolist()
        _, (names,) = self.rows(index, "masks")
        places = self.view["mask_places"][start:end][self.view["labels"][self.table["labels"][start:end]] >= 0]
        return [
            self.root / self.view.text("mask_folders", place) / name.decode("ascii")
            for name, place in zip(names.tolist(), places.tolist(), strict=True)
        ]

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
        root: likewise.
        classes: how many.
    """

    def __init__(self, table: Arrays, view: Arrays, root: Path, classes: int) -> None:
        super().__init__(table, view, root)
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
    images: Parts,
    masks: Parts | None,
    labels: Sequence[int],
    missing_images: MissingImages,
    *,
    only_with_classes: bool,
) -> Arrays:
    """Choose among the images of a table: ``rows`` of it, ``labels``, ours by those of the table, and ``left_out``, how
    many images were because of missing files.

    Where the files are is in ``image_folders``, relative to the root, and ``image_places`` among them, by image; and in
    ``mask_folders`` and ``mask_places``, by row of the table.

    Args:
        name: of the table.
        table: packed.
        images: their folders.
        masks: likewise, if they are wanted.
        labels: ours, by those of the table; -1 for a class that is left out.
        missing_images: what becomes of images without a file, or without the file of a mask.
        only_with_classes: whether images of which no row has one of our classes are left out, too.

    Raises:
        FileNotFoundError: if all folders are missing, or images or masks are missing and not left out.
        ValueError: if no image is left.
    """
    if not images.names:
        raise FileNotFoundError(f"{images.main} is missing: {images.get}")

    def build(target: Path) -> None:
        rows = np.arange(len(table["ids"]), dtype=np.int32)
        ours = np.array(labels, dtype=np.int16)
        if only_with_classes:
            rows = rows[_by_image(ours[table["labels"]] >= 0, table) > 0]
            if len(rows) == 0:
                raise ValueError(f"no image of {name} has one of the classes that are wanted")
        places = locate(table["ids"][rows], images, ".jpg")
        there = places >= 0
        if not there.all() and missing_images == "raise":
            first = bytes(table["ids"][rows[~there][0]]).decode("ascii")
            raise _missing(int((~there).sum()), len(rows), "images", images, f"{first}.jpg")
        if masks is not None:
            mask_places = locate(table["masks"], masks, "")
            lost = (mask_places < 0) & (ours[table["labels"]] >= 0)
            lost_here = _by_image(lost, table)[rows]
            if lost_here.any() and missing_images == "raise":
                start, end = table["offsets"][rows[lost_here > 0][0] :][:2]
                first = bytes(table["masks"][start:end][lost[start:end]][0]).decode("ascii")
                raise _missing(int(lost_here.sum()), len(lost), "masks", masks, first)
            there &= lost_here == 0
            save(target, mask_places=mask_places)
            save_strings(target, "mask_folders", masks.names)
        if not there.any():
            with_masks = "" if masks is None else f" with its masks in {masks.main}"
            raise ValueError(f"{images.main} has none of the {len(rows):,} images of {name}{with_masks}")
        save_strings(target, "image_folders", images.names)
        left_out = np.array([len(rows) - int(there.sum())])
        save(target, rows=rows[there], image_places=places[there], labels=ours, left_out=left_out)

    return open_index(name, [table.folder, *images.folders, *([] if masks is None else masks.folders)], build)


def _by_image(which: npt.NDArray[np.bool_], table: Arrays) -> npt.NDArray[np.int64]:
    """How many rows of each image are among some."""
    before = np.concatenate([[0], np.cumsum(which)])
    return np.diff(before[table["offsets"]])


def _missing(count: int, total: int, what: str, parts: Parts, first: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{count:,} of {total:,} {what} are missing, the first is {parts.main / first}: {parts.get}, or give "
        "`missing_images: leave_out`"
    )


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
