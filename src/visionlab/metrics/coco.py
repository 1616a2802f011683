"""COCO's average precision of boxes, masks and keypoints, equal to that of pycocotools to the last bit."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visionlab.batch import DetectionBatch, DetectionPredictions
from visionlab.metrics.by_image import mean_of_known
from visionlab.metrics.by_objects import (
    ByObjects,
    Table,
    as_array,
    as_float,
    encoded,
    found_rows,
    scores_of_images,
    true_rows,
)
from visionlab.metrics.coco_evaluation import (
    KEYPOINTS,
    OBJECTS,
    Evaluation,
    Found,
    Protocol,
    Truth,
    evaluate,
)
from visionlab.metrics.detection_errors import cost_of_errors
from visionlab.metrics.keypoints import COCO_SIGMAS, correct_keypoints, extents, keypoint_overlap
from visionlab.metrics.overlaps import Overlap, box_overlap, mask_areas, mask_overlap


class _CocoAP(ByObjects):
    """What the three have in common.

    Args:
        num_classes: C, at least 1.
    """

    name: str
    protocol: Protocol

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {num_classes}")
        self.num_classes = num_classes

    def _evaluate(
        self, found: Found, truth: Truth, overlap: Overlap, images: int
    ) -> tuple[Evaluation, dict[str, Any], dict[str, Any]]:
        evaluation = evaluate(found, truth, overlap, self.num_classes, self.protocol)
        metrics = {
            **evaluation.official(),
            "average_precision_per_class": evaluation.average_precision_per_class,
            "precision_recall": evaluation.curves,
            "precision_recall_per_class": evaluation.curve_per_class,
        }
        counting = evaluation.detections[evaluation.counts]
        right = evaluation.match[evaluation.counts] >= 0
        objects_at = truth.images[~truth.ignored]
        scores = scores_of_images(found.images[counting], found.scores[counting], right, objects_at, images)
        return evaluation, metrics, {f"{self.name}_{name}": values for name, values in scores.items()}


class BoxAP(_CocoAP):
    """The average precision of boxes.

    ``compute`` gives the 12 official numbers, ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR1``, ``AR10``,
    ``AR100``, ``ARs``, ``ARm`` and ``ARl``, in [0, 1], NaN where there is no object (pycocotools says -1);
    ``average_precision_per_class``, ``(C,)``; ``precision_recall``, ``(10, 101)``, the mean precision over classes by
    threshold and recall; ``precision_recall_per_class``, ``(C, 101)``, at an overlap of 0.5; and ``dAP_class``,
    ``dAP_localization``, ``dAP_both``, ``dAP_duplicate``, ``dAP_background`` and ``dAP_missed``, what the errors of
    each kind cost of ``AP50`` (Bolya et al. 2020: :mod:`visionlab.metrics.detection_errors`). All are ``float64``.

    ``records`` holds ``box_objects``, ``box_found`` and ``box_score`` (the average precision of the image alone:
    :func:`visionlab.metrics.by_objects.scores_of_images`).

    The 100 surest boxes of each class and image are kept, for others do not count.

    Args:
        num_classes: C, at least 1.
    """

    name = "box"
    protocol = OBJECTS

    def record(self, predictions: list[DetectionPredictions], batch: DetectionBatch) -> dict[str, list[Table]]:
        return {
            "found": [found_rows(one, "xywh", most=self.protocol.most[-1]) for one in predictions],
            "true": [true_rows(target) for target in batch["targets"]],
        }

    def evaluate_objects(self, tables: dict[str, Table], images: int) -> tuple[dict[str, Any], dict[str, Any]]:
        rows, true = tables["found"], tables["true"]
        found = Found(rows["images"], rows["labels"], rows["scores"], rows["xywh"][:, 2] * rows["xywh"][:, 3])
        truth = Truth(true["images"], true["labels"], true["area"], true["crowd"], true["crowd"])
        overlap = box_overlap(rows["xywh"], true["xywh"], truth.crowd)
        evaluation, metrics, records = self._evaluate(found, truth, overlap, images)
        costs = cost_of_errors(evaluation, found, truth, overlap, self.num_classes)
        return {**metrics, **{f"dAP_{name}": cost for name, cost in costs.items()}}, records


class MaskAP(_CocoAP):
    """The average precision of masks.

    ``compute`` and ``records`` give what :class:`BoxAP` gives, without the errors, as ``mask_...``. The area of what
    was found is that of its mask; pycocotools takes that of the box where a results file has both.

    Args:
        num_classes: C, at least 1.
    """

    name = "mask"
    protocol = OBJECTS

    def record(self, predictions: list[DetectionPredictions], batch: DetectionBatch) -> dict[str, list[Table]]:
        true = [{**true_rows(target), "masks": encoded(as_array(target["masks"]))} for target in batch["targets"]]
        return {"found": [found_rows(one, "masks", most=self.protocol.most[-1]) for one in predictions], "true": true}

    def evaluate_objects(self, tables: dict[str, Table], images: int) -> tuple[dict[str, Any], dict[str, Any]]:
        rows, true = tables["found"], tables["true"]
        found = Found(rows["images"], rows["labels"], rows["scores"], mask_areas(rows["masks"]))
        truth = Truth(true["images"], true["labels"], true["area"], true["crowd"], true["crowd"])
        overlap = mask_overlap(rows["masks"], true["masks"], truth.crowd, least=0.5)
        return self._evaluate(found, truth, overlap, images)[1:]


class KeypointAP(_CocoAP):
    """The average precision of keypoints, by object keypoint similarity.

    ``compute`` gives the 10 official numbers, ``AP``, ``AP50``, ``AP75``, ``APm``, ``APl``, ``AR``, ``AR50``, ``AR75``,
    ``ARm`` and ``ARl``, and the vector and matrices of :class:`BoxAP`; ``records`` is as there, as ``keypoint_...``.
    Objects without a labelled keypoint are ignored. The area of what was found is that of the box around its keypoints.

    Args:
        num_classes: C, at least 1.
        sigmas: how far annotators differ, one a keypoint: see
            :data:`visionlab.metrics.keypoints.COCO_SIGMAS`.
    """

    name = "keypoint"
    protocol = KEYPOINTS

    def __init__(self, num_classes: int, sigmas: Sequence[float] = COCO_SIGMAS) -> None:
        super().__init__(num_classes)
        self.sigmas = np.array(sigmas)

    def record(self, predictions: list[DetectionPredictions], batch: DetectionBatch) -> dict[str, list[Table]]:
        true = [{**true_rows(target), "keypoints": as_float(target["keypoints"])} for target in batch["targets"]]
        found = [found_rows(one, "keypoints", most=self.protocol.most[-1]) for one in predictions]
        for table in (*found, *true):
            if (given := table["keypoints"].shape[1:]) != (len(self.sigmas), 3):
                raise ValueError(f"expected {len(self.sigmas)} keypoints of 3 numbers, one for each sigma, not {given}")
        return {"found": found, "true": true}

    def evaluate_objects(self, tables: dict[str, Table], images: int) -> tuple[dict[str, Any], dict[str, Any]]:
        rows, true = tables["found"], tables["true"]
        found = Found(rows["images"], rows["labels"], rows["scores"], extents(rows["keypoints"]))
        ignored = true["crowd"] | ~(true["keypoints"][..., 2] > 0).any(axis=1)
        truth = Truth(true["images"], true["labels"], true["area"], true["crowd"], ignored)
        overlap = keypoint_overlap(rows["keypoints"], true["keypoints"], true["area"], true["xywh"], self.sigmas)
        return self._evaluate(found, truth, overlap, images)[1:]


class PCK(ByObjects):
    """The share of labelled keypoints that are found within a part of the larger side of their object's box (Yang and
    Ramanan 2013).

    Objects are matched to boxes of their class by COCO's rule, at an overlap of 0.5; the keypoints of an object that is
    not found are wrong. ``compute`` gives ``PCK`` and ``PCK_per_keypoint``, ``(K,)``, NaN where none is labelled;
    ``records`` holds ``pck``.

    Args:
        num_classes: C, at least 1.
        alpha: the part; 0.2 is what most papers take.
    """

    def __init__(self, num_classes: int, alpha: float = 0.2) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha must be more than 0, not {alpha}")
        self.num_classes, self.alpha = num_classes, alpha

    def record(self, predictions: list[DetectionPredictions], batch: DetectionBatch) -> dict[str, list[Table]]:
        true = [{**true_rows(target), "keypoints": as_float(target["keypoints"])} for target in batch["targets"]]
        found = [found_rows(one, "xywh", "keypoints", most=OBJECTS.most[-1]) for one in predictions]
        return {"found": found, "true": true}

    def evaluate_objects(self, tables: dict[str, Table], images: int) -> tuple[dict[str, Any], dict[str, Any]]:
        rows, true = tables["found"], tables["true"]
        found = Found(rows["images"], rows["labels"], rows["scores"], rows["xywh"][:, 2] * rows["xywh"][:, 3])
        truth = Truth(true["images"], true["labels"], true["area"], true["crowd"], true["crowd"])
        overlap = box_overlap(rows["xywh"], true["xywh"], truth.crowd)
        evaluation = evaluate(found, truth, overlap, self.num_classes, OBJECTS)
        there = evaluation.counts & (evaluation.match >= 0)
        objects = evaluation.match[there]
        correct = np.where(true["keypoints"][..., 2] > 0, 0, np.nan)
        correct[objects] = correct_keypoints(
            rows["keypoints"][evaluation.detections[there]],
            true["keypoints"][objects],
            true["xywh"][objects, 2:].max(axis=1, initial=0),
            self.alpha,
        )
        correct[truth.crowd] = np.nan
        by_image = [mean_of_known(correct[truth.images == image]) for image in range(images)]
        by_keypoint = [mean_of_known(column) for column in correct.T]
        return {"PCK": mean_of_known(correct), "PCK_per_keypoint": by_keypoint}, {"pck": by_image}
