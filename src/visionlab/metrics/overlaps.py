"""How much objects that were found overlap with true ones: pairs of the same image, and the overlap of each pair.

Boxes are ``(n, 4)`` ``float64``, left, top, width and height, as COCO's files have them. Every overlap equals that of
pycocotools (``maskApi.c``, ``cocoeval.py``) to the last bit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as rle

from visionlab.metrics.by_objects import BoolArray, FloatArray, IntArray, RLEs

Overlap = Callable[[IntArray, IntArray], FloatArray]
"""Of pairs: which that were found, and which true ones, ``(p,)`` each, to their overlap, ``(p,)`` in [0, 1]. The pairs
are in the order of the first, and all that one was paired with stand together.
"""


def same_group(found: IntArray, true: IntArray) -> tuple[IntArray, IntArray]:
    """All pairs of which both are in the same group, as an image or an image and a class: the place of each that was
    found, rising, and of each true one, rising where the first is the same.

    Args:
        found: ``(n,)``, the group of each that was found.
        true: ``(m,)``, of each true one.
    """
    order = np.argsort(true, kind="stable")
    first, last = (np.searchsorted(true[order], found, side) for side in ("left", "right"))
    counts = last - first
    left = np.repeat(np.arange(len(found)), counts)
    within = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    return left, order[np.repeat(first, counts) + within]


def best_of_each(d: IntArray, t: IntArray, values: FloatArray, count: int) -> tuple[FloatArray, IntArray]:
    """The largest overlap of each that was found, and the first of the true ones that have it; 0 and -1 without pairs.

    Args:
        d: ``(p,)``, what was found, of each pair.
        t: ``(p,)``, the true one.
        values: ``(p,)``.
        count: how many were found.
    """
    order = np.lexsort((t, -values, d))
    first = order[np.flatnonzero(np.diff(d[order], prepend=-1))]
    best, objects = np.zeros(count), np.full(count, -1)
    best[d[first]], objects[d[first]] = values[first], t[first]
    return best, objects


def surest_of_each(objects: IntArray, scores: FloatArray) -> BoolArray:
    """Which detection is the surest of those of the same object, and the first of equals, ``(n,)``.

    Args:
        objects: ``(n,)``; -1 for none.
        scores: ``(n,)``.
    """
    order = np.lexsort((-scores, objects))
    first = order[np.flatnonzero(np.diff(objects[order], prepend=-2))]
    surest = np.zeros(len(objects), np.bool_)
    surest[first[objects[first] >= 0]] = True
    return surest


def box_overlap(found: FloatArray, true: FloatArray, crowd: BoolArray) -> Overlap:
    """Intersection over union of boxes; of a crowd, intersection over the area of what was found."""
    areas, true_areas = found[:, 2] * found[:, 3], true[:, 2] * true[:, 3]
    ends, true_ends = found[:, :2] + found[:, 2:], true[:, :2] + true[:, 2:]

    def overlap(d: IntArray, t: IntArray) -> FloatArray:
        sides = np.minimum(ends[d], true_ends[t]) - np.maximum(found[d, :2], true[t, :2])
        intersection = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0)
        union = np.where(crowd[t], areas[d], areas[d] + true_areas[t] - intersection)
        return np.divide(intersection, union, out=np.zeros(len(d)), where=intersection > 0)

    return overlap


def mask_overlap(found: RLEs, true: RLEs, crowd: BoolArray, least: float = 0.0) -> Overlap:
    """Intersection over union of masks; of a crowd, intersection over the area of what was found.

    Args:
        found: masks.
        true: likewise.
        crowd: ``(m,)``.
        least: pairs whose boxes show that their overlap is less have an overlap of 0, which saves time.
    """
    boxes, true_boxes = mask_boxes(found), mask_boxes(true)
    areas, true_areas = mask_areas(found), mask_areas(true)
    bound_of_boxes = _intersection(boxes, true_boxes)

    def overlap(d: IntArray, t: IntArray) -> FloatArray:
        # a mask has no more in common with another than their boxes have, nor than its own area
        most = np.minimum(np.minimum(bound_of_boxes(d, t), areas[d]), true_areas[t])
        union = np.where(crowd[t], areas[d], areas[d] + true_areas[t] - most)
        near = np.flatnonzero((most > 0) & (most >= least * union))
        values = np.zeros(len(d))
        for start, end in _runs(d[near]):
            pairs = near[start:end]
            one, others = [found[d[pairs[0]]]], true[t[pairs]].tolist()
            values[pairs] = rle.iou(one, others, crowd[t[pairs]].astype(np.uint8))[0]
        return values

    return overlap


def mask_boxes(masks: RLEs) -> FloatArray:
    """The boxes around masks, ``(n, 4)``."""
    return rle.toBbox(masks.tolist()).reshape(-1, 4) if len(masks) else np.zeros((0, 4))


def mask_areas(masks: RLEs) -> FloatArray:
    """The pixels of masks, ``(n,)``."""
    # pycocotools 2.0.11 puts the number of masks into a byte, which numpy 2 refuses from 256 on
    parts = [rle.area(masks[start : start + 255].tolist()) for start in range(0, len(masks), 255)]
    return np.concatenate([np.zeros(0), *parts])


def _intersection(boxes: FloatArray, others: FloatArray) -> Callable[[IntArray, IntArray], Any]:
    ends, other_ends = boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:]

    def area(d: IntArray, t: IntArray) -> FloatArray:
        sides = np.minimum(ends[d], other_ends[t]) - np.maximum(boxes[d, :2], others[t, :2])
        return np.asarray(sides.clip(min=0).prod(axis=1))

    return area


def _runs(values: IntArray) -> list[tuple[int, int]]:
    """Where each run of equal values starts and ends."""
    if len(values) == 0:
        return []
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(values)], strict=True))
