"""Metrics of localization, as ILSVRC has them."""

import torch
from torch import Tensor
from torchvision.ops import box_iou

from visionlab.batch import LocalizationBatch, LocalizationPredictions
from visionlab.metrics.by_image import ByImage
from visionlab.metrics.classification import rank_of_label


class Localization(ByImage):
    """How often class and box are both right (Russakovsky et al. 2015, section 4.2): the label is among the first one
    or five, and the box and a true one overlap with an intersection over union of at least a half.

    ``compute`` gives, in ``float64``, the shares of images in which that is so, ``top1`` and ``top5`` (the errors that
    papers quote are one less these); ``top1_class`` and ``top5_class``, where only the class counts; ``known_class``,
    where only the box does (Choe et al. 2020, section 3.1: GT-known); and ``iou``, the mean over the images.

    ``records`` holds ``label``, ``prediction``, ``confidence``, ``rank``, ``iou`` (with the best of the true boxes) and
    ``correct``, that of ``top1``. Images without a true box are wrong.

    Args:
        num_classes: at least 2.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, not {num_classes}")
        self.num_classes = num_classes

    def record(self, predictions: LocalizationPredictions, batch: LocalizationBatch) -> dict[str, Tensor]:
        """What the class says under ``records``, ``(B,)`` each."""
        logits, labels = predictions["logits"], batch["labels"]
        confidence, first = predictions["scores"].max(dim=1)
        pairs = zip(predictions["boxes"], batch["boxes"], strict=True)
        ious = [box_iou(box[None].double(), truth.double()).flatten() for box, truth in pairs]
        iou = torch.stack([one.max() if len(one) > 0 else one.new_zeros(()) for one in ious])
        rank = rank_of_label(logits, labels)
        return {
            "label": labels,
            "prediction": first,
            "confidence": confidence,
            "rank": rank,
            "iou": iou,
            "correct": (rank == 0) & (iou >= 0.5),
        }

    def evaluate(self, records: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the class says under ``compute``."""
        rank, there = records["rank"], records["iou"] >= 0.5
        shares = {
            "top1": (rank < 1) & there,
            "top5": (rank < 5) & there,
            "top1_class": rank < 1,
            "top5_class": rank < 5,
            "known_class": there,
        }
        means = {name: torch.tensor(share.numpy().mean()) for name, share in shares.items()}
        return {**means, "iou": torch.tensor(records["iou"].numpy().mean())}
