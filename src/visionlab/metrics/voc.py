"""The average precision of detections as PASCAL VOC has it (Everingham et al. 2010, section 4.3; ``VOCevaldet.m``)."""

from typing import Any

import numpy as np

from visionlab.batch import DetectionBatch, DetectionPredictions
from visionlab.metrics.by_image import mean_of_known
from visionlab.metrics.by_objects import (
    BoolArray,
    ByObjects,
    IntArray,
    Table,
    as_array,
    encoded,
    found_rows,
    scores_of_images,
    true_rows,
)
from visionlab.metrics.overlaps import best_of_each, box_overlap, mask_overlap, same_group, surest_of_each
from visionlab.metrics.precision_recall import Area, average_precisions

THRESHOLD = 0.5
"""The overlap from which on a detection is right."""


def match(best: Any, objects: IntArray, scores: Any, difficult: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Which detections are right, and which do not count, ``(n,)`` each.

    Each is for the object of its class that it overlaps most with, whether another has that already or not. The surest
    of those that overlap enough is right, the others are wrong; none of those of a difficult object counts.

    Args:
        best: ``(n,)``, the overlap with that object.
        objects: ``(n,)``, that object, or -1.
        scores: ``(n,)``.
        difficult: ``(m,)``.
    """
    near = np.where(best >= THRESHOLD, objects, -1)
    void = np.zeros(len(near), np.bool_)
    void[near >= 0] = difficult[near[near >= 0]]
    return surest_of_each(near, scores) & ~void, void


class VOCAP(ByObjects):
    """The average precision of boxes or masks at an overlap of 0.5; difficult objects do not count, nor does what finds
    them.

    VOC's boxes include the pixels on all four sides, so its development kit adds 1 to each side length. Our boxes live
    between pixels and start 1 before VOC's ``xmin`` and ``ymin``: their plain overlap is the same number.

    ``compute`` gives ``mAP``, the mean over the classes that have objects that count, and
    ``average_precision_per_class``, ``(C,)`` ``float64``, NaN for a class without. ``records`` holds
    ``<name>_objects``, ``<name>_found`` and ``<name>_score``
    (:func:`visionlab.metrics.by_objects.scores_of_images`), with ``box`` or ``mask`` for the name.

    Args:
        num_classes: C, at least 1.
        area: under precision and recall: that of VOC 2007 or that of 2010 and later
            (:mod:`visionlab.metrics.precision_recall`).
        of: what overlaps: ``boxes``, or ``masks``.
    """

    def __init__(self, num_classes: int, area: Area, of: str = "boxes") -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {num_classes}")
        if of not in ("boxes", "masks"):
            raise ValueError(f"of must be boxes or masks, not {of!r}")
        self.num_classes, self.area, self.of = num_classes, area, of

    def record(self, predictions: list[DetectionPredictions], batch: DetectionBatch) -> dict[str, list[Table]]:
        found = [found_rows(one, "xywh" if self.of == "boxes" else "masks") for one in predictions]
        true = []
        for target in batch["targets"]:
            rows = true_rows(target)
            rows["difficult"] = as_array(target["difficult"]) if "difficult" in target else np.zeros_like(rows["crowd"])
            true.append(rows if self.of == "boxes" else {**rows, "masks": encoded(as_array(target["masks"]))})
        return {"found": found, "true": true}

    def evaluate_objects(self, tables: dict[str, Table], images: int) -> tuple[dict[str, Any], dict[str, Any]]:
        found, true = tables["found"], tables["true"]
        plain = np.zeros(len(true["labels"]), np.bool_)
        if self.of == "boxes":
            overlap = box_overlap(found["xywh"], true["xywh"], plain)
        else:
            overlap = mask_overlap(found["masks"], true["masks"], plain, least=THRESHOLD)
        d, t = same_group(found["labels"] * images + found["images"], true["labels"] * images + true["images"])
        best, objects = best_of_each(d, t, overlap(d, t), len(found["labels"]))
        right, void = match(best, objects, found["scores"], true["difficult"])
        labels, scores = found["labels"][~void], found["scores"][~void]
        right, counts = right[~void], ~true["difficult"]
        per_label = np.bincount(true["labels"][counts], minlength=self.num_classes).astype(np.float64)
        areas = average_precisions(labels, scores, right.astype(np.float64), per_label, self.area)
        by_image = scores_of_images(found["images"][~void], scores, right, true["images"][counts], images)
        name = self.of.removesuffix("es").removesuffix("s")
        return (
            {"mAP": mean_of_known(areas), "average_precision_per_class": areas},
            {f"{name}_{key}": values for key, values in by_image.items()},
        )
