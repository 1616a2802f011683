"""Annotations in COCO's JSON format (https://cocodataset.org/#format-data), checked once and packed.

Images are in the order of their ids, the objects of an image in that of the file, as ``pycocotools`` has them. The
numbers are the file's own.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.data.headers import MAX_PIXELS
from visionlab.data.layouts.coco_masks import OUTLINE, Outlines, are_segmentations, pack_rle
from visionlab.data.layouts.json_rows import (
    Report,
    Rows,
    are_integers,
    are_lists,
    are_names,
    are_numbers,
    floats,
    joined,
    read_json,
    uncollected,
)
from visionlab.data.packed import Arrays, offsets_of, open_index, save, save_strings

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

FEWEST_KEYPOINTS = 10
"""Labelled in an image that keypoints are learned from (``min_keypoints_per_image`` of torchvision's references)."""


@dataclass(frozen=True)
class Content:
    """What a file holds, for N images, n objects, C categories and K keypoints.

    Attributes:
        image_ids: ``(N,)``, ascending.
        sizes: ``(N, 2)``, height and width.
        file_names: ``N``.
        category_ids: ``(C,)``, ascending.
        category_names: ``C``.
        keypoint_names: ``K``; none unless all categories have keypoints.
        ids: ``(n,)``, by image.
        places: ``(n,)``, ascending: the image of each object, in ``0..N-1``.
        labels: ``(n,)``, the category of each, in ``0..C-1``.
        boxes: ``(n, 4)``, left, top, width and height.
        area: ``(n,)``, that of the box where the file has none.
        crowd: ``(n,)``, False where the file does not say.
        outlines: the polygons.
        rles: ``n`` compressed run lengths, empty where there are polygons or nothing.
        keypoints: ``(n, K, 3)``.
    """

    image_ids: IntArray
    sizes: IntArray
    file_names: list[str]
    category_ids: IntArray
    category_names: list[str]
    keypoint_names: list[str]
    ids: IntArray
    places: IntArray
    labels: IntArray
    boxes: FloatArray
    area: FloatArray
    crowd: BoolArray
    outlines: Outlines
    rles: list[str]
    keypoints: FloatArray


def open_coco(path: Path, boxes_only: bool = False) -> Arrays:
    """Open the index of a file, which is built when it is opened for the first time.

    Its arrays, beside those of :class:`Content` (lists of strings by :func:`visionlab.data.packed.save_strings`):
    ``offsets`` ``(N + 1,)`` of the objects of each image; those of :class:`Outlines`; ``unsegmented``, the objects that
    have neither polygons nor run lengths; and positions of images: ``all``; ``with_boxes``, those with a box whose
    sides are both longer than a pixel; of these ``with_keypoints``, those with :data:`FEWEST_KEYPOINTS` (torchvision's
    references choose the images to train on so).

    Args:
        path: of the file.
        boxes_only: whether segmentations and keypoints are passed over, whatever they are.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not what it should be; the message names it, and the id.
    """

    def report(kind: str, message: str, id: str | None) -> None:
        raise ValueError(message)

    name = "coco-boxes-1" if boxes_only else "coco-1"
    return open_index(name, [path], lambda folder: _pack(folder, read_coco(path, report, boxes_only)))


@uncollected()
def read_coco(path: Path, report: Report, boxes_only: bool = False) -> Content:
    """Read a file, without the images, annotations and categories that are wrong.

    Args:
        path: of the file.
        report: is told of each of them.
        boxes_only: whether segmentations and keypoints are passed over.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no JSON, or has not the lists of the format.
    """
    document = read_json(path)
    categories = _categories(Rows(path, document, "categories", "category", report), boxes_only)
    images = _images(Rows(path, document, "images", "image", report))
    rows = Rows(path, document, "annotations", "annotation", report)
    image_ids, category_ids = images.integers("id"), categories.integers("id")
    listed = categories.column("keypoints")
    names: list[str] = listed[0] if listed and all(listed) and not boxes_only else []
    _check_annotations(rows, category_ids, image_ids)
    if names:
        _check_keypoints(rows, len(names))
    sizes = np.stack([images.integers("height"), images.integers("width")], axis=1)
    if boxes_only:
        outlines, rles = Outlines.of([None] * len(rows)), [""] * len(rows)
    else:
        expected = "polygons of x and y, or run lengths"
        rows.require("segmentation", are_segmentations, expected, "malformed-segmentation")
        outlines, rles = _check_segmentations(rows, sizes[np.searchsorted(image_ids, rows.integers("image_id"))])

    boxes = floats(rows.column("bbox")).reshape(-1, 4)
    area = boxes[:, 2] * boxes[:, 3]
    given = [i for i, value in enumerate(rows.column("area")) if value is not None]
    area[given] = floats([[rows.column("area")[i] for i in given]])
    keypoints = floats(rows.column("keypoints")) if names else np.zeros(0)
    places = np.searchsorted(image_ids, rows.integers("image_id"))
    order = np.argsort(places, kind="stable")  # last, for what lies together in the file lies together in memory
    return Content(
        image_ids=image_ids,
        sizes=sizes,
        file_names=images.column("file_name"),
        category_ids=category_ids,
        category_names=categories.column("name"),
        keypoint_names=names,
        ids=rows.integers("id")[order],
        places=places[order],
        labels=np.searchsorted(category_ids, rows.integers("category_id"))[order],
        boxes=boxes[order],
        area=area[order],
        crowd=np.array([flag == 1 for flag in rows.column("iscrowd")], np.bool_)[order],
        outlines=outlines.take(order),
        rles=[rles[i] for i in order.tolist()],
        keypoints=keypoints.reshape(len(rows), len(names), 3)[order],
    )


def _categories(rows: Rows, boxes_only: bool) -> Rows:
    kind = "malformed-category"
    rows.require("id", are_integers, "an integer", kind)
    rows.require("name", are_names, "a name", kind)
    rows.leave_out_repeated()
    if not boxes_only:
        rows.require("keypoints", lambda values: all(map(_is_names, values)), "a list of names", kind)
        if len({len(names) for names in rows.column("keypoints") if names}) > 1:
            raise ValueError(f"{rows.path} has categories with several numbers of keypoints; expected one")
    rows.sort()
    return rows


def _is_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and are_names(value))


def _images(rows: Rows) -> Rows:
    kind = "malformed-image"
    rows.require("id", are_integers, "an integer", kind)
    rows.require("file_name", are_names, "a name", kind)
    rows.require("file_name", _are_inside, "the name of a file below the folder of images", "path-outside-root")
    for side in ("height", "width"):
        rows.require(side, _are_sides, f"a number of pixels from 1 to {MAX_PIXELS:,}", kind)
    sizes = rows.integers("height"), rows.integers("width")
    rows.leave_out(
        sizes[0] * sizes[1] > MAX_PIXELS,
        lambda i: f"{sizes[1][i]} x {sizes[0][i]} pixels are more than {MAX_PIXELS:,}",
        kind,
    )
    rows.leave_out_repeated()
    rows.sort()
    return rows


def _are_inside(names: list[str]) -> bool:
    """Backslashes separate folders on some machines."""
    return not any(
        name[0] == "/" or "\\" in name or "\0" in name or (".." in name and ".." in name.split("/")) for name in names
    )


def _are_sides(values: list[Any]) -> bool:
    return are_integers(values) and min(values, default=1) >= 1 and max(values, default=1) <= MAX_PIXELS


def _check_annotations(rows: Rows, category_ids: IntArray, image_ids: IntArray) -> None:
    kind = "malformed-annotation"
    for key in ("id", "image_id", "category_id"):
        rows.require(key, are_integers, "an integer", kind)
    rows.require("bbox", _are_boxes, "four numbers: left, top, width and height", kind)
    rows.require("bbox", lambda boxes: bool(np.isfinite(floats(boxes)).all()), "finite", "box-nan")
    rows.require("iscrowd", _are_flags, "0 or 1", kind)
    rows.require("area", _are_areas, "a number of pixels", kind)
    rows.leave_out_repeated()
    boxes = floats(rows.column("bbox")).reshape(-1, 4)
    rows.leave_out(
        boxes[:, 2:].min(1, initial=0) < 0, lambda i: f"bbox {boxes[i].tolist()} has a negative side", "box-inverted"
    )
    categories = rows.integers("category_id")
    unknown = np.isin(categories, category_ids, invert=True)
    rows.leave_out(unknown, lambda i: f"there is no category {categories[i]}", "unknown-category")
    images = rows.integers("image_id")
    unknown = np.isin(images, image_ids, invert=True)
    rows.leave_out(unknown, lambda i: f"there is no image {images[i]}", "unknown-image")


def _check_keypoints(rows: Rows, count: int) -> None:
    expected = f"{count} times x, y, and 0, 1 or 2"
    rows.require("keypoints", lambda values: _are_keypoints(values, count), expected, "malformed-keypoints")


def _are_boxes(values: list[Any]) -> bool:
    return are_lists(values) and set(map(len, values)) <= {4} and are_numbers(joined(values))


def _are_flags(values: list[Any]) -> bool:
    return set(map(type, values)) <= {int, bool, float, type(None)} and set(values) <= {0, 1, None}


def _are_areas(values: list[Any]) -> bool:
    given = [value for value in values if value is not None]
    return are_numbers(given) and bool((np.isfinite(area := floats([given])) & (area >= 0)).all())


def _are_keypoints(values: list[Any], count: int) -> bool:
    if not (are_lists(values) and set(map(len, values)) <= {3 * count} and are_numbers(joined(values))):
        return False
    return bool(np.isfinite(floats(values)).all()) and set(islice(joined(values), 2, None, 3)) <= {0, 1, 2}


def _check_segmentations(rows: Rows, sizes: IntArray) -> tuple[Outlines, list[str]]:
    """Check what depends on the sizes of the images ``(n, 2)``; returns the outlines and the run lengths."""
    segmentations = rows.column("segmentation")
    outlines = Outlines.of(segmentations)
    reasons: dict[int, str] = {}
    rles = [""] * len(segmentations)
    for i, segmentation in enumerate(segmentations):
        if type(segmentation) is dict:
            try:
                rles[i] = pack_rle(segmentation, *sizes[i].tolist())
            except ValueError as error:
                reasons[i] = str(error)
    outside, long = outlines.wild(sizes)
    for i in np.flatnonzero(long).tolist():
        reasons[i] = f"its outline is longer than {OUTLINE:,} pixels"
    for i in np.flatnonzero(outside).tolist():
        reasons[i] = "its outline is further outside the image than the image is large"
    if not reasons:
        return outlines, rles
    wrong = np.zeros(len(rles), np.bool_)
    wrong[list(reasons)] = True
    rows.leave_out(wrong, lambda i: reasons[i], "malformed-segmentation")
    return _check_segmentations(rows, sizes[~wrong])


def _pack(folder: Path, content: Content) -> None:
    count = len(content.image_ids)
    usable = np.bincount(content.places[(content.boxes[:, 2:] > 1).all(1)], minlength=count) > 0
    labelled = np.bincount(content.places, (content.keypoints[..., 2] > 0).sum(1), minlength=count)
    segmented = (np.diff(content.outlines.objects) > 0) | np.array([rle != "" for rle in content.rles], np.bool_)
    save(
        folder,
        image_ids=content.image_ids,
        sizes=content.sizes,
        category_ids=content.category_ids,
        offsets=offsets_of(content.places, count),
        ids=content.ids,
        labels=content.labels,
        boxes=content.boxes,
        area=content.area,
        crowd=content.crowd,
        keypoints=content.keypoints,
        objects=content.outlines.objects,
        polygons=content.outlines.polygons,
        coordinates=content.outlines.coordinates,
        unsegmented=np.flatnonzero(~segmented),
        all=np.arange(count),
        with_boxes=np.flatnonzero(usable),
        with_keypoints=np.flatnonzero(usable & (labelled >= FEWEST_KEYPOINTS)),
    )
    for name in ("file_names", "category_names", "keypoint_names", "rles"):
        save_strings(folder, name, getattr(content, name))
