"""Areas under precision-recall curves: three definitions of average precision, of which each protocol has its own.

A curve is the precision and the recall, ``(n,)`` ``float64`` each, of the first 1, 2, ..., n of the ranked predictions
(or of those that reach each of n falling thresholds), so recall never falls.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Area = Callable[[FloatArray, FloatArray], float]
"""Of precision and recall, in [0, 1]; 0 of an empty curve."""


def step_area(precision: FloatArray, recall: FloatArray) -> float:
    """Without interpolation, as scikit-learn has it: the sum of (R_n - R_{n-1}) P_n."""
    return float((np.diff(recall, prepend=0) * precision).sum())


def eleven_point_area(precision: FloatArray, recall: FloatArray) -> float:
    """The average precision of VOC 2007: the mean, over the recalls 0, 0.1, ..., 1, of the best precision at that
    recall or more, 0 where it is not reached.

    Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2; development kit of 2007,
    section 3.4.1.

    The recalls are the nearest floats to 0, 0.1, ..., 1, so 3 of 10 found reach 0.3. ``numpy.arange(0, 1.1, 0.1)``, by
    which others compute this, has 0.30000000000000004, which they do not reach; nor, by reports of its users, is the
    fourth of MATLAB's ``0:0.1:1``, which the development kit goes over, the nearest float.
    """
    best = np.append(_best_from_here(precision), 0)
    return float(best[np.searchsorted(recall, np.arange(11) / 10)].sum() / 11)


def monotone_area(precision: FloatArray, recall: FloatArray) -> float:
    """The average precision of VOC since 2010: the area under the best precision at each recall or more (development
    kit of 2012, section 3.4.1, ``VOCap.m``).
    """
    return step_area(_best_from_here(precision), recall)


def average_precisions(
    labels: IntArray, scores: FloatArray, gains: FloatArray, objects: FloatArray, area: Area
) -> FloatArray:
    """The average precision of detections of each class, ``(C,)``; NaN for a class without objects.

    Args:
        labels: ``(n,)`` in ``0..C-1``.
        scores: ``(n,)``; equal ones are ranked in their order.
        gains: ``(n,)``, 1 for what is right and 0 for what is wrong; what is right may count for less.
        objects: ``(C,)``, how many there are to find, or how much they count together.
        area: of the curve.
    """
    order = np.lexsort((-scores, labels))
    bounds = np.searchsorted(labels[order], np.arange(len(objects) + 1)).tolist()
    areas = np.full(len(objects), np.nan)
    for label in np.flatnonzero(objects > 0):
        gained = gains[order[bounds[label] : bounds[label + 1]]]
        right, wrong = gained.cumsum(), (gained <= 0).cumsum()
        areas[label] = area(right / (right + wrong), right / objects[label])
    return areas


def _best_from_here(precision: FloatArray) -> FloatArray:
    """The best precision at the same place of the curve or later."""
    return np.maximum.accumulate(precision[::-1])[::-1]
