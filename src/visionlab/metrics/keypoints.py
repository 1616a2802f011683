"""How near keypoints that were found are to true ones: object keypoint similarity, and the share of correct ones."""

import numpy as np

from visionlab.metrics.by_objects import FloatArray, IntArray
from visionlab.metrics.overlaps import Overlap

COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
    *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
"""How far annotators differ, by the size of the person, of the 17 keypoints of COCO in its order
(https://cocodataset.org/#keypoints-eval, 1.3; ``kpt_oks_sigmas`` of pycocotools)."""


def keypoint_overlap(
    found: FloatArray, true: FloatArray, areas: FloatArray, xywh: FloatArray, sigmas: FloatArray
) -> Overlap:
    """Object keypoint similarity (https://cocodataset.org/#keypoints-eval, 1.2), in [0, 1].

    Where an object has no labelled keypoint, those that were found need only be within twice its box.

    Args:
        found: ``(n, K, 3)``, x, y and anything.
        true: ``(m, K, 3)``, x, y and visibility, 0 for what is not labelled.
        areas: ``(m,)`` of the true objects, in pixels.
        xywh: ``(m, 4)``, their boxes.
        sigmas: ``(K,)``.
    """
    labelled = true[..., 2] > 0
    counts = labelled.sum(axis=1)
    variances = (sigmas * 2) ** 2
    low, high = xywh[:, :2] - xywh[:, 2:], xywh[:, :2] + xywh[:, 2:] * 2

    def overlap(d: IntArray, t: IntArray) -> FloatArray:
        values = np.zeros(len(d))
        for count in np.unique(counts[t]).tolist():  # so that sums have as many terms as those of pycocotools
            here = np.flatnonzero(counts[t] == count)
            places, objects = found[d[here], :, :2], t[here]
            if count > 0:
                away = places - true[objects, :, :2]
            else:
                below, above = low[objects, None] - places, places - high[objects, None]
                away = below.clip(min=0) + above.clip(min=0)
            squares = away[..., 0] ** 2 + away[..., 1] ** 2
            errors = squares / variances / (areas[objects] + np.spacing(1))[:, None] / 2
            if count > 0:
                errors = errors[labelled[objects]].reshape(-1, count)
            values[here] = np.exp(-errors).sum(axis=1) / errors.shape[1]
        return values

    return overlap


def extents(keypoints: FloatArray) -> FloatArray:
    """The areas of the boxes around all keypoints of each object, ``(n,)`` of ``(n, K, 3)``."""
    if len(keypoints) == 0:
        return np.zeros(0)
    return np.asarray(np.ptp(keypoints[..., :2], axis=1).prod(axis=1))


def correct_keypoints(found: FloatArray, true: FloatArray, sizes: FloatArray, alpha: float) -> FloatArray:
    """Which keypoints are correct: no further from the true one than a part of the size of the object (Yang and
    Ramanan 2013, section 6.1: PCK).

    Args:
        found: ``(n, K, 3)``, x, y and anything.
        true: ``(n, K, 3)``, x, y and visibility.
        sizes: ``(n,)`` in pixels: the larger side of the box there; of the head in PCKh.
        alpha: the part.

    Returns:
        ``(n, K)`` of 1 and 0; NaN for what is not labelled.
    """
    near = np.hypot(*np.moveaxis(found[..., :2] - true[..., :2], -1, 0)) <= alpha * sizes[:, None]
    return np.where(true[..., 2] > 0, near.astype(np.float64), np.nan)
