"""What kinds of errors detections have, and what each costs (Bolya et al. 2020, "TIDE: A General Toolbox for
Identifying Object Detection Errors").
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from visionlab.metrics.by_objects import BoolArray, FloatArray, IntArray
from visionlab.metrics.coco_evaluation import THRESHOLDS, Evaluation, Found, Truth, precision_at_recalls
from visionlab.metrics.overlaps import Overlap, best_of_each, same_group

FOREGROUND = THRESHOLDS[0]
"""The overlap from which on a detection may be right."""

BACKGROUND = 0.1
"""The overlap up to which a detection is of nothing."""

KINDS = ("class", "localization", "both", "duplicate", "background", "missed")


class Errors(NamedTuple):
    """Of detections, as evaluated, and of objects.

    Attributes:
        kinds: ``(k,)``: the place in :data:`KINDS` of what is wrong with each detection; -1 where nothing is, or it
            does not count.
        objects: ``(k,)``: the object that a wrong class or place was meant for, or -1.
        missed: ``(m,)``: objects that no detection found, nor was meant for.
    """

    kinds: IntArray
    objects: IntArray
    missed: BoolArray


def classify_errors(evaluation: Evaluation, found: Found, truth: Truth, overlap: Overlap) -> Errors:
    """Say what is wrong with each detection that matched no object at the first threshold (section 2.2, and
    ``TIDERun._eval_image`` of its code, of which the order of the tests is).

    Args:
        evaluation: of ``found`` and ``truth``.
        found: detections.
        truth: objects.
        overlap: of any pairs of one image; that of crowds is not asked for.
    """
    chosen, match = evaluation.detections, evaluation.match
    wrong = np.flatnonzero(match < 0)
    real = np.flatnonzero(~truth.ignored)
    used = np.zeros(len(truth.labels), np.bool_)
    used[match[match >= 0]] = True

    d, t = same_group(found.images[chosen[wrong]], truth.images[real])
    t = real[t]
    values = overlap(chosen[wrong][d], t)
    own = found.labels[chosen[wrong]][d] == truth.labels[t]
    count = len(wrong)
    of_own, own_object = best_of_each(d[own], t[own], values[own], count)
    of_other, other_object = best_of_each(d[~own], t[~own], values[~own], count)
    own &= used[t]
    of_used, _ = best_of_each(d[own], t[own], values[own], count)

    tests = {
        "localization": (of_own >= BACKGROUND) & (of_own <= FOREGROUND),
        "class": of_other >= FOREGROUND,
        "duplicate": of_used >= FOREGROUND,
        "background": np.maximum(of_own, of_other) <= BACKGROUND,
    }
    kinds, objects = np.full((2, len(match)), -1)
    kind = np.select(list(tests.values()), [KINDS.index(name) for name in tests], KINDS.index("both"))
    kinds[wrong] = kind
    objects[wrong] = np.select(
        [kind == KINDS.index("localization"), kind == KINDS.index("class")], [own_object, other_object], -1
    )
    meant = np.zeros(len(used), np.bool_)
    meant[objects[objects >= 0]] = True
    return Errors(kinds, objects, ~truth.ignored & ~used & ~meant)


def cost_of_errors(
    evaluation: Evaluation, found: Found, truth: Truth, overlap: Overlap, num_classes: int
) -> dict[str, float]:
    """How much higher the average precision at the first threshold would be without the errors of each kind, in [0, 1],
    by :data:`KINDS` (section 2.3).

    A detection of a wrong class or place becomes right if no other found its object and it is the surest of those that
    were meant for it, and goes otherwise; duplicates, background and what is wrong in both ways go; missed objects need
    not be found. Classes that no object is of, before or after, do not count, as in COCO's mean.

    The arguments are those of :func:`classify_errors`.
    """
    errors = classify_errors(evaluation, found, truth, overlap)
    match, counts = evaluation.match, evaluation.counts
    labels, scores = found.labels[evaluation.detections], found.scores[evaluation.detections]
    right = match >= 0
    real = truth.labels[~truth.ignored]
    total = np.bincount(real, minlength=num_classes)
    before = _mean_precision(labels[counts], scores[counts], right[counts], total)

    free = np.ones(len(truth.labels), np.bool_)
    free[match[right]] = False
    meant = np.flatnonzero(errors.objects >= 0)
    meant = meant[free[errors.objects[meant]]]
    # the first of the surest, in the order of images and falling scores
    order = meant[np.lexsort((found.images[evaluation.detections[meant]], -scores[meant], errors.objects[meant]))]
    surest = order[np.unique(errors.objects[order], return_index=True)[1]]

    costs = {}
    for kind, name in enumerate(KINDS):
        fixed_labels, fixed, objects = labels, right, total
        gone = errors.kinds == kind
        if name in ("class", "localization"):
            mended = surest[errors.kinds[surest] == kind]
            gone[mended] = False
            fixed_labels, fixed = labels.copy(), right.copy()
            fixed_labels[mended], fixed[mended] = truth.labels[errors.objects[mended]], True
        if name == "missed":
            objects = total - np.bincount(truth.labels[errors.missed], minlength=num_classes)
        left = counts & ~gone
        after = _mean_precision(fixed_labels[left], scores[left], fixed[left], objects)
        costs[name] = float(np.maximum(after - before, 0))
    return costs


def _mean_precision(labels: IntArray, scores: FloatArray, right: BoolArray, objects: IntArray) -> float:
    order = np.lexsort((-scores, labels))
    right = right[order]
    bounds = np.searchsorted(labels[order], np.arange(len(objects) + 1)).tolist()
    values = [
        precision_at_recalls(right[None, start:end], ~right[None, start:end], count).mean()
        for (start, end), count in zip(pairwise(bounds), objects.tolist(), strict=True)
        if count > 0
    ]
    return float(np.mean(values)) if values else float("nan")
