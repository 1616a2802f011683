"""Image classification, with one label an image or with many."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from visionlab.batch import ClassificationBatch, Step
from visionlab.tasks.base import LRSchedule, Task


class Classification(Task):
    """One label an image: softmax and cross-entropy.

    Args:
        num_classes: of the data set.
        net: makes the net, which gives ``(B, num_classes)`` logits for ``(B, channels, H, W)`` images in [0, 1].
        optimizer: makes the optimizer, given the parameters.
        lr_schedulers: learning-rate schedulers, if any.
        label_smoothing: in [0, 1) (Szegedy et al. 2016, section 7).
    """

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        lr_schedulers: Sequence[LRSchedule] = (),
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(num_classes, net, optimizer, lr_schedulers)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), not {label_smoothing}")
        self.label_smoothing = label_smoothing

    def step(self, batch: ClassificationBatch) -> Step:
        logits = class_logits(self.net, batch["images"], self.num_classes)
        losses = {}
        if "labels" in batch:
            losses["cross_entropy"] = F.cross_entropy(
                logits, batch["labels"], reduction="none", label_smoothing=self.label_smoothing
            )
        return Step(losses, lambda: {"logits": logits, "scores": logits.softmax(1)})


class MultiLabelClassification(Task):
    """Any number of labels an image: a sigmoid and binary cross-entropy for each class, averaged over the classes whose
    label is known.

    Args:
        num_classes: of the data set.
        net: makes the net, which gives ``(B, num_classes)`` logits for ``(B, channels, H, W)`` images in [0, 1].
        optimizer: makes the optimizer, given the parameters.
        lr_schedulers: learning-rate schedulers, if any.
    """

    def step(self, batch: ClassificationBatch) -> Step:
        logits = class_logits(self.net, batch["images"], self.num_classes)
        losses = {}
        if "labels" in batch:
            known = ~batch["labels"].isnan()
            each = F.binary_cross_entropy_with_logits(logits, torch.nan_to_num(batch["labels"]), reduction="none")
            losses["binary_cross_entropy"] = (each * known).sum(1) / known.sum(1).clamp(min=1)
        return Step(losses, lambda: {"logits": logits, "scores": logits.sigmoid()})


def class_logits(net: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    """The net's logits, in float32 whatever the precision it ran in.

    Raises:
        ValueError: if they are not ``(B, num_classes)``.
    """
    logits = net(images)
    if logits.shape != (len(images), num_classes):
        raise ValueError(
            f"the net {type(net).__name__} gave an output of shape {tuple(logits.shape)} for {len(images)} images; "
            f"the data set has {num_classes} classes, so it must be ({len(images)}, {num_classes})"
        )
    return logits.float()  # type: ignore[no-any-return]
