"""ImageNet's boxes (CLS-LOC): an XML file for each validation image and for some of the training images.

The corners in the files are numbers of pixels from 0, both inside the box: the greatest is the width less 1, and the
challenge's own overlap adds 1 to every difference (``compute_overlap.m`` of its development kit). Between pixels that
is a box from ``xmin`` to ``xmax + 1``, and overlaps are the challenge's.

What the official files contain: boxes that leave the image or are outside of it, corners in the wrong order, dogs named
in English, and boxes of other classes than the image's (so TensorFlow's ``process_bounding_boxes.py`` says, and cures).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.imagenet import GET, WNID, Layout, Split, find, open_images, wnids
from visionlab.data.layouts.xml import Element, read_xml
from visionlab.data.packed import Arrays, open_index, save, save_strings
from visionlab.data.sample import Annotations

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Boxes(NamedTuple):
    """What a file says.

    boxes: ``(n, 4)`` ``float64``, left, top, right, bottom, of the objects of the image's class.
    size: height and width of the image, by the file; None if it is malformed.
    others: how many objects are of other classes.
    """

    boxes: npt.NDArray[np.float64]
    size: tuple[int, int] | None
    others: int


class BoxedImages:
    """Images with a label and all boxes of that class, as records.

    Args:
        folder: what the names of the files are relative to.
        arrays: the index.
    """

    def __init__(self, folder: Path, arrays: Arrays) -> None:
        self.folder, self.arrays = folder, arrays

    def __len__(self) -> int:
        return len(self.arrays["labels"])

    def path(self, index: int) -> Path:
        """The image file at ``index``."""
        return self.folder / self.name(index)

    def name(self, index: int) -> str:
        """The file at ``index``, relative to the folder, with slashes."""
        return self.arrays.text("files", index)

    def annotations(self, index: int) -> Annotations:
        """The label and the boxes of the image at ``index``.

        Raises:
            ValueError: if its XML is not what it should be; the message names it.
        """
        if problem := self.arrays.text("problems", index):
            raise ValueError(problem)
        label = int(self.arrays["labels"][index])
        boxes = np.array(self.arrays.rows("boxes", index, "offsets"))
        return {"label": label, "objects": {"boxes": boxes, "labels": np.full(len(boxes), label, dtype=np.int64)}}

    @property
    def problems(self) -> list[str]:
        """What is wrong with the XML files, one line an image that has something wrong."""
        ends = self.arrays["problems_offsets"]
        return [self.arrays.text("problems", int(i)) for i in np.flatnonzero(np.diff(ends))]


def open_boxes(root: Path, split: Split) -> BoxedImages:
    """Open a split: the images that have boxes. Training images without are left out.

    An XML file that was changed in place is not noticed: move it away and back, or delete the index.

    Raises:
        FileNotFoundError: if a file is missing; the message says how to get it.
        ValueError: if a list is not what it should be, or a validation image has no boxes.
    """
    layout = find(root)
    images = open_images(root, split)
    ids = wnids(layout)
    folder = layout.annotations / split
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing, which has the boxes. {GET}")

    def build(into: Path) -> None:
        files, labels, boxes, problems = list[str](), list[int](), list[npt.NDArray[np.float64]](), list[str]()
        for file, label in zip(images.arrays.texts("files"), images.arrays["labels"].tolist(), strict=True):
            path = xml_of(layout, split, file, ids[label])
            found = Findings()
            try:
                content = read_boxes(path, ids[label], found)
            except FileNotFoundError:
                if split == "val":
                    raise ValueError(f"{path} is missing, which has the boxes of {images.folder / file}") from None
                continue
            files.append(file)
            labels.append(label)
            boxes.append(content.boxes)
            problems.append(found.errors[0].message if found.errors else "")
        if not files:
            raise ValueError(f"{folder} has the boxes of none of the images in {images.folder}")
        save_strings(into, "files", files)
        save_strings(into, "problems", problems)
        offsets = np.cumsum([0, *map(len, boxes)], dtype=np.int64)
        save(into, labels=np.array(labels, dtype=np.int64), boxes=np.concatenate(boxes), offsets=offsets)

    folders = [images.arrays.folder, folder, *(folder / wnid for wnid in ids if (folder / wnid).is_dir())]
    return BoxedImages(images.folder, open_index(f"imagenet-boxes-{split}-1", folders, build))


def xml_of(layout: Layout, split: Split, file: str, wnid: str) -> Path:
    """The path of the boxes of an image, whether or not there are any."""
    name = f"{Path(file).stem}.xml"
    return layout.annotations / split / name if split == "val" else layout.annotations / split / wnid / name


def read_boxes(path: Path, wnid: str, found: Findings) -> Boxes:
    """Read the boxes of an image.

    Args:
        path: of the XML file.
        wnid: the class of the image.
        found: takes all that is wrong. A name that is no WordNet id stands for the image's class.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    boxes, others = list[tuple[float, float, float, float]](), 0
    try:
        document = read_xml(path)
        if document.tag != "annotation":
            raise ValueError(f"{path}, line {document.line}: <{document.tag}> instead of <annotation>")
        stated = document.only("size")
        size = int(stated.only("height").number()), int(stated.only("width").number())
        if not 0 < min(size) <= max(size) < 1 << 31:
            raise ValueError(f"{path}, line {stated.line}: a size of {size[1]} x {size[0]} pixels")
        for element in document.all("object"):
            name = element.only("name")
            if WNID.fullmatch(name.text) and name.text != wnid:
                others += 1
            elif (box := _box(element, found)) is not None:
                boxes.append(box)
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        found.error("malformed-file", str(error), path)
        return Boxes(np.zeros((0, 4)), None, others)
    if not boxes and not found.errors:
        found.error("missing-annotation", f"{path} has no box of {wnid}, the class of the image", path, id=wnid)
    return Boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4), size, others)


def _box(element: Element, found: Findings) -> tuple[float, float, float, float] | None:
    """A box between pixels, or None and a message in ``found``."""
    corners = element.only("bndbox")
    texts = [corners.only(name).text for name in CORNERS]
    where = f"{corners.file}, line {corners.line}"
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError:
        kind, why = "malformed-file", "corners that are no numbers"
    else:
        if not all(map(math.isfinite, (left, top, right, bottom))):
            kind, why = "box-nan", "corners that are not finite"
        elif right < left or bottom < top:
            kind, why = "box-inverted", "corners in the wrong order"
        else:
            return left, top, right + 1, bottom + 1
    found.error(kind, f"{where}: a box with {why}: {', '.join(texts)[:80]}", corners.file, line=corners.line)
    return None


def check_boxes(
    layout: Layout, split: Split, images: Sequence[tuple[str, str]], found: Findings
) -> npt.NDArray[np.int64]:
    """Read every XML file of a split and say what is wrong.

    Args:
        layout: of the data set.
        split: the split.
        images: of each image the file below the folder of the split, and the class.
        found: takes what is wrong.

    Returns:
        ``(N, 2)``: the height and width that the file of each image says, -1 where none does.
    """
    without, others, beyond, number = 0, 0, list[Path](), 0
    sizes = np.full((len(images), 2), -1, dtype=np.int64)
    for i, (file, wnid) in enumerate(images):
        path = xml_of(layout, split, file, wnid)
        try:
            content = read_boxes(path, wnid, found)
        except FileNotFoundError:
            without += 1
            if split == "val":
                found.error("missing-annotation", f"{path} is missing", path, id=Path(file).stem)
            continue
        others += content.others
        number += len(content.boxes)
        if content.size is not None:
            sizes[i] = content.size
            if _leaves(path, content.boxes, content.size, found):
                beyond.append(path)
    if split == "train" and without:
        found.notes.append(f"{without:,} of the {len(images):,} training images have no boxes: localization omits them")
    if others:
        found.notes.append(f"{others:,} boxes of {split} are of another class than their image's, and left out")
    if beyond:
        found.notes.append(f"the boxes of {len(beyond):,} images of {split} leave the image a little, e.g. {beyond[0]}")
    found.notes.append(f"{split} has {number:,} boxes")
    known = {xml_of(layout, split, file, wnid) for file, wnid in images}
    for path in sorted((layout.annotations / split).rglob("*.xml")):
        if path not in known:
            found.error("unknown-image", f"{path} has the boxes of an image that is not there", path, id=path.stem)
    return sizes


def _leaves(path: Path, boxes: npt.NDArray[np.float64], size: tuple[int, int], found: Findings) -> bool:
    """Report boxes that are outside of the image altogether; whether others leave it."""
    height, width = size
    leaves = False
    for left, top, right, bottom in boxes.tolist():
        if left >= width or top >= height or right <= 0 or bottom <= 0:
            message = f"{path}: a box from {left:g}, {top:g} to {right:g}, {bottom:g} is outside of {width} x {height}"
            found.error("box-outside", f"{message} pixels", path)
        else:
            leaves |= left < 0 or top < 0 or right > width or bottom > height
    return leaves
