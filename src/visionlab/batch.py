"""The contract between data, tasks, metrics and attacks: every batch, target and prediction.

Shapes, dtypes, units and ranges are written here and nowhere else. ``B`` is the number of images in a batch, ``C`` the
number of classes, ``H`` and ``W`` height and width.

Images travel as ``uint8`` (or ``uint16``), in RGB order or with one channel, and become float in [0, 1] once, on the
device, by :func:`to_unit`. The dtype says the scale; nothing else does. Nets own their normalisation.

Every batch is a mapping, because collation, pinning and the transfer to a device handle mappings, and carries ``ids``:
the position of each image in its split, or :data:`PADDING` for an image that was repeated only to give every process
equally many batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

PADDING = -1
"""The id of an image that evaluation must not count."""

VOID = 255
"""The class of a pixel that counts neither in losses nor in metrics."""


class ClassificationBatch(TypedDict):
    """Images of one size, each with one label or with a row of labels.

    images: ``(B, channels, H, W)``, ``uint8`` while travelling, float in [0, 1] in a task.
    labels: ``(B,)`` ``int64`` in ``0..C-1`` (single-label), or ``(B, C)`` ``float32`` of 0, 1 and NaN for unknown
        (multi-label); absent where there is no truth.
    ids: ``(B,)`` ``int64``.
    """

    images: Tensor
    labels: NotRequired[Tensor]
    ids: Tensor


class ImageBatch(TypedDict):
    """Images of one size and nothing about them, as generation and prediction want.

    images: ``(B, channels, H, W)``, ``uint8`` while travelling, float in [0, 1] in a task.
    ids: ``(B,)`` ``int64``.
    """

    images: Tensor
    ids: Tensor


class PairedBatch(ImageBatch):
    """Images of one size, each with the image that is to be made from it.

    target_images: ``(B, channels, H, W)``, ``uint8``.
    """

    target_images: Tensor


class UnpairedBatch(ImageBatch):
    """Images of one size, and images of another kind that have nothing to do with them.

    other_images: ``(B, channels, h, w)``, ``uint8``.
    """

    other_images: Tensor


class LocalizationBatch(TypedDict):
    """Images of one size, each of one class, with all boxes of that class.

    images: ``(B, channels, H, W)``, ``uint8`` while travelling, float in [0, 1] in a task.
    labels: ``(B,)`` ``int64`` in ``0..C-1``.
    boxes: of each image ``(n, 4)`` ``float32``, left, top, right and bottom in pixels of the image; n may be 0.
    ids: ``(B,)`` ``int64``.
    """

    images: Tensor
    labels: Tensor
    boxes: list[Tensor]
    ids: Tensor


class DetectionTarget(TypedDict):
    """The objects in one image, under torchvision's and torchmetrics' names; n may be 0.

    boxes: ``(n, 4)`` ``float32``, left, top, right and bottom in pixels; they live between pixels.
    labels: ``(n,)`` ``int64`` in ``0..C-1``: no background class.
    iscrowd: ``(n,)`` ``bool``, a region of many objects rather than one.
    difficult: ``(n,)`` ``bool``, not counted by VOC's metrics.
    ids: ``(n,)`` ``int64``, the data set's own.
    area: ``(n,)`` ``float64``, in pixels, as the data set has it.
    xywh: ``(n, 4)`` ``float64``, the boxes as the data set's own left, top, width and height.
    masks: ``(n, H, W)`` ``uint8``, 1 inside.
    keypoints: ``(n, K, 3)`` ``float32``: x, y and visibility (0 not labelled, 1 hidden, 2 visible).
    """

    boxes: Tensor
    labels: Tensor
    iscrowd: NotRequired[Tensor]
    difficult: NotRequired[Tensor]
    ids: NotRequired[Tensor]
    area: NotRequired[Tensor]
    xywh: NotRequired[Tensor]
    masks: NotRequired[Tensor]
    keypoints: NotRequired[Tensor]


class DetectionBatch(TypedDict):
    """Images of any sizes, with their objects.

    images: ``(channels, H, W)`` each, ``uint8`` while travelling, float in [0, 1] in a task.
    targets: one an image; absent where there is no truth.
    labels: ``(B, C)`` ``float32`` of 1, 0 and NaN: the classes that people verified to be in the image, or not to be;
        of data sets that do not annotate every class in every image.
    ids: ``(B,)`` ``int64``.
    """

    images: list[Tensor]
    targets: NotRequired[list[DetectionTarget]]
    labels: NotRequired[Tensor]
    ids: Tensor


class SegmentationBatch(TypedDict):
    """Images with the class of each pixel: of one size in training, of any sizes in evaluation.

    images: ``(B, channels, H, W)``, or a list of ``(channels, H, W)``; ``uint8`` while travelling, float in [0, 1] in a
        task.
    masks: ``(B, H, W)``, or a list of ``(H, W)``: ``0..C-1``, or 255 for pixels that do not count; ``uint8`` while
        travelling. Absent where there is no truth.
    ids: ``(B,)`` ``int64``.
    """

    images: Tensor | list[Tensor]
    masks: NotRequired[Tensor | list[Tensor]]
    ids: Tensor


class ClassificationPredictions(TypedDict):
    """logits: ``(B, C)`` ``float32``. scores: ``(B, C)`` ``float32`` in [0, 1]; rows sum to 1 in single-label
    classification.
    """

    logits: Tensor
    scores: Tensor


class LocalizationPredictions(ClassificationPredictions):
    """logits, scores: as in classification. boxes: ``(B, 4)`` ``float32``, left, top, right and bottom of the one
    object, in pixels of the image.
    """

    boxes: Tensor


class DetectionPredictions(TypedDict):
    """The objects found in one image, by falling score, under torchvision's and torchmetrics' names; n may be 0.

    boxes: ``(n, 4)`` ``float32``, left, top, right and bottom in pixels of the image; they live between pixels.
    scores: ``(n,)`` ``float32`` in [0, 1].
    labels: ``(n,)`` ``int64`` in ``0..C-1``.
    masks: ``(n, H, W)`` ``uint8``, 1 inside.
    keypoints: ``(n, K, 3)`` ``float32``: x, y and 1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: NotRequired[Tensor]
    keypoints: NotRequired[Tensor]


class SegmentationPredictions(TypedDict):
    """The class of each pixel of one image.

    mask: ``(H, W)`` ``uint8``, in ``0..C-1``, of the size of the image's own mask.
    """

    mask: Tensor


class GenerationPredictions(TypedDict):
    """images: ``(B, channels, H, W)`` ``float32`` in [0, 1]."""

    images: Tensor


@dataclass(frozen=True)
class Step:
    """What a task makes of one batch, in training, evaluation, prediction and attack alike.

    losses: by name, each ``(B,)`` with one loss an image, or a scalar over the batch where a loss cannot be told apart
        by image. Differentiable with respect to the images. Empty if the batch has no targets. Their means add up to
        the training loss.
    predict: gives the predictions for the batch, sharing the forward pass that gave the losses. Called only if they are
        wanted.
    ids: of the predictions, where they are not of the images of the batch, as of those that are generated.
    """

    losses: dict[str, Tensor]
    predict: Callable[[], Any]
    ids: Tensor | None = None


def to_unit(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bring images to float in [0, 1].

    Args:
        images: any shape; ``uint8`` is divided by 255, ``uint16`` by 65535, floating point is only cast.
        dtype: a floating point dtype.

    Raises:
        TypeError: if the dtype of the images does not say their scale.
    """
    if images.dtype == torch.uint8:
        return images.to(dtype) / 255
    if images.dtype == torch.uint16:
        return (images.to(torch.float32) / 65535).to(dtype)
    if images.is_floating_point():
        return images.to(dtype)
    raise TypeError(f"images must be uint8, uint16 or floating point, not {images.dtype}")
