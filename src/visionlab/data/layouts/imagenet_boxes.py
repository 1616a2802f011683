"""ImageNet's boxes (CLS-LOC): an XML file for each validation image and for some of the training images.

The corners in the files are numbers of pixels from 0, both inside the box: the greatest is the width less 1, and the
challenge's own overlap adds 1 to every difference (``compute_overlap.m`` of its development kit). Between pixels that
is a box from ``xmin`` to ``xmax + 1``, and overlaps are the challenge's.

What the official files of the training images contain: boxes that leave the image or are outside of it, corners in the
wrong order, dogs named in English, and boxes of other classes than the image's (so TensorFlow's
``process_bounding_boxes.py`` says, and cures). Its cures are taken for those images: corners are sorted, and boxes that
are outside or of another class are left out. Validation images are scored, and nothing is cured in silence there.

The corners are relative to the size in the file, that of the image as the annotator saw it, which may differ from that
of the image's file (the same script, by http://image-net.org/download-bboxes). So boxes are scaled where the two sizes
are of one proportion, as in a copy of ImageNet that was made smaller; where they are not, the image was cropped or is
another, and is refused.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionlab.data.images import image_size, same_proportion
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
    outside: how many boxes of a training image are outside of it, and left out.
    turned: how many boxes of a training image have their corners in the wrong order, and were turned.
    """

    boxes: npt.NDArray[np.float64]
    size: tuple[int, int] | None
    others: int
    outside: int = 0
    turned: int = 0

    @property
    def left_out(self) -> bool:
        """Whether there are boxes, and none that can be trained on: the image is like those without."""
        return len(self.boxes) == 0 and self.others + self.outside > 0


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
            ValueError: if its XML is not what it should be, or is of an image of another proportion; the message names
                it.
        """
        if problem := self.arrays.text("problems", index):
            raise ValueError(problem)
        label = int(self.arrays["labels"][index])
        height, width = self.arrays["sizes"][index].tolist()
        actual = image_size(self.path(index))
        if not same_proportion((height, width), actual):
            raise ValueError(
                f"{self.path(index)} has {actual[1]} x {actual[0]} pixels; its boxes are of {width} x {height}, in "
                "another proportion: was it cropped?"
            )
        scale = np.array([actual[1] / width, actual[0] / height] * 2)
        boxes = self.arrays.rows("boxes", index, "offsets") * scale
        return {"label": label, "objects": {"boxes": boxes, "labels": np.full(len(boxes), label, dtype=np.int64)}}

    @property
    def problems(self) -> list[str]:
        """What is wrong with the XML files, one line an image that has something wrong."""
        ends = self.arrays["problems_offsets"]
        return [self.arrays.text("problems", int(i)) for i in np.flatnonzero(np.diff(ends))]


def open_boxes(root: Path, split: Split) -> BoxedImages:
    """Open a split: the images that have boxes. Training images without are left out, and so are those of which all are
    outside of the image or of other classes.

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
        sizes = list[tuple[int, int]]()
        for file, label in zip(images.arrays.texts("files"), images.arrays["labels"].tolist(), strict=True):
            path = xml_of(layout, split, file, ids[label])
            found = Findings()
            try:
                content = read_boxes(path, ids[label], split, found)
            except FileNotFoundError:
                if split == "val":
                    raise ValueError(f"{path} is missing, which has the boxes of {images.folder / file}") from None
                continue
            if content.left_out and not found.errors:
                continue
            files.append(file)
            labels.append(label)
            boxes.append(content.boxes)
            sizes.append(content.size or (1, 1))
            problems.append(found.errors[0].message if found.errors else "")
        if not files:
            raise ValueError(f"{folder} has the boxes of none of the images in {images.folder}")
        save_strings(into, "files", files)
        save_strings(into, "problems", problems)
        offsets = np.cumsum([0, *map(len, boxes)], dtype=np.int64)
        save(into, labels=np.array(labels, dtype=np.int64), boxes=np.concatenate(boxes), offsets=offsets)
        save(into, sizes=np.array(sizes, dtype=np.int32))

    folders = [images.arrays.folder, folder, *(folder / wnid for wnid in ids if (folder / wnid).is_dir())]
    return BoxedImages(images.folder, open_index(f"imagenet-boxes-{split}-2", folders, build))


def xml_of(layout: Layout, split: Split, file: str, wnid: str) -> Path:
    """The path of the boxes of an image, whether or not there are any."""
    name = f"{Path(file).stem}.xml"
    return layout.annotations / split / name if split == "val" else layout.annotations / split / wnid / name


def read_boxes(path: Path, wnid: str, split: Split, found: Findings) -> Boxes:
    """Read the boxes of an image.

    Args:
        path: of the XML file.
        wnid: the class of the image.
        split: of training images the errors are cured that the official files have.
        found: takes all that is wrong. A name that is no WordNet id stands for the image's class.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    before = len(found.errors)
    boxes, others, outside, turned = list[tuple[float, float, float, float]](), 0, 0, 0
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
            elif (corners := _corners(element, found)) is not None:
                left, top, right, bottom = corners
                sorted_corners = min(left, right), min(top, bottom), max(left, right), max(top, bottom)
                where = f"{path}, line {element.line}: a box from {left:g}, {top:g} to {right:g}, {bottom:g}"
                if corners != sorted_corners:
                    turned += 1
                    if split == "val":
                        message = f"{where} has its corners in the wrong order"
                        found.error("box-inverted", message, path, line=element.line)
                        continue
                left, top, right, bottom = sorted_corners
                if left >= size[1] or top >= size[0] or right < 0 or bottom < 0:
                    outside += 1
                    if split == "val":
                        message = f"{where} is outside of {size[1]} x {size[0]} pixels"
                        found.error("box-outside", message, path, line=element.line)
                    continue
                boxes.append((left, top, right + 1, bottom + 1))
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        found.error("malformed-file", str(error), path)
        return Boxes(np.zeros((0, 4)), None, others)
    content = Boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4), size, others, outside, turned)
    if not boxes and len(found.errors) == before and not (split == "train" and content.left_out):
        found.error("missing-annotation", f"{path} has no box of {wnid}, the class of the image", path, id=wnid)
    return content


def _corners(element: Element, found: Findings) -> tuple[float, float, float, float] | None:
    """The numbers of a box, or None and a message in ``found``."""
    corners = element.only("bndbox")
    texts = [corners.only(name).text for name in CORNERS]
    where = f"{corners.file}, line {corners.line}"
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError:
        kind, why = "malformed-file", "corners that are no numbers"
    else:
        if all(map(math.isfinite, (left, top, right, bottom))):
            return left, top, right, bottom
        kind, why = "box-nan", "corners that are not finite"
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
    without, others, outside, number = 0, 0, 0, 0
    beyond, turned, left_out = list[Path](), list[Path](), list[Path]()
    sizes = np.full((len(images), 2), -1, dtype=np.int64)
    for i, (file, wnid) in enumerate(images):
        path = xml_of(layout, split, file, wnid)
        try:
            content = read_boxes(path, wnid, split, found)
        except FileNotFoundError:
            without += 1
            if split == "val":
                found.error("missing-annotation", f"{path} is missing", path, id=Path(file).stem)
            continue
        others += content.others
        outside += content.outside
        number += len(content.boxes)
        if content.turned:
            turned.append(path)
        if content.left_out:
            left_out.append(path)
        if content.size is not None:
            sizes[i] = content.size
            if (content.boxes < 0).any() or (content.boxes[:, 2:] > content.size[::-1]).any():
                beyond.append(path)
    if split == "train" and without:
        found.notes.append(f"{without:,} of the {len(images):,} training images have no boxes: localization omits them")
    if others:
        found.notes.append(f"{others:,} boxes of {split} are of another class than their image's, and left out")
    if split == "train" and turned:
        found.notes.append(f"{len(turned):,} files of train have corners in the wrong order, turned, e.g. {turned[0]}")
    if split == "train" and outside:
        found.notes.append(f"{outside:,} boxes of train are outside of their image, and left out")
    if split == "train" and left_out:
        found.notes.append(f"localization omits {len(left_out):,} images of train without another box: {left_out[0]}")
    if beyond:
        found.notes.append(f"the boxes of {len(beyond):,} images of {split} leave the image a little, e.g. {beyond[0]}")
    found.notes.append(f"{split} has {number:,} boxes")
    known = {xml_of(layout, split, file, wnid) for file, wnid in images}
    for path in sorted((layout.annotations / split).rglob("*.xml")):
        if path not in known:
            found.error("unknown-image", f"{path} has the boxes of an image that is not there", path, id=path.stem)
    return sizes
