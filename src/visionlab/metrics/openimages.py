"""The average precision of Open Images V2 and of its challenges (Kuznetsova et al. 2020, section 6;
``object_detection_evaluation.py`` and ``per_image_evaluation.py`` of tensorflow/models).
"""

from typing import Any, Literal

import numpy as np

from visionlab.batch import DetectionBatch, DetectionPredictions
from visionlab.metrics.by_image import mean_of_known
from visionlab.metrics.by_objects import (
    BoolArray,
    ByObjects,
    FloatArray,
    IntArray,
    Table,
    as_array,
    as_float,
    encoded,
    found_rows,
    scores_of_images,
    true_rows,
)
from visionlab.metrics.overlaps import (
    Overlap,
    best_of_each,
    box_overlap,
    mask_areas,
    mask_overlap,
    same_group,
    surest_of_each,
)
from visionlab.metrics.precision_recall import average_precisions, monotone_area
from visionlab.metrics.voc import THRESHOLD

Protocol = Literal["v2", "challenge"]


class OpenImagesAP(ByObjects):
    """The average precision of boxes or masks at an overlap of 0.5, by the area under the best precision at each recall
    or more.

    An object also belongs to all classes above its own. What lies in a group (``IsGroupOf``, at least half of it) and
    has found nothing else does not count. In ``v2``, that is all. In ``challenge``, a group counts as an object, which
    the surest detection in it finds; detections also belong to the classes above their own; and those of a class that
    nobody verified to be in the image, or not to be, do not count. (Who is there is a bird, so what is above is
    verified, too; who is not there is no sparrow, either.)

    Of masks, objects that have a box alone (their masks are empty) do not count, nor does what finds their boxes.

    ``compute`` gives ``mAP``, the mean over the classes that have objects, and ``average_precision_per_class``,
    ``(C,)`` ``float64``, NaN for a class without. ``records`` holds ``<name>_objects``, ``<name>_found`` and
    ``<name>_score`` (:func:`visionlab.metrics.by_objects.scores_of_images`), with ``box`` or ``mask`` for the name.

    Args:
        ancestors: ``(C, C)``, whether the class of the column is that of the row, or one above it.
        protocol: ``v2`` or ``challenge``.
        of: what overlaps: ``boxes``, or ``masks``.
        group_of_weight: how much a group counts in the challenge.
    """

    def __init__(
        self, ancestors: BoolArray, protocol: Protocol, of: str = "boxes", group_of_weight: float = 1.0
    ) -> None:
        super().__init__()
        if protocol not in ("v2", "challenge"):
            raise ValueError(f"protocol must be v2 or challenge, not {protocol!r}")
        if of not in ("boxes", "masks"):
            raise ValueError(f"of must be boxes or masks, not {of!r}")
        self.ancestors, self.protocol, self.of, self.group_of_weight = ancestors, protocol, of, group_of_weight

    def record(self, predictions: list[DetectionPredictions], batch: DetectionBatch) -> dict[str, list[Table]]:
        found, true = [], []
        for one, image in zip(predictions, batch["images"], strict=True):
            rows = found_rows(one, "xywh") if self.of == "boxes" else found_rows(one, "xywh", "masks")
            found.append(with_size(rows, *image.shape[1:]))
        for target in batch["targets"]:
            rows = true_rows(target)
            true.append(rows if self.of == "boxes" else {**rows, "masks": encoded(as_array(target["masks"]))})
        if self.protocol == "v2":
            return {"found": found, "true": true}
        if "labels" not in batch:
            raise ValueError("the challenge wants `labels` in the batch: which classes people verified")
        verified = [
            {"labels": np.flatnonzero(~np.isnan(labels)), "there": labels[~np.isnan(labels)] == 1}
            for labels in as_float(batch["labels"])
        ]
        return {"found": found, "true": true, "verified": verified}

    def evaluate_objects(self, tables: dict[str, Table], images: int) -> tuple[dict[str, Any], dict[str, Any]]:
        found, true, weight = tables["found"], expanded(tables["true"], self.ancestors), 0.0
        if self.protocol == "challenge":
            weight = self.group_of_weight
            verified = tables["verified"]
            there = verified["there"]
            sure = [
                expanded({name: values[there] for name, values in verified.items()}, self.ancestors),
                expanded({name: values[~there] for name, values in verified.items()}, self.ancestors.T),
                true,
            ]
            known = np.concatenate([one["images"] * len(self.ancestors) + one["labels"] for one in sure])
            found = expanded(found, self.ancestors)
            counts = np.isin(found["images"] * len(self.ancestors) + found["labels"], known)
            found = {name: values[counts] for name, values in found.items()}
        areas, by_image = evaluate(found, true, len(self.ancestors), weight, images)
        name = self.of.removesuffix("es").removesuffix("s")
        return (
            {"mAP": mean_of_known(areas), "average_precision_per_class": areas},
            {f"{name}_{key}": values for key, values in by_image.items()},
        )


def with_size(rows: Table, height: int, width: int) -> Table:
    """With columns ``height`` and ``width``, of the image: the data set's own files have boxes in parts of it."""
    return {**rows, "height": np.full(len(rows["labels"]), height), "width": np.full(len(rows["labels"]), width)}


def expanded(rows: Table, ancestors: BoolArray) -> Table:
    """Each row once for its class and each above it (``oid_hierarchical_labels_expansion.py``)."""
    which, labels = np.nonzero(ancestors[rows["labels"]])
    return {name: labels if name == "labels" else values[which] for name, values in rows.items()}


def evaluate(
    found: Table, true: Table, num_classes: int, group_of_weight: float, images: int
) -> tuple[FloatArray, dict[str, Any]]:
    """The average precision of each class, ``(C,)``, and what each image alone is worth.

    Args:
        found: ``images``, ``labels``, ``scores``, ``xywh``, and ``masks`` where these are evaluated.
        true: ``images``, ``labels``, ``xywh``, ``crowd`` (groups), and likewise ``masks``.
        num_classes: C.
        group_of_weight: how much a group counts; of 0, what finds one does not count.
        images: how many.
    """
    groups, scores = true["crowd"], found["scores"]
    bare = mask_areas(true["masks"]) == 0 if "masks" in true else np.zeros(len(groups), np.bool_)
    boxes = box_overlap(found["xywh"], true["xywh"], groups)
    overlap = mask_overlap(found["masks"], true["masks"], groups, least=THRESHOLD) if "masks" in true else boxes
    d, t = same_group(found["labels"] * images + found["images"], true["labels"] * images + true["images"])
    right, group = _find(d[~bare[t]], t[~bare[t]], overlap, groups, scores)
    left = bare[t] & ~right[d] & (group[d] < 0)
    boxed, boxed_group = _find(d[left], t[left], boxes, groups, scores)
    counts = ~boxed & (boxed_group < 0) & (group < 0)

    finds_group = surest_of_each(group, scores) & (group_of_weight > 0)
    ranked = np.concatenate([np.flatnonzero(counts), np.flatnonzero(finds_group)])
    gains = np.concatenate([right[counts], np.full(finds_group.sum(), group_of_weight)])
    real = ~groups & ~bare
    objects, groups_of = (np.bincount(true["labels"][which], minlength=num_classes) for which in (real, groups))
    areas = average_precisions(
        found["labels"][ranked], scores[ranked], gains, objects + group_of_weight * groups_of, monotone_area
    )
    at = found["images"][counts]
    return areas, scores_of_images(at, scores[counts], right[counts], true["images"][real], images)


def _find(
    d: IntArray, t: IntArray, overlap: Overlap, groups: BoolArray, scores: FloatArray
) -> tuple[BoolArray, IntArray]:
    """Which detections are right, ``(n,)``, and in which group each of the others is, ``(n,)``, or -1.

    Args:
        d: ``(p,)``, the detection of each pair, rising.
        t: ``(p,)``, its object or group.
        overlap: of objects; of a group, how much of the detection is in it.
        groups: ``(m,)``.
        scores: ``(n,)``.
    """
    values, of_group = overlap(d, t), groups[t]
    best, objects = best_of_each(d[~of_group], t[~of_group], values[~of_group], len(scores))
    right = surest_of_each(np.where(best >= THRESHOLD, objects, -1), scores)
    rest = of_group & ~right[d]
    share, group = best_of_each(d[rest], t[rest], values[rest], len(scores))
    return right, np.where(share >= THRESHOLD, group, -1)
