"""Metrics of classification: how often, how surely and how honestly a net is right.

torchmetrics 1.9 has all of these, but closes the bins of the calibration error on the other side than the paper, so
that a confidence of exactly 1, common in float32, has a bin of its own (0.2725 for 0.2275 on the four images of the
test); gives a class without positives an average precision of 0 and fails on one without known labels; ranks by a
sigmoid that is 1 in float32 for every logit above 17; and takes a NaN for the largest logit.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visionlab.batch import ClassificationBatch, ClassificationPredictions
from visionlab.metrics.by_image import ByImage
from visionlab.metrics.precision_recall import Area, step_area


class SingleLabel(ByImage):
    """Metrics of images with one label each.

    ``compute`` gives the ``float64`` scalars ``top1``, ``top5`` (with more than five classes), ``nll`` (nats) and
    ``ece``; ``accuracy_per_class``, ``(C,)`` ``float64``, NaN for a class without images; and ``confusion``, ``(C, C)``
    ``int64``, a row for each true class and a column for each predicted one.

    ``records`` holds ``label``, ``prediction``, ``confidence`` (the softmax of the prediction), ``nll``, ``rank`` (how
    many classes come before the true one) and ``correct``. Of equal logits the class with the lower index comes first.
    An image with a NaN among its logits is wrong, with rank C and the prediction -1, which has no column in
    ``confusion``; ``nll`` and ``ece`` are then NaN.

    Args:
        num_classes: at least 2.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, not {num_classes}")
        self.num_classes = num_classes

    def record(self, predictions: ClassificationPredictions, batch: ClassificationBatch) -> dict[str, Tensor]:
        """What the class says under ``records``, ``(B,)`` each."""
        logits, labels = predictions["logits"].float(), batch["labels"]
        _check_classes(logits, self.num_classes)
        log_softmax = logits.log_softmax(dim=1)
        first = logits.argmax(dim=1)
        ranks = rank_of_label(logits, labels)
        return {
            "label": labels,
            "prediction": first.where(~logits.isnan().any(dim=1), -1),
            "confidence": log_softmax.gather(1, first[:, None])[:, 0].exp(),
            "nll": -log_softmax.gather(1, labels[:, None])[:, 0],
            "rank": ranks,
            "correct": ranks == 0,
        }

    def evaluate(self, records: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the class says under ``compute``."""
        labels, correct = records["label"], records["correct"]
        images_per_class = torch.bincount(labels, minlength=self.num_classes)
        return {
            "top1": _mean(correct),
            **({"top5": _mean(records["rank"] < 5)} if self.num_classes > 5 else {}),
            "nll": _mean(records["nll"]),
            "ece": expected_calibration_error(records["confidence"], correct),
            "accuracy_per_class": torch.bincount(labels, correct.double(), self.num_classes) / images_per_class,
            "confusion": confusion_matrix(labels, records["prediction"], self.num_classes),
        }


class MultiLabel(ByImage):
    """Metrics of images with any number of labels each, some of which may be unknown.

    ``compute`` gives ``average_precision_per_class``, ``(C,)`` ``float64``, over the images whose label is known, NaN
    for a class without positives among them; ``mAP``, its mean over the other classes; and ``nll``, the binary
    cross-entropy (nats) averaged over all known labels.

    ``records`` holds ``labels`` and ``logits``, ``(N, C)`` sparse tensors of the known labels alone (of thousands of
    classes an image has few), and ``nll``, each image's mean over its known labels (NaN if it has none). In the order
    by score, a NaN logit comes last.

    Args:
        num_classes: at least 1.
        area: which area under the precision-recall curve is the average precision.
    """

    def __init__(self, num_classes: int, area: Area = step_area) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {num_classes}")
        self.num_classes, self.area = num_classes, area

    def record(self, predictions: ClassificationPredictions, batch: ClassificationBatch) -> dict[str, Tensor]:
        """What the class says under ``records``, ``(B, ...)`` each."""
        logits, labels = predictions["logits"].float(), batch["labels"]
        _check_classes(logits, self.num_classes)
        known = ~labels.isnan()
        each = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0), reduction="none")
        return {
            "labels": _sparse(labels, known),
            "logits": _sparse(logits, known),
            "nll": each.where(known, 0).sum(dim=1) / known.sum(dim=1),
        }

    def evaluate(self, records: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the class says under ``compute``."""
        logits, labels = records["logits"].coalesce(), records["labels"].coalesce()  # brings both into one order
        images, classes = labels.indices()
        by_class = classes.argsort(stable=True)
        counts = classes.bincount(minlength=self.num_classes).tolist()
        scores, positive = (torch.split(one[by_class], counts) for one in (logits.values(), labels.values() > 0))
        precisions = torch.stack([average_precision(*one, self.area) for one in zip(scores, positive, strict=True)])
        known_per_image = images.bincount(minlength=len(labels))
        total = (records["nll"].double() * known_per_image)[known_per_image > 0].numpy().sum()
        return {
            "mAP": _mean(precisions[~precisions.isnan()]),
            "nll": torch.tensor(total, dtype=torch.float64) / known_per_image.sum(),
            "average_precision_per_class": precisions,
        }


def rank_of_label(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes come before the true one: 0 if the prediction is right, less than k if the top k hold the label.

    Args:
        logits: ``(B, C)``.
        labels: ``(B,)`` ``int64`` in ``0..C-1``.

    Returns:
        ``(B,)`` ``int64`` in ``0..C``. Of equal logits the lower index comes first, as for ``argmax``; C where a logit
        of the image is NaN.
    """
    true = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    ranks = ((logits > true) | ((logits == true) & earlier)).sum(dim=1)
    return ranks.where(~logits.isnan().any(dim=1), logits.shape[1])


def expected_calibration_error(confidences: Tensor, correct: Tensor, bins: int = 15) -> Tensor:
    """How far confidence is from accuracy, on average over bins of confidence of equal width.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3; bin m is ((m - 1) / M, m / M].

    Args:
        confidences: ``(N,)`` in [0, 1], of the predictions.
        correct: ``(N,)`` ``bool``, whether each prediction is right.
        bins: M.

    Returns:
        A ``float64`` scalar in [0, 1]; NaN if a confidence is, or if there are no images.
    """
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    members = torch.bucketize(confidences.double(), edges)  # NaN goes into the last bin
    gaps = torch.bincount(members, weights=correct.double() - confidences.double(), minlength=bins)
    return gaps.abs().sum() / len(confidences)


def confusion_matrix(labels: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Count the images of each true class (rows) by predicted class (columns).

    Args:
        labels: ``(N,)`` ``int64`` in ``0..C-1``.
        predictions: ``(N,)`` ``int64`` in ``0..C-1``, or -1 for none, which is not counted.
        num_classes: C.

    Returns:
        ``(C, C)`` ``int64``.
    """
    cells = (labels * num_classes + predictions)[predictions >= 0]
    return torch.bincount(cells, minlength=num_classes**2).view(num_classes, num_classes)


def average_precision(scores: Tensor, positive: Tensor, area: Area = step_area) -> Tensor:
    """The area under the precision-recall curve, on which equal scores share a threshold.

    Args:
        scores: ``(N,)``; NaN counts as the lowest.
        positive: ``(N,)`` ``bool``.
        area: which area: without interpolation, as scikit-learn has it, by default.

    Returns:
        A ``float64`` scalar; NaN if nothing is positive.
    """
    if not positive.any():
        return torch.tensor(torch.nan, dtype=torch.float64)
    scores, order = scores.nan_to_num(-torch.inf, torch.inf, -torch.inf).sort(descending=True)
    last_of_ties = torch.ones_like(positive)
    last_of_ties[:-1] = scores.diff() != 0
    true = positive[order].cumsum(0)[last_of_ties].numpy()
    taken = last_of_ties.nonzero()[:, 0].numpy() + 1
    return torch.tensor(area(true / taken, true / true[-1]), dtype=torch.float64)


def _sparse(values: Tensor, known: Tensor) -> Tensor:
    """Keep the known entries, zeros among them."""
    return torch.sparse_coo_tensor(known.nonzero().T, values[known], values.shape, check_invariants=True)


def _mean(values: Tensor) -> Tensor:
    """Mean in float64, by numpy, whose sum does not depend on the number of threads. NaN if there are no values."""
    return torch.tensor(values.numpy().mean(dtype=np.float64) if len(values) > 0 else torch.nan, dtype=torch.float64)


def _check_classes(logits: Tensor, num_classes: int) -> None:
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise ValueError(f"logits must be (B, {num_classes}) for {num_classes} classes, not {tuple(logits.shape)}")
