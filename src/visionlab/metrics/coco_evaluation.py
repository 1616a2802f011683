"""COCO's evaluation (Lin et al. 2014; https://cocodataset.org/#detection-eval), as ``cocoeval.py`` of its API has it.

What pycocotools does for one image, class, range of areas and threshold at a time is done here for all of them at once:
detections are ranked within their image and class, and all detections of one rank choose their objects together.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from visionlab.metrics.by_image import mean_of_known
from visionlab.metrics.by_objects import BoolArray, FloatArray, IntArray, ranks
from visionlab.metrics.overlaps import Overlap, same_group

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on a detection is right, ``(T,)``."""

RECALLS = np.linspace(0, 1, 101)
"""Where precision is read, ``(R,)``."""


@dataclass(frozen=True)
class Protocol:
    """What differs between boxes or masks and keypoints.

    Attributes:
        areas: the ranges of areas of objects in pixels, ends included, by name; the first is all.
        most: how many detections an image and class may have, rising.
    """

    areas: dict[str, tuple[float, float]]
    most: tuple[int, ...]


OBJECTS = Protocol({"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}, (1, 10, 100))
"""Of boxes and masks."""

KEYPOINTS = Protocol({"": (0, 1e10), "m": (32**2, 96**2), "l": (96**2, 1e10)}, (20,))


@dataclass(frozen=True)
class Found:
    """Detections of all images, ``(n,)`` each.

    Attributes:
        images: the place of the image; within an image, detections of the same score keep their order.
        labels: in ``0..C-1``.
        scores: higher is surer.
        areas: in pixels: those that match nothing do not count in ranges of areas that theirs is not in.
    """

    images: IntArray
    labels: IntArray
    scores: FloatArray
    areas: FloatArray


@dataclass(frozen=True)
class Truth:
    """Objects of all images, ``(m,)`` each.

    Attributes:
        images: the place of the image.
        labels: in ``0..C-1``.
        areas: in pixels.
        crowd: regions that any number of detections may match.
        ignored: those that do not count, crowds among them.
    """

    images: IntArray
    labels: IntArray
    areas: FloatArray
    crowd: BoolArray
    ignored: BoolArray


@dataclass(frozen=True)
class Evaluation:
    """What detections are worth, with A ranges of areas and M numbers of detections.

    Attributes:
        precision: ``(T, R, C, A)``: the best at each recall or more; NaN for a class without objects that count.
        recall: ``(T, C, A, M)``, likewise.
        detections: ``(k,)``: which were evaluated, by class, image and falling score.
        match: ``(k,)``: the object that each matches at the first threshold, whatever its area, or -1.
        counts: ``(k,)``: whether that object, if any, is one that counts.
        protocol: that was followed.
    """

    precision: FloatArray
    recall: FloatArray
    detections: IntArray
    match: IntArray
    counts: BoolArray
    protocol: Protocol

    def average_precision(self, area: str = "", threshold: float | None = None) -> float:
        """The mean over thresholds (or at one), recalls and classes; NaN, where pycocotools has -1, without objects."""
        return mean_of_known(_at(self.precision, threshold)[..., list(self.protocol.areas).index(area)])

    def average_recall(self, area: str = "", threshold: float | None = None, most: int | None = None) -> float:
        """The mean over thresholds (or at one) and classes; NaN, where pycocotools has -1, without objects."""
        last = -1 if most is None else self.protocol.most.index(most)
        return mean_of_known(_at(self.recall, threshold)[..., list(self.protocol.areas).index(area), last])

    @property
    def average_precision_per_class(self) -> FloatArray:
        """``(C,)``; NaN for a class without objects that count."""
        return np.asarray(self.precision[..., 0].mean(axis=(0, 1)))

    @property
    def curves(self) -> FloatArray:
        """``(T, R)``: the precision, the mean over classes, at each threshold and recall; NaN without objects."""
        values = self.precision[..., 0]
        known = ~np.isnan(values[0, 0])
        return np.asarray(values[..., known].mean(axis=-1)) if known.any() else np.asarray(values.sum(axis=-1))

    @property
    def curve_per_class(self) -> FloatArray:
        """``(C, R)``: the precision at each recall, at the first threshold."""
        return self.precision[0, :, :, 0].T

    def official(self) -> dict[str, float]:
        """The numbers that pycocotools prints, in its order: 12 for boxes and masks, 10 for keypoints."""
        ranges = [area for area in self.protocol.areas if area]
        precisions = {
            "AP": self.average_precision(),
            "AP50": self.average_precision(threshold=0.5),
            "AP75": self.average_precision(threshold=0.75),
            **{f"AP{area}": self.average_precision(area) for area in ranges},
        }
        if len(self.protocol.most) > 1:
            recalls = {f"AR{most}": self.average_recall(most=most) for most in self.protocol.most}
        else:
            recalls = {
                "AR": self.average_recall(),
                "AR50": self.average_recall(threshold=0.5),
                "AR75": self.average_recall(threshold=0.75),
            }
        return {**precisions, **recalls, **{f"AR{area}": self.average_recall(area) for area in ranges}}


def evaluate(found: Found, truth: Truth, overlap: Overlap, num_classes: int, protocol: Protocol) -> Evaluation:
    """Evaluate detections.

    Args:
        found: in any order of images.
        truth: likewise; of objects that overlap equally with a detection it takes the last.
        overlap: of pairs of one image and class.
        num_classes: C.
        protocol: :data:`OBJECTS` or :data:`KEYPOINTS`.
    """
    images = 1 + max(found.images.max(initial=0), truth.images.max(initial=0))
    groups = found.labels * images + found.images
    order = np.lexsort((-found.scores, groups))
    rank = ranks(groups[order])
    chosen, rank = order[rank < protocol.most[-1]], rank[rank < protocol.most[-1]]

    ranges = np.array(list(protocol.areas.values()))
    ignored = truth.ignored | _outside(truth.areas, ranges)
    d, t = same_group(groups[chosen], truth.labels * images + truth.images)
    hit, void, match = _match(d, t, overlap(chosen[d], t), rank, truth.crowd, ignored)
    void |= ~hit & _outside(found.areas[chosen], ranges)[:, None]

    areas, thresholds = len(ranges), len(THRESHOLDS)
    precision = np.full((thresholds, len(RECALLS), num_classes, areas), np.nan)
    recall = np.full((thresholds, num_classes, areas, len(protocol.most)), np.nan)
    bounds = np.searchsorted(found.labels[chosen], np.arange(num_classes + 1))
    for label, (start, end) in enumerate(pairwise(bounds.tolist())):
        objects = (~ignored[:, truth.labels == label]).sum(axis=1)
        surest = start + np.argsort(-found.scores[chosen[start:end]], kind="stable")
        right = hit[..., surest] & ~void[..., surest]
        wrong = ~(hit[..., surest] | void[..., surest])
        for area in np.flatnonzero(objects):
            precision[:, :, label, area] = precision_at_recalls(right[area], wrong[area], int(objects[area]))
            for i, most in enumerate(protocol.most):
                recall[:, label, area, i] = right[area][:, rank[surest] < most].sum(axis=1) / objects[area]
    return Evaluation(precision, recall, chosen, match, ~void[0, 0], protocol)


def _match(
    d: IntArray, t: IntArray, overlap: FloatArray, rank: IntArray, crowd: BoolArray, ignored: BoolArray
) -> tuple[BoolArray, BoolArray, IntArray]:
    """Let every detection, by falling score, take the object that it overlaps most with: one that counts rather than
    one that does not, and none that is taken, but for crowds.

    Args:
        d: ``(p,)``, the detection of each pair, rising.
        t: ``(p,)``, its object.
        overlap: ``(p,)``.
        rank: ``(n,)`` of detections within image and class.
        crowd: ``(m,)``.
        ignored: ``(A, m)``.

    Returns:
        Whether each detection took an object, and one that does not count, ``(A, T, n)``, and the object taken in the
        first range and at the first threshold, ``(n,)``, or -1.
    """
    levels = np.minimum(THRESHOLDS, 1 - 1e-10)  # as pycocotools has it
    near = overlap >= levels[0]
    d, t, overlap = d[near], t[near], overlap[near]
    by_rank = np.argsort(rank[d], kind="stable")
    d, t, overlap = d[by_rank], t[by_rank], overlap[by_rank]
    pairs = len(d)
    by_preference = np.lexsort((t, overlap))
    preference = np.empty(pairs, np.int64)
    preference[by_preference] = np.arange(1, pairs + 1)
    reached = np.searchsorted(levels, overlap, side="right")

    shape = (len(ignored), len(levels))
    hit, void = np.zeros((2, *shape, len(rank)), np.bool_)
    taken = np.zeros((*shape, len(crowd)), np.bool_)
    match = np.full(len(rank), -1)
    bounds = np.searchsorted(rank[d], np.arange(rank.max(initial=-1) + 2))
    for start, end in pairwise(bounds.tolist()):
        if start == end:
            continue
        one, objects = d[start:end], t[start:end]
        free = (~taken[..., objects] | crowd[objects]) & (np.arange(len(levels))[:, None] < reached[start:end])
        value = preference[start:end] + np.where(ignored[:, None, objects], 0, pairs)
        starts = np.flatnonzero(np.diff(one, prepend=-1))
        best = np.maximum.reduceat(np.where(free, value, 0), starts, axis=-1)
        a, level, which = best.nonzero()
        winner = t[by_preference[(best[a, level, which] - 1) % pairs]]
        detection = one[starts[which]]
        hit[a, level, detection] = True
        void[a, level, detection] = ignored[a, winner]
        taken[a, level, winner] = True
        first = (a == 0) & (level == 0)
        match[detection[first]] = winner[first]
    return hit, void, match


def precision_at_recalls(right: BoolArray, wrong: BoolArray, objects: int) -> FloatArray:
    """The best precision at each recall or more, ``(T, R)``.

    Args:
        right: ``(T, n)`` by falling score.
        wrong: likewise; what is neither does not count.
        objects: how many there are to find.
    """
    thresholds, detections = right.shape
    hits, misses = right.cumsum(axis=1), wrong.cumsum(axis=1)
    precision = hits / (misses + hits + np.spacing(1))
    best = np.zeros((thresholds, detections + 1))  # of what is not reached: 0
    best[:, :-1] = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    needed = np.searchsorted(np.arange(objects + 1) / objects, RECALLS)  # hits
    rows = np.arange(thresholds)[:, None]
    # all rows are searched at once, each lifted above the one before
    lift = rows * (objects + 1)
    at = np.searchsorted((hits + lift).ravel(), (needed + lift).ravel()).reshape(thresholds, -1) - rows * detections
    return np.asarray(best[rows, at])


def _outside(areas: FloatArray, ranges: FloatArray) -> BoolArray:
    """``(A, n)``."""
    return np.asarray((areas < ranges[:, :1]) | (areas > ranges[:, 1:]))


def _at(values: FloatArray, threshold: float | None) -> FloatArray:
    return values if threshold is None else values[np.flatnonzero(threshold == THRESHOLDS)]
