"""Segmentation: the class of each pixel."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.batch import VOID, SegmentationBatch, SegmentationPredictions, Step
from visionlab.losses.segmentation import CrossEntropy, Loss
from visionlab.tasks.base import LRSchedule, Task
from visionlab.tasks.inference import Inference, classes_of


class Segmentation(Task):
    """The class of each pixel, of two or more.

    Images are evaluated one at a time, at their own size, so that an image's result depends on no other.

    Args:
        num_classes: of the data set.
        net: makes the net, given the number of its outputs. For ``(B, channels, H, W)`` images in [0, 1] of any size it
            gives ``(B, outputs, H, W)`` logits, or, if it has no padding, those of the middle. In training it may give
            a list, of which the others after the first are those of auxiliary heads, as deep supervision has them.
        optimizer: makes the optimizer, given the parameters.
        lr_schedulers: learning-rate schedulers, if any. Papers' "poly" is torch's ``PolynomialLR`` by the step.
        losses: what is added up, by the names under which they are logged; cross-entropy alone if None.
        auxiliary_weight: what the losses of each auxiliary head are multiplied by.
        binary: whether the net has one output for two classes: the second where it is positive.
        inference: how images are evaluated and predicted if not at once. Their losses are then not known.
    """

    ragged = True

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        lr_schedulers: Sequence[LRSchedule] = (),
        losses: dict[str, Loss] | None = None,
        auxiliary_weight: float = 0.5,
        binary: bool = False,
        inference: Inference | None = None,
    ) -> None:
        if binary and num_classes != 2:
            raise ValueError(f"binary segmentation is of 2 classes, and the data has {num_classes}")
        self.outputs = 1 if binary else num_classes
        super().__init__(num_classes, lambda _: net(self.outputs), optimizer, lr_schedulers)
        self.criteria = {"cross_entropy": CrossEntropy()} if losses is None else losses
        if not self.criteria or "auxiliary" in self.criteria:
            raise ValueError(f"losses must be at least one, and none be called auxiliary; not {list(self.criteria)}")
        self.auxiliary_weight, self.inference = auxiliary_weight, inference

    def step(self, batch: SegmentationBatch) -> Step:
        images, masks = batch["images"], batch.get("masks")
        if masks is not None:
            check_labels(masks, batch["ids"], self.num_classes)
        if isinstance(images, Tensor):
            assert masks is None or isinstance(masks, Tensor)
            return self._step_at_once(images, masks)
        if self.inference is not None:
            way = self.inference
            return Step({}, lambda: [{"mask": way(lambda window: self.logits(window)[0], one)} for one in images])
        steps = [
            self._step_at_once(image[None], None if masks is None else masks[i][None]) for i, image in enumerate(images)
        ]
        losses = {name: torch.cat([step.losses[name] for step in steps]) for name in steps[0].losses}
        return Step(losses, lambda: [found for step in steps for found in step.predict()])

    def _step_at_once(self, images: Tensor, masks: Tensor | None) -> Step:
        logits, *auxiliary = self.logits(images)
        losses = {}
        if masks is not None:
            losses = self._losses(logits, masks)
            for one in auxiliary:
                further = torch.stack(list(self._losses(one, masks).values())).sum(0) * self.auxiliary_weight
                losses["auxiliary"] = losses["auxiliary"] + further if "auxiliary" in losses else further

        def predict() -> list[SegmentationPredictions]:
            if logits.shape[2:] != images.shape[2:]:
                sizes = " of ".join(" x ".join(map(str, one.shape[2:])) for one in (logits, images))
                raise ValueError(
                    f"the net tells the classes of {sizes} pixels: set the task's inference to OverlapTile"
                )
            return [{"mask": classes_of(one)} for one in logits.detach()]

        return Step(losses, predict)

    def logits(self, images: Tensor) -> list[Tensor]:
        """What the net gives: of its main output, and of its auxiliary heads; two classes where it has one output."""
        outputs = self.net(images)
        logits = [one.float() for one in ([outputs] if isinstance(outputs, Tensor) else outputs)]
        for one in logits:
            if one.ndim != 4 or one.shape[1] != self.outputs:
                expected = f"({len(images)}, {self.outputs}, H, W)"
                raise ValueError(f"the net must give {expected} logits, not {tuple(one.shape)}")
        if self.outputs < self.num_classes:  # the softmax of 0 and x is the sigmoid of x
            logits = [torch.cat([torch.zeros_like(one), one], dim=1) for one in logits]
        return logits

    def _losses(self, logits: Tensor, masks: Tensor) -> dict[str, Tensor]:
        counted = middle(masks, *logits.shape[2:]).long()
        return {name: loss.weight * loss(logits, counted) for name, loss in self.criteria.items()}


def middle(masks: Tensor, height: int, width: int) -> Tensor:
    """The middle of masks ``(B, H, W)``, for which a net without padding gives logits.

    Raises:
        ValueError: if it is larger than the masks.
    """
    if height > masks.shape[1] or width > masks.shape[2]:
        raise ValueError(f"the net gives logits of {height} x {width} pixels for masks of {tuple(masks.shape[1:])}")
    top, left = (masks.shape[1] - height) // 2, (masks.shape[2] - width) // 2
    return masks[:, top : top + height, left : left + width]


def check_labels(masks: Sequence[Tensor] | Tensor, ids: Tensor, num_classes: int) -> None:
    """Refuse labels that are no class's.

    Raises:
        ValueError: names the image, by its position in the split, and the label.
    """
    unknown = [(mask >= num_classes) & (mask != VOID) for mask in masks]
    wrong = torch.stack([one.any() for one in unknown])
    if wrong.any():  # once a batch, for it waits for the device
        at = int(wrong.nonzero()[0])
        label = int(masks[at][unknown[at]][0])
        raise ValueError(
            f"the mask of image {int(ids[at])} has label {label}; labels are 0..{num_classes - 1}, or {VOID} for void"
        )
