"""Localization: what the one object of an image is, and where."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torchvision.ops import box_convert, generalized_box_iou_loss

from visionlab.batch import LocalizationBatch, Step
from visionlab.tasks.base import LRSchedule, Task
from visionlab.tasks.classification import class_logits


class Localization(Task):
    """One class and one box an image: cross-entropy, and the generalized IoU loss (Rezatofighi et al. 2019) of the box.

    Any classifier serves as the net: it is made with four more outputs than there are classes, which are the centre and
    the size of a box that all classes share (single-class regression: Simonyan and Zisserman 2015, appendix A.1), each
    through a sigmoid, as a share of the image. Of several true boxes the one that costs least counts.

    Args:
        num_classes: of the data set.
        net: makes the net, given the number of outputs; it gives ``(B, num_classes + 4)`` for ``(B, channels, H, W)``
            images in [0, 1].
        optimizer: makes the optimizer, given the parameters.
        lr_schedulers: learning-rate schedulers, if any.
        box_weight: of the loss of the box, beside that of the class.
    """

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        lr_schedulers: Sequence[LRSchedule] = (),
        box_weight: float = 1.0,
    ) -> None:
        super().__init__(num_classes, lambda classes: net(classes + 4), optimizer, lr_schedulers)
        self.box_weight = box_weight

    def step(self, batch: LocalizationBatch) -> Step:
        images = batch["images"]
        outputs = class_logits(self.net, images, self.num_classes + 4)
        logits, boxes = outputs[:, : self.num_classes], decode(outputs[:, self.num_classes :], images)
        losses = {}
        if "labels" in batch:
            losses["cross_entropy"] = F.cross_entropy(logits, batch["labels"], reduction="none")
            losses["box"] = self.box_weight * best_box_loss(boxes, batch["boxes"])
        return Step(losses, lambda: {"logits": logits, "scores": logits.softmax(1), "boxes": boxes})


def decode(outputs: Tensor, images: Tensor) -> Tensor:
    """Turn ``(B, 4)`` outputs of any size into ``(B, 4)`` boxes in the images: left, top, right, bottom in pixels."""
    height, width = images.shape[-2:]
    corners: Tensor = box_convert(outputs.sigmoid(), "cxcywh", "xyxy").clamp(0, 1)
    return corners * corners.new_tensor([width, height, width, height])


def best_box_loss(boxes: Tensor, truths: Sequence[Tensor]) -> Tensor:
    """The generalized IoU loss of each box beside the best of its true boxes.

    Args:
        boxes: ``(B, 4)``, left, top, right, bottom.
        truths: of each image ``(n, 4)``; n may be 0, which costs nothing.

    Returns:
        ``(B,)`` in [0, 2].
    """
    counts = torch.tensor([len(truth) for truth in truths], device=boxes.device)
    image = torch.arange(len(boxes), device=boxes.device).repeat_interleave(counts)
    each = generalized_box_iou_loss(boxes[image], torch.cat([truth.to(boxes) for truth in truths]))
    best = boxes.new_full((len(boxes),), torch.inf).scatter_reduce(0, image, each, "amin")
    return best.where(counts > 0, 0)
