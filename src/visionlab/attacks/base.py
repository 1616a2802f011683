from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.attacks.budget import Norm, lengths, parse
from visionlab.attacks.model import Model

ROUNDING = 1e-6
"""By how much the distance of two float32 images in [0, 1] may pass the budget; for L2 relative to it."""


class Attack(ABC):
    """Moves images to raise their losses. A subclass gives ``perturb``; those within a budget are :class:`Bounded`."""

    def __call__(self, model: Model, images: Tensor) -> Tensor:
        """Attack a batch of images; what was computed for one image depends on no other.

        Args:
            model: the net with the truth about these images.
            images: ``(n, channels, H, W)`` ``float32`` in [0, 1].

        Returns:
            New images of the same shape and type, in [0, 1].

        Raises:
            ValueError: if the images are not as they must be, or the attack does not fit the model.
        """
        check_images(images)
        if torch.is_inference_mode_enabled():
            raise ValueError("nothing can be attacked in inference mode: use Trainer(inference_mode=False)")
        moved = self.perturb(model, images.detach()).detach()
        assert moved.shape == images.shape
        assert moved.min() >= 0
        assert moved.max() <= 1
        return moved

    @abstractmethod
    def perturb(self, model: Model, images: Tensor) -> Tensor:
        """The attack itself; images as in :meth:`__call__`, but checked."""


@dataclass(frozen=True)
class Bounded(Attack):
    """An attack within a budget.

    Args:
        eps: how far an image may be moved, of pixels in [0, 1]: a number, or text such as ``8/255``.
    """

    eps: float | str

    @property
    @abstractmethod
    def norm(self) -> Norm:
        """What the budget bounds."""

    def __post_init__(self) -> None:
        parse(self.eps, self.norm)

    @property
    def budget(self) -> float:
        """The budget as a number."""
        return parse(self.eps, self.norm)

    def perturb(self, model: Model, images: Tensor) -> Tensor:
        if self.budget == 0:
            return images.clone()
        moved = self.within(model, images)
        allowed = self.budget + ROUNDING if self.norm == "linf" else self.budget * (1 + ROUNDING) + ROUNDING
        assert lengths(moved - images, self.norm).max() <= allowed
        return moved

    @abstractmethod
    def within(self, model: Model, images: Tensor) -> Tensor:
        """The attack itself; the budget is above 0."""


def check_images(images: Tensor) -> None:
    """Raise a ValueError unless images are ``(n, channels, H, W)`` ``float32`` in [0, 1] that can be differentiated."""
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images to attack must be (n, channels, H, W) with n at least 1, not {tuple(images.shape)}")
    if images.dtype != torch.float32:
        raise ValueError(f"images are attacked in float32, not in {images.dtype}: half types lose small gradients")
    if images.is_inference():
        raise ValueError("these images were made in inference mode: use Trainer(inference_mode=False)")
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"images to attack must lie in [0, 1], not [{low:.4g}, {high:.4g}]: the net normalises them")


def check_counts(**counts: int) -> None:
    """Raise a ValueError unless all are at least 1, naming the one that is not."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")
