"""The splits of PASCAL VOC: images of one or several sets with what each task wants to know about them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.data.images import image_size, read_mask
from visionlab.data.layouts.voc import (
    CLASSES,
    ImageSet,
    VocObject,
    how_to_get,
    read_annotation,
    read_class_list,
    read_list,
    refuse,
    year_folder,
)
from visionlab.data.packed import Arrays, open_index, save, save_strings
from visionlab.data.sample import VOID, Annotations, Objects

FORM = 2
"""Of the indices; to be changed with what they hold."""


@dataclass(frozen=True)
class Listed:
    """The images of some sets.

    Attributes:
        root: of the data set.
        sets: the sets.
        folders: of the year of each.
        lists: the file of each.
        names: the images of all, in the order of the lists.
        of_set: ``(N,)`` ``uint8``, the set of each image.
    """

    root: Path
    sets: Sequence[ImageSet]
    folders: Sequence[Path]
    lists: Sequence[Path]
    names: Sequence[str]
    of_set: npt.NDArray[np.uint8]

    def files(self, folder: str, suffix: str) -> list[Path]:
        """A file of each image."""
        return [self.folders[i] / folder / f"{name}{suffix}" for i, name in zip(self.of_set, self.names, strict=True)]


class VocRecords(ABC):
    """Some images; a subclass gives what is known about them. The order is that of the sets and of their lists.

    Args:
        index: with ``names`` and ``of_set``, as in :class:`Listed`.
        folders: of the year of each set.
    """

    def __init__(self, index: Arrays, folders: Sequence[Path]) -> None:
        self.index, self.folders = index, folders

    def __len__(self) -> int:
        return len(self.index["of_set"])

    def name(self, index: int) -> str:
        """The name of the image's file, without its suffix."""
        return self.index.text("names", index)

    def path(self, index: int) -> Path:
        """The image file at ``index``."""
        return self.file(index, "JPEGImages", ".jpg")

    def file(self, index: int, folder: str, suffix: str) -> Path:
        """A file of the image at ``index``."""
        return self.folders[int(self.index["of_set"][index])] / folder / f"{self.name(index)}{suffix}"

    @abstractmethod
    def annotations(self, index: int) -> Annotations:
        """What is known about the image at ``index``."""


class Unlabelled(VocRecords):
    """Images about which nothing was published."""

    def annotations(self, index: int) -> Annotations:
        return {}


class Labelled(VocRecords):
    """Images with ``labels``: for each class whether there is an object; NaN where all are difficult."""

    def annotations(self, index: int) -> Annotations:
        sign = self.index["labels"][index]
        return {"labels": np.select([sign > 0, sign < 0], [1.0, 0.0], np.nan).astype(np.float32)}


class _Sized(VocRecords):
    """Images with boxes, whose annotations say how large they are."""

    def sizes(self) -> npt.NDArray[np.int64]:
        """``(N, 2)``, height and width of each image."""
        return np.array(self.index["sizes"])


class Boxed(_Sized):
    """Images with ``objects``: boxes, labels and whether each is difficult."""

    def annotations(self, index: int) -> Annotations:
        return {"objects": _objects(self.index, index)}


class Instances(_Sized):
    """Images with ``objects`` that have masks too: pixel value k of ``SegmentationObject`` is of the k-th ``<object>``
    (development kit of 2012, section 2.6).
    """

    def annotations(self, index: int) -> Annotations:
        objects = _objects(self.index, index)
        path = self.file(index, "SegmentationObject", ".png")
        numbers = read_object_mask(path, len(objects["labels"]))
        if numbers.shape != (size := image_size(self.path(index))):
            raise ValueError(
                f"{path} has {numbers.shape[0]} x {numbers.shape[1]} pixels, its image {size[0]} x {size[1]}"
            )
        each = np.arange(1, len(objects["labels"]) + 1)[:, None, None]
        return {"objects": {**objects, "masks": (numbers == each).astype(np.uint8)}}


class Segmented(VocRecords):
    """Images with a ``mask`` of the class of each pixel."""

    def annotations(self, index: int) -> Annotations:
        folder = "SegmentationClassAug" if self.index["augmented"][index] else "SegmentationClass"
        return {"mask": read_class_mask(self.file(index, folder, ".png"))}


def read_class_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read the class of each pixel, ``(H, W)``: 0 for background, 1 to 20, or 255 for void.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no PNG of such labels; the message names it.
    """
    return check_values(np.array(read_mask(path)), len(CLASSES), path)  # a copy, which torch may write to


def read_object_mask(path: Path, objects: int) -> npt.NDArray[np.uint8]:
    """Read the number of the object that each pixel is of, ``(H, W)``: 0 for none, 1 to ``objects``, or 255 for void.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no PNG of such numbers; the message names it.
    """
    return check_values(read_mask(path), objects, path)


def check_values(mask: npt.NDArray[np.uint8], most: int, path: Path) -> npt.NDArray[np.uint8]:
    """The mask as it is.

    Args:
        mask: ``(H, W)``.
        most: its greatest value other than 255.
        path: its file.

    Raises:
        ValueError: if it has another value; the message names the file and the place.
    """
    if (wrong := (mask > most) & (mask != VOID)).any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{path} has {mask[row, column]} in row {row}, column {column}; expected 0 to {most}, or 255 for void"
        )
    return mask


def open_images(root: Path, image_set: ImageSet, kind: str) -> Unlabelled:
    """Open a set of images without annotations.

    Arguments and errors are those of :func:`open_boxes`; ``kind`` is the folder of the list, Main or Segmentation.
    """
    listed = read_sets(root, [image_set], kind)
    return Unlabelled(_open("images", listed, [], lambda folder: None), listed.folders)


def open_labels(root: Path, sets: Sequence[ImageSet]) -> Labelled:
    """Open sets of images with labels: from the lists of each class, where there are any, else from the objects.

    Arguments and errors are those of :func:`open_boxes`.
    """
    listed = read_sets(root, sets, "Main")
    parts, sources = [], []
    for i, (image_set, folder) in enumerate(zip(listed.sets, listed.folders, strict=True)):
        names = [name for name, of in zip(listed.names, listed.of_set, strict=True) if of == i]
        files = class_lists(folder, image_set.name)
        if not any(file.is_file() for file in files):
            files = [folder / "Annotations" / f"{name}.xml" for name in names]
            parts.append((labels_from_objects, names, files))
        else:
            parts.append((labels_from_lists, names, files))
        sources += files

    def build(folder: Path) -> None:
        save(folder, labels=np.concatenate([read(names, files) for read, names, files in parts]))

    return Labelled(_open("labels", listed, sources, build), listed.folders)


def open_boxes(root: Path, sets: Sequence[ImageSet]) -> Boxed:
    """Open sets of images with boxes.

    Args:
        root: of the data set.
        sets: in ``ImageSets/Main``.

    Raises:
        FileNotFoundError: if a file is missing, other than an image; the message says how to get it.
        ValueError: if a file is not what it should be; the message names it and the line.
    """
    listed = read_sets(root, sets, "Main")
    return Boxed(_open_boxes(listed), listed.folders)


def open_instances(root: Path, sets: Sequence[ImageSet]) -> Instances:
    """Open sets of images with boxes and masks of objects: of ``ImageSets/Segmentation``.

    Arguments and errors are those of :func:`open_boxes`.
    """
    listed = read_sets(root, sets, "Segmentation")
    for path in listed.files("SegmentationObject", ".png"):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {how_to_get(root, sets[0].year)}")
    return Instances(_open_boxes(listed), listed.folders)


def open_masks(root: Path, sets: Sequence[ImageSet]) -> Segmented:
    """Open sets of images with the class of each pixel: of ``ImageSets/Segmentation``.

    The masks of a set whose name ends with ``aug`` are those of ``SegmentationClassAug``, which has SBD's, and of
    ``SegmentationClass`` where it has none.

    Arguments and errors are those of :func:`open_boxes`.
    """
    listed = read_sets(root, sets, "Segmentation")
    masks, further = listed.files("SegmentationClass", ".png"), listed.files("SegmentationClassAug", ".png")
    augmented = np.array(
        [sets[i].name.endswith("aug") and path.is_file() for i, path in zip(listed.of_set, further, strict=True)]
    )
    for i, path in enumerate(masks):
        if not augmented[i] and not path.is_file():
            also = f" and so is {further[i]}" if sets[listed.of_set[i]].name.endswith("aug") else ""
            raise FileNotFoundError(f"{path} is missing{also}: {how_to_get(root, sets[listed.of_set[i]].year)}")
    sources = sorted({path.parent for path in (*masks, *further) if path.parent.is_dir()})
    return Segmented(_open("masks", listed, sources, lambda folder: save(folder, augmented=augmented)), listed.folders)


def read_sets(root: Path, sets: Sequence[ImageSet], kind: str) -> Listed:
    """Read the lists of some sets.

    Args:
        root: of the data set.
        sets: at least one.
        kind: the folder of the lists, ``Main`` or ``Segmentation``.

    Raises:
        FileNotFoundError: if a list is missing; the message says how to get it.
        ValueError: if a list is not what it should be, or an image is in two; the message names it.
    """
    folders, lists, names, of_set = [], [], [], []
    seen: dict[tuple[Path, str], ImageSet] = {}
    for i, image_set in enumerate(sets):
        folder = year_folder(root, image_set.year)
        path = folder / "ImageSets" / kind / f"{image_set.name}.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {how_to_get(root, image_set.year)}")
        for name in read_list(path, refuse):
            if (folder, name) in seen:
                raise ValueError(f"{path} lists {name}, which is in {seen[folder, name]} already")
            seen[folder, name] = image_set
            names.append(name)
            of_set.append(i)
        folders.append(folder)
        lists.append(path)
    return Listed(root, sets, folders, lists, names, np.array(of_set, dtype=np.uint8))


def class_lists(folder: Path, image_set: str) -> list[Path]:
    """The file of each class for a set, in the folder of a year."""
    return [folder / "ImageSets" / "Main" / f"{name}_{image_set}.txt" for name in CLASSES]


def labels_from_lists(names: Sequence[str], files: Sequence[Path]) -> npt.NDArray[np.int8]:
    """Labels by the lists of each class.

    Args:
        names: of the images.
        files: the lists, one a class.

    Returns:
        ``(N, 20)``: 1, -1, or 0 where all objects of the class are difficult.

    Raises:
        ValueError: if a list is not what it should be, or has other images; the message names it.
    """
    columns = []
    for path in files:
        labels = read_class_list(path, refuse)
        if missing := [name for name in names if name not in labels]:
            raise ValueError(f"{path} has no label of {missing[0]}, which is in the set ({len(missing)} such images)")
        if len(labels) > len(names):
            unknown = next(iter(labels.keys() - set(names)))
            raise ValueError(f"{path} has a label of {unknown}, which is not in the set")
        columns.append([labels[name] for name in names])
    return np.array(columns, dtype=np.int8).T


def labels_from_objects(names: Sequence[str], files: Sequence[Path]) -> npt.NDArray[np.int8]:
    """Labels by the objects in each image: what the lists of each class are made from.

    Args:
        names: of the images.
        files: their annotations in XML.

    Returns:
        As :func:`labels_from_lists`.

    Raises:
        ValueError: if a file is not what it should be; the message names it.
    """
    labels = np.full((len(names), len(CLASSES)), -1, dtype=np.int8)
    for row, path in zip(labels, files, strict=True):
        annotation = read_annotation(path, refuse)
        assert annotation is not None  # else refused
        for one in annotation.objects:
            row[one.label] = max(row[one.label], 0 if one.difficult else 1)
    return labels


def _objects(index: Arrays, image: int) -> Objects:
    boxes, labels, difficult = (index.rows(name, image, "offsets") for name in ("boxes", "labels", "difficult"))
    return {"boxes": np.array(boxes), "labels": np.array(labels, dtype=np.int64), "difficult": np.array(difficult)}


def _open(what: str, listed: Listed, sources: Sequence[Path], build: Callable[[Path], None]) -> Arrays:
    def build_all(folder: Path) -> None:
        save_strings(folder, "names", listed.names)
        save(folder, of_set=listed.of_set)
        build(folder)

    try:
        return open_index(f"voc-{what}-{FORM}", [*listed.lists, *sources], build_all)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename} is missing: {how_to_get(listed.root, listed.sets[0].year)}"
        ) from error


def _open_boxes(listed: Listed) -> Arrays:
    files = listed.files("Annotations", ".xml")

    def build(folder: Path) -> None:
        objects: list[VocObject] = []
        counts, sizes = [], []
        for path, image in zip(files, listed.files("JPEGImages", ".jpg"), strict=True):
            annotation = read_annotation(path, refuse)
            assert annotation is not None  # else refused
            try:
                height, width = image_size(image)
            except (ValueError, OSError):
                pass  # whoever reads the image will say so, or skip it
            else:
                if (height, width) != (annotation.height, annotation.width):
                    raise ValueError(
                        f"{path} says {annotation.width} x {annotation.height} pixels; {image} has {width} x {height}"
                    )
            objects += annotation.objects
            counts.append(len(annotation.objects))
            sizes.append((annotation.height, annotation.width))
        save(
            folder,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            sizes=np.array(sizes, dtype=np.int64),
            boxes=np.array([one.box for one in objects], dtype=np.float64).reshape(-1, 4),
            labels=np.array([one.label for one in objects], dtype=np.uint8),
            difficult=np.array([one.difficult for one in objects], dtype=np.bool_),
        )

    return _open("boxes", listed, files, build)
