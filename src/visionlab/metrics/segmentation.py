"""Metrics of the class of each pixel, from one matrix of whole numbers over the whole set."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionlab.batch import VOID, SegmentationBatch, SegmentationPredictions
from visionlab.metrics.by_image import ByImage, mean_of_known


class Confusion(ByImage):
    """Overlaps of predicted with true classes, from one confusion matrix over all pixels of all images that are not
    void. Nothing is averaged over images, and the counts are ``int64``: no order of adding them up is another.

    A class that neither the truth nor the predictions have anywhere is absent: its values are NaN, and no mean has it.

    ``compute`` gives, in ``float64``:

    - ``mIoU``, the mean over classes of intersection over union (Everingham et al. 2010, section 4.4, where it is
      called accuracy); ``iou_per_class``, ``(C,)``; ``absent_classes``, how many the mean leaves out;
    - ``pixel_accuracy``; ``mean_accuracy``, the mean over true classes of the share of their pixels that is right, with
      ``accuracy_per_class``; ``fwIoU``, the mean of IoU by how many pixels are truly of a class (Long et al. 2015,
      section 5);
    - ``dice``, the mean over classes of twice the intersection over the sum of both, with ``dice_per_class``;
    - ``confusion``, ``(C, C)`` ``int64``: a row for each true class and a column for each predicted one.

    Scalars are NaN where there is no pixel to count.

    ``records`` holds of each image ``pixel_accuracy`` and ``mIoU``, over the classes that are in that image or are
    predicted there.

    Args:
        num_classes: C, from 1 to 255.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if not 1 <= num_classes <= VOID:
            raise ValueError(f"num_classes must lie in 1..{VOID}, not {num_classes}")
        self.num_classes = num_classes

    def record(self, predictions: list[SegmentationPredictions], batch: SegmentationBatch) -> dict[str, list[Any]]:
        """Keep the cells of each image's matrix that are not 0: an image has few of the classes."""
        kept = []
        for one, truth in zip(predictions, batch["masks"], strict=True):
            counts = confusion_matrix(one["mask"], truth, self.num_classes).flatten().cpu()
            cells = counts.nonzero()[:, 0]
            kept.append((cells.numpy(), counts[cells].numpy()))
        return {"cells": kept}

    def evaluate(self, records: dict[str, Any]) -> dict[str, Tensor]:
        """What the class says under ``compute``."""
        total = np.zeros((self.num_classes, self.num_classes), np.int64)
        by_image = []
        for cells, counts in records["cells"]:
            matrix = np.zeros_like(total)
            matrix.flat[cells] = counts
            total += matrix
            scores = scores_of(matrix)
            by_image.append((scores["pixel_accuracy"], scores["mIoU"]))
        accuracy, overlap = np.array(by_image).T
        self.records |= {"pixel_accuracy": torch.from_numpy(accuracy), "mIoU": torch.from_numpy(overlap)}
        scores = {name: torch.as_tensor(np.asarray(value)) for name, value in scores_of(total).items()}
        return {**scores, "confusion": torch.from_numpy(total)}


def confusion_matrix(found: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Count pixels by true class (rows) and predicted class (columns); those of which the truth is void do not count.

    Args:
        found: any shape, ``uint8``, in ``0..C-1``.
        truth: of that shape, ``uint8``, in ``0..C-1`` or 255.
        num_classes: C, at most 255.

    Returns:
        ``(C, C)`` ``int64``, on the device of ``found``.

    Raises:
        ValueError: if the shapes differ, or either has another value.
    """
    if found.shape != truth.shape:
        raise ValueError(f"a mask of {tuple(truth.shape)} pixels needs as many predictions, not {tuple(found.shape)}")
    assert found.dtype == truth.dtype == torch.uint8
    if (highest := int(found.max())) >= num_classes:
        raise ValueError(f"a prediction has label {highest}; labels are 0..{num_classes - 1}")
    # narrow integers, of which 16 bits hold 256 rows of 127 classes: reading less memory is what makes it fast
    cells = truth.to(torch.int16 if num_classes <= 127 else torch.int32).mul_(num_classes).add_(found)
    # a row for each value that uint8 has, so that labels without a class show, and void is dropped at no cost
    rows = torch.bincount(cells.flatten(), minlength=256 * num_classes).view(256, num_classes)
    if rows[num_classes:VOID].any():
        wrong = int(rows[num_classes:VOID].any(1).nonzero()[0]) + num_classes
        raise ValueError(f"a mask has label {wrong}; labels are 0..{num_classes - 1}, or {VOID} for void")
    return rows[:num_classes]


def scores_of(confusion: Any) -> dict[str, Any]:
    """The scores that :class:`Confusion` names, of a ``(C, C)`` ``int64`` array, in numpy."""
    right = confusion.diagonal()
    true, found = confusion.sum(1), confusion.sum(0)
    overlaps = _ratio(right, true + found - right)
    accuracies, dices = _ratio(right, true), _ratio(2 * right, true + found)
    pixels = true.sum()
    return {
        "mIoU": mean_of_known(overlaps),
        "pixel_accuracy": float(_ratio(right.sum(), pixels)),
        "mean_accuracy": mean_of_known(accuracies),
        "fwIoU": float((true[true > 0] * overlaps[true > 0]).sum() / pixels) if pixels else np.nan,
        "dice": mean_of_known(dices),
        "absent_classes": float(np.isnan(overlaps).sum()),
        "iou_per_class": overlaps,
        "accuracy_per_class": accuracies,
        "dice_per_class": dices,
    }


def _ratio(part: Any, whole: Any) -> Any:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
