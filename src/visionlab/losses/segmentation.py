"""Losses of the class of each pixel: pure functions, and classes that a recipe names.

All take logits ``(B, C, H, W)``, floating point, and masks ``(B, H, W)`` ``int64`` of ``0..C-1``, or 255 for void,
which counts nowhere; and give ``(B,)``, one loss an image: 0 for an image that is all void.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.batch import VOID


def cross_entropy(logits: Tensor, masks: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """The cross-entropy, of which the mean over the batch is the weighted mean over all pixels of the batch, as
    :func:`torch.nn.functional.cross_entropy` has it.

    Args:
        logits: see above.
        masks: likewise.
        class_weights: ``(C,)``.
    """
    nll = F.cross_entropy(logits, masks, class_weights, ignore_index=VOID, reduction="none")
    counted = masks != VOID
    total = (counted if class_weights is None else class_weights[masks.where(counted, 0)] * counted).sum()
    return nll.flatten(1).sum(1) * (len(masks) / total.where(total > 0, 1))


def focal(logits: Tensor, masks: Tensor, gamma: float = 2.0, class_weights: Tensor | None = None) -> Tensor:
    """The focal loss (Lin et al. 2017, equation 5) of the softmax; its mean over the batch is that over all pixels.

    Args:
        logits: see above.
        masks: likewise.
        gamma: how much less the pixels that are classified surely count, at least 0.
        class_weights: ``(C,)``, the alpha of each class.
    """
    nll = F.cross_entropy(logits, masks, ignore_index=VOID, reduction="none")
    counted = masks != VOID
    loss = (1 - (-nll).exp()) ** gamma * nll
    if class_weights is not None:
        loss = loss * class_weights[masks.where(counted, 0)]
    return loss.flatten(1).sum(1) * (len(masks) / counted.sum().clamp(min=1))


def dice(logits: Tensor, masks: Tensor, smooth: float = 1.0) -> Tensor:
    """One less the soft Dice coefficient, the mean over the classes that an image has (Milletari et al. 2016, V-Net,
    section 3, with plain sums for squares as Drozdzal et al. 2016).

    Args:
        logits: see above.
        masks: likewise.
        smooth: added to numerator and denominator, in pixels.
    """
    scores = logits.softmax(1) * (masks != VOID)[:, None]
    true = masks[:, None] == torch.arange(logits.shape[1], device=masks.device)[:, None, None]  # void is none of them
    both = (scores * true).flatten(2).sum(2)
    sizes = true.flatten(2).sum(2)
    losses = 1 - (2 * both + smooth) / (scores.flatten(2).sum(2) + sizes + smooth)
    present = sizes > 0
    return (losses * present).sum(1) / present.sum(1).clamp(min=1)


def lovasz_softmax(logits: Tensor, masks: Tensor) -> Tensor:
    """The Lovasz-Softmax, a convex surrogate of one less the mean IoU, over the classes that an image has (Berman,
    Triki and Blaschko 2018, equations 9 and 11; "present" and "per image" in the authors' code).

    Args:
        logits: see above.
        masks: likewise.
    """
    scores = logits.softmax(1)
    return torch.stack([_lovasz_of_image(*one) for one in zip(scores, masks, strict=True)])


def _lovasz_of_image(scores: Tensor, mask: Tensor) -> Tensor:
    counted = mask != VOID
    scores, labels = scores[:, counted], mask[counted]
    present = torch.unique(labels)
    if len(present) == 0:
        return scores.sum()  # 0, with a gradient
    true = (labels == present[:, None]).to(scores.dtype)  # (classes, pixels)
    errors, order = (true - scores[present]).abs().sort(dim=1, descending=True)
    true = true.gather(1, order)
    size = true.sum(1, keepdim=True)
    jaccard = 1 - (size - true.cumsum(1)) / (size + (1 - true).cumsum(1))
    steps = torch.diff(jaccard, dim=1, prepend=torch.zeros_like(size))
    loss: Tensor = (errors * steps).sum(1).mean()
    return loss


class Loss(ABC):
    """A loss with its weight in the sum of a task's losses.

    Args:
        weight: what it is multiplied by.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    @abstractmethod
    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The loss of each image, ``(B,)``, before it is weighted; see :mod:`visionlab.losses.segmentation`."""


class CrossEntropy(Loss):
    """See :func:`cross_entropy`.

    Args:
        weight: of the loss.
        class_weights: one a class, if not all count alike.
    """

    def __init__(self, weight: float = 1.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(weight)
        self.class_weights = class_weights

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        return cross_entropy(logits, masks, _tensor(self.class_weights, logits))


class Focal(Loss):
    """See :func:`focal`.

    Args:
        weight: of the loss.
        gamma: at least 0.
        class_weights: one a class, if not all count alike.
    """

    def __init__(self, weight: float = 1.0, gamma: float = 2.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(weight)
        if gamma < 0:
            raise ValueError(f"gamma must be at least 0, not {gamma}")
        self.gamma, self.class_weights = gamma, class_weights

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        return focal(logits, masks, self.gamma, _tensor(self.class_weights, logits))


class Dice(Loss):
    """See :func:`dice`. ``weight`` is that of the loss."""

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        return dice(logits, masks)


class LovaszSoftmax(Loss):
    """See :func:`lovasz_softmax`. ``weight`` is that of the loss."""

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        return lovasz_softmax(logits, masks)


def _tensor(class_weights: Sequence[float] | None, logits: Tensor) -> Tensor | None:
    if class_weights is None:
        return None
    if len(class_weights) != logits.shape[1]:
        raise ValueError(f"{logits.shape[1]} classes need as many class_weights, not {len(class_weights)}")
    return torch.tensor(class_weights, dtype=logits.dtype, device=logits.device)
