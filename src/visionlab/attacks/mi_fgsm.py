from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from visionlab.attacks.base import Bounded, check_counts
from visionlab.attacks.budget import Norm, by_image, parse, project
from visionlab.attacks.model import Model, gradients


@dataclass(frozen=True)
class MIFGSM(Bounded):
    """The momentum iterative FGSM (Dong et al. 2018, algorithm 1), whose images fool other nets too.

    Args:
        eps: see :class:`Bounded`.
        steps: how many, at least 1.
        step_size: the length of one, a number or text; by default the budget over the steps, as in the paper.
        decay: of the momentum, at least 0; 1 in the paper.
    """

    norm: ClassVar[Norm] = "linf"
    steps: int = 10
    step_size: float | str | None = None
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)
        if self.step_size is not None:
            parse(self.step_size, self.norm)
        if self.decay < 0:
            raise ValueError(f"decay must be at least 0, not {self.decay}")

    def within(self, model: Model, images: Tensor) -> Tensor:
        size = self.budget / self.steps if self.step_size is None else parse(self.step_size, self.norm)
        moved, momentum = images, torch.zeros_like(images)
        for _ in range(self.steps):
            found = gradients(model, moved)
            total = found.flatten(1).abs().sum(1).clamp(min=torch.finfo(found.dtype).tiny)
            momentum = self.decay * momentum + found / by_image(total, found)
            moved = project(moved + size * momentum.sign(), images, self.budget, self.norm)
        return moved
