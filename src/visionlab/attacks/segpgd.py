"""SegPGD: Gu, Zhao, Tresp and Torr 2022, "SegPGD: An Effective and Efficient Adversarial Attack for Evaluating and
Boosting Segmentation Robustness".
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from visionlab.attacks.base import Bounded
from visionlab.attacks.budget import Norm, parse, project, random_start, steepest
from visionlab.attacks.model import Model


@runtime_checkable
class Segmenter(Protocol):
    """A batch of images of which each pixel has a class, without the images."""

    def pixels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each pixel, ``(n, H, W)``, 0 where none counts; and which are classified wrongly."""
        ...


@dataclass(frozen=True)
class SegPGD(Bounded):
    """PGD on segmentation, in which pixels that are classified wrongly already count less at first: of T steps, in step
    t by (t - 1) / 2T, the others by the rest (equations 4 to 6).

    Args:
        eps: see :class:`Bounded`.
        steps: T.
        step_size: the length of one; 2.5 times the budget over the steps by default.
        norm: of the budget and of the steps.
        seed: of the random start.
    """

    steps: int = 10
    step_size: float | str | None = None
    norm: Norm = "linf"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")
        if self.step_size is not None:
            parse(self.step_size, self.norm)

    def within(self, model: Model, images: Tensor) -> Tensor:
        if not isinstance(model, Segmenter):
            raise ValueError(
                f"SegPGD needs the losses of pixels, so it attacks segmentation, not {type(model).__name__}"
            )
        size = 2.5 * self.budget / self.steps if self.step_size is None else parse(self.step_size, self.norm)
        moved = random_start(images, self.budget, self.norm, self.seed, model.ids)
        for step in range(self.steps):
            share = step / (2 * self.steps)
            with torch.enable_grad():
                moved.requires_grad_()
                losses, wrong = model.pixels(moved)
                weighted = losses * torch.where(wrong, share, 1 - share)
                (found,) = torch.autograd.grad(weighted.flatten(1).mean(1).sum(), moved)
            moved = project(moved.detach() + size * steepest(found, self.norm), images, self.budget, self.norm)
        return moved
