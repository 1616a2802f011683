"""Detection: what the objects in an image are, and where; with their masks, or their keypoints."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from visionlab.batch import DetectionBatch, DetectionTarget, Step
from visionlab.tasks.base import Task

TO_LEARN = ("boxes", "labels", "masks", "keypoints", "iscrowd")
"""What nets are told of the objects: not what only metrics read."""


class Detection(Task):
    """Boxes, boxes with masks, or boxes with keypoints: whatever the net and the data have.

    Losses are scalars over a batch. What they are made of:

    - crowds (``iscrowd``) are told to the net, which takes them neither for objects nor for background: see
      :mod:`visionlab.nets.detection`;
    - ``difficult`` objects are learnt like the others, as SSD's authors (``use_difficult_gt``) and Detectron2
      (``pascal_voc.py``) do; VOC's metrics do not count them;
    - boxes without height or width, which cannot be learnt, are left out.

    Args:
        num_classes: of the data set.
        net: makes the net, given ``num_classes``. For a list of ``(3, H, W)`` images in [0, 1] and one
            :class:`visionlab.batch.DetectionTarget` each, or None, it gives a dict of losses, and a function that gives
            one :class:`visionlab.batch.DetectionPredictions` an image: see
            :class:`visionlab.nets.torchvision_detection.Detector`.
        optimizer: makes the optimizer, given the parameters.
        lr_schedulers: learning-rate schedulers, if any.
    """

    ragged = True

    def step(self, batch: DetectionBatch) -> Step:
        images = batch["images"]
        if images[0].dtype.itemsize < 4:
            raise ValueError(f"boxes need float32 images: use precision 32-true or {_mixed(images[0].dtype)}")
        targets = None
        if "targets" in batch:
            check_labels(batch["targets"], batch["ids"], self.num_classes)
            targets = [_to_learn(target) for target in batch["targets"]]
        losses, predict = self.net(images, targets)
        return Step(losses, predict)


def check_labels(targets: Sequence[DetectionTarget], ids: Tensor, num_classes: int) -> None:
    """Refuse labels that are no class's.

    Raises:
        ValueError: names the image, by its position in the split, and the label.
    """
    labels = torch.cat([target["labels"] for target in targets])
    unknown = (labels < 0) | (labels >= num_classes)
    if unknown.any():  # once a batch, for it waits for the device
        counts = torch.tensor([len(target["labels"]) for target in targets])
        at = int(unknown.nonzero()[0])
        image = int(ids[int(torch.searchsorted(counts.cumsum(0), at, right=True))])
        raise ValueError(f"image {image} has an object with label {int(labels[at])}; labels are 0..{num_classes - 1}")


def _to_learn(target: DetectionTarget) -> DetectionTarget:
    """The objects that have a height and a width."""
    boxes = target["boxes"]
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return cast(DetectionTarget, {name: cast(Any, target)[name][real] for name in TO_LEARN if name in target})


def _mixed(dtype: torch.dtype) -> str:
    return "bf16-mixed" if dtype == torch.bfloat16 else "16-mixed"
