"""How well the outlines of classes are followed: the boundary F-score."""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from visionlab.batch import VOID, SegmentationBatch, SegmentationPredictions
from visionlab.metrics.by_image import ByImage, mean_of_known

Mask = npt.NDArray[np.uint8]

TOLERANCE = 0.0075
"""How far an outline may be off, as a share of the image's diagonal (Csurka et al. 2013, section 3)."""


class BoundaryF(ByImage):
    """The boundary F-score (Csurka, Larlus and Perronnin 2013, "What is a good evaluation measure for semantic
    segmentation?", section 3).

    The outline of a class are its pixels that have a neighbour, above, below, left or right, of another class; the
    border of the image is none. A pixel of an outline is right if the other outline comes within 0.75 % of the image's
    diagonal. Where the truth is void the prediction counts as void too, and pixels beside void are of an outline.

    Each class of an image that has an outline in the truth or in the prediction has a score: the harmonic mean of the
    share of the predicted outline that is right and the share of the true one that was found. ``compute`` gives ``F``,
    the mean over images of the mean over their classes, and ``F_per_class``, ``(C,)`` ``float64``, the mean over the
    images with such an outline, NaN for a class without any. ``records`` holds ``boundary_F`` of each image.

    Args:
        num_classes: C, from 1 to 255.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if not 1 <= num_classes <= VOID:
            raise ValueError(f"num_classes must lie in 1..{VOID}, not {num_classes}")
        self.num_classes = num_classes

    def record(self, predictions: list[SegmentationPredictions], batch: SegmentationBatch) -> dict[str, list[Any]]:
        pairs = zip(predictions, batch["masks"], strict=True)
        return {"scores": [boundary_scores(one["mask"].cpu().numpy(), truth.cpu().numpy()) for one, truth in pairs]}

    def evaluate(self, records: dict[str, Any]) -> dict[str, Tensor]:
        by_class: list[list[float]] = [[] for _ in range(self.num_classes)]
        by_image = []
        for scores in records["scores"]:
            for label, score in scores.items():
                by_class[label].append(score)
            by_image.append(mean_of_known(np.array([*scores.values()], np.float64)))
        images, classes = np.array(by_image), np.array([mean_of_known(np.array(one, np.float64)) for one in by_class])
        self.records |= {"boundary_F": torch.from_numpy(images)}
        return {"F": torch.tensor(mean_of_known(images), dtype=torch.float64), "F_per_class": torch.from_numpy(classes)}


def boundary_scores(found: Mask, truth: Mask) -> dict[int, float]:
    """The score in [0, 1] of each class that has an outline in an image, as :class:`BoundaryF` says, by label.

    Args:
        found: ``(H, W)``, in ``0..C-1``.
        truth: ``(H, W)``, in ``0..C-1`` or 255.
    """
    found = np.where(truth == VOID, VOID, found).astype(np.uint8)
    within = TOLERANCE * math.hypot(*truth.shape)
    edges_found, edges_truth = outlines(found), outlines(truth)
    scores = {}
    for label in np.union1d(found[edges_found], truth[edges_truth]).tolist():
        if label != VOID:
            mine, true = edges_found & (found == label), edges_truth & (truth == label)
            precision, recall = _share_near(mine, true, within), _share_near(true, mine, within)
            scores[label] = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return scores


def outlines(mask: Mask) -> npt.NDArray[np.bool_]:
    """``(H, W)``, which pixels have a neighbour of another value."""
    edges = np.zeros(mask.shape, np.bool_)
    rows, columns = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    edges[1:] |= rows
    edges[:-1] |= rows
    edges[:, 1:] |= columns
    edges[:, :-1] |= columns
    return edges


def _share_near(outline: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], within: float) -> float:
    """The share of an outline that comes near another; 0 where one of them is none."""
    if not outline.any() or not other.any():
        return 0.0
    distances = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distances[outline] <= within).mean())
