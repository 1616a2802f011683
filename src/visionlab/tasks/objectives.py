"""What an attack raises: a task before a batch, as attacks see it.

The losses of detection are those of TOG (Chow et al. 2020, "Adversarial Objectness Gradient Attacks in Real-time Object
Detection Systems", section 3), which need nothing of a detector but the losses that it is trained by, told other
objects than are there: so they serve every one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.ssd import SSD

from visionlab.attacks.losses import cross_entropy, dlr, margin
from visionlab.attacks.model import Classifier, Model
from visionlab.batch import VOID, DetectionTarget
from visionlab.tasks.base import Task
from visionlab.tasks.classification import Classification
from visionlab.tasks.segmentation import Segmentation, middle

Losses = Callable[[Task, Any], Tensor]
"""``(B,)``, one loss an image, of a task for a batch."""


@dataclass(frozen=True, eq=False)
class Victim:
    """A task of any kind before a batch: :class:`visionlab.attacks.model.Model`.

    Args:
        task: in evaluation mode, its parameters frozen.
        batch: of the task. Its images are not looked at; where they are a list, it is of one image.
        of_batch: the losses that are raised.
    """

    task: Task
    batch: Any
    of_batch: Losses

    @property
    def ids(self) -> Tensor:
        """``(n,)``."""
        ids: Tensor = self.batch["ids"]
        return ids

    def losses(self, images: Tensor) -> Tensor:
        """One loss an image, ``(n,)``."""
        return self.of_batch(self.task, self._with(images)).float()

    def pixels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See :func:`pixel_losses`."""
        return pixel_losses(self.task, self._with(images))

    def at(self, chosen: Tensor) -> Self:
        """The same before some of the images."""
        return replace(self, batch=subset(self.batch, chosen.tolist()))

    def _with(self, images: Tensor) -> Any:
        stacked = isinstance(self.batch["images"], Tensor)
        return {**self.batch, "images": images if stacked else list(images)}


class Objective(ABC):
    """What an attack raises."""

    @abstractmethod
    def __call__(self, task: Task, batch: Any) -> Model:
        """The task before a batch, as the attack sees it.

        Args:
            task: in evaluation mode, its parameters frozen.
            batch: of the task, images float32 in [0, 1]. Where they are a list, it is of one image.

        Raises:
            ValueError: if the objective is not for this kind of task.
        """


@dataclass(frozen=True)
class ClassLoss(Objective):
    """A loss of the logits of images with one label each.

    Args:
        loss: see :mod:`visionlab.attacks.losses`.
        shift: None for any other class; or what is added to a label to give the one that the image is to be taken for,
            from C on counted from 0 again.
    """

    loss: Literal["cross_entropy", "margin", "dlr"] = "cross_entropy"
    shift: int | None = None

    def __call__(self, task: Task, batch: Any) -> Classifier:
        if not isinstance(task, Classification):
            raise ValueError(f"losses of logits are for images with one label each, not for {type(task).__name__}")
        loss = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}[self.loss]
        labels, ids, device = batch["labels"], batch["ids"], batch["labels"].device.type
        targets = None if self.shift is None else shifted(labels, self.shift, task.num_classes)
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32

        def logits(images: Tensor) -> Tensor:
            found: Tensor = task.step({"images": images, "ids": ids}).predict()["logits"]
            return found

        return Classifier(logits, labels, ids, loss, targets, precision)


@dataclass(frozen=True)
class OwnLoss(Objective):
    """The losses that the task is trained by, added up: whatever it is to do goes wrong."""

    def __call__(self, task: Task, batch: Any) -> Victim:
        return Victim(task, batch, own_losses)


@dataclass(frozen=True)
class Vanish(Objective):
    """Objects vanish: the loss of finding any falls (TOG, object-vanishing)."""

    def __call__(self, task: Task, batch: Any) -> Victim:
        told = {**batch, "targets": [_none(target) for target in _targets(batch)]}
        return Victim(task, told, lambda task, batch: -losses_of_none(task, batch))


@dataclass(frozen=True)
class Appear(Objective):
    """Objects appear: the loss of finding none rises (TOG, object-fabrication)."""

    def __call__(self, task: Task, batch: Any) -> Victim:
        return Victim(task, {**batch, "targets": [_none(target) for target in _targets(batch)]}, losses_of_none)


@dataclass(frozen=True)
class ChangeClass(Objective):
    """Objects stay where they are, and are taken for others: the loss of the same boxes with the labels of other
    classes falls (TOG, object-mislabeling). An image without objects keeps none.

    Args:
        shift: what is added to a label to give the one that it is taken for, from C on counted from 0 again.
    """

    shift: int = 1

    def __call__(self, task: Task, batch: Any) -> Victim:
        others = [{**t, "labels": shifted(t["labels"], self.shift, task.num_classes)} for t in _targets(batch)]
        return Victim(task, {**batch, "targets": others}, lambda task, batch: -own_losses(task, batch))


@dataclass(frozen=True)
class PixelCrossEntropy(Objective):
    """The mean cross-entropy of an image's pixels, whatever the task is trained by."""

    def __call__(self, task: Task, batch: Any) -> Victim:
        return Victim(task, batch, lambda task, batch: pixel_losses(task, batch)[0].flatten(1).mean(1))


def usual(task: Task) -> Objective:
    """The cross-entropy of images with one label each, else what the task is trained by."""
    return ClassLoss() if isinstance(task, Classification) else OwnLoss()


def own_losses(task: Task, batch: Any) -> Tensor:
    """``(B,)``, the losses that the task is trained by, added up.

    Raises:
        ValueError: if there are none, or those of the images cannot be told apart.
    """
    if len(batch["ids"]) > 1 and not isinstance(batch["images"], Tensor):
        raise ValueError("images of any sizes are attacked one at a time")
    losses = list(task.step(batch).losses.values())
    if not losses:
        raise ValueError(f"{type(task).__name__} has no losses to raise: are there no labels?")
    return torch.stack([loss.expand(len(batch["ids"])) for loss in losses]).sum(0)


def losses_of_none(task: Task, batch: Any) -> Tensor:
    """``(1,)``, the loss of finding objects in an image without any.

    That of SSD is 0, for of default boxes without an object it takes three for each with one; here it is the summed
    cross-entropy of the background in all of them.

    Args:
        task: of detection.
        batch: of one image, told to have no object.
    """
    ssd = next((module for module in task.net.modules() if isinstance(module, SSD)), None)
    if ssd is None:
        return own_losses(task, batch)
    seen: list[Tensor] = []
    hook = ssd.head.register_forward_hook(lambda module, args, outputs: seen.append(outputs["cls_logits"].float()))
    try:
        task.step(batch)
    finally:
        hook.remove()
    logits = seen[0].transpose(1, 2)
    return F.cross_entropy(
        logits, logits.new_zeros(len(logits), logits.shape[2], dtype=torch.int64), reduction="none"
    ).sum(1)


def pixel_losses(task: Task, batch: Any) -> tuple[Tensor, Tensor]:
    """The cross-entropy of each pixel, ``(B, H, W)``, 0 where it is void; and which are classified wrongly.

    Raises:
        ValueError: if the task is no segmentation.
    """
    if not isinstance(task, Segmentation):
        raise ValueError(f"losses of pixels are for segmentation, not for {type(task).__name__}")
    logits = task.logits(batch["images"])[0]
    masks = middle(batch["masks"], *logits.shape[2:]).long()
    losses = F.cross_entropy(logits, masks, ignore_index=VOID, reduction="none")
    return losses, (logits.argmax(1) != masks) & (masks != VOID)


def subset(batch: Any, indices: list[int]) -> Any:
    """Some images of a batch, in that order."""
    return {
        name: value[indices] if isinstance(value, Tensor) else [value[i] for i in indices]
        for name, value in batch.items()
    }


def shifted(labels: Tensor, shift: int, num_classes: int) -> Tensor:
    """Other labels.

    Raises:
        ValueError: if they would be the same.
    """
    if shift % num_classes == 0:
        raise ValueError(f"a shift of {shift} takes each of {num_classes} classes for itself")
    return (labels + shift) % num_classes


def _targets(batch: Any) -> list[DetectionTarget]:
    if "targets" not in batch:
        raise ValueError("only objects can vanish, appear or change class, and this batch has none: it is no detection")
    targets: list[DetectionTarget] = batch["targets"]
    return targets


def _none(target: DetectionTarget) -> DetectionTarget:
    return {name: value[:0] for name, value in target.items()}  # type: ignore[return-value,index]
