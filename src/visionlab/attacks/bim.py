from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from visionlab.attacks.base import Bounded, check_counts
from visionlab.attacks.budget import Norm, parse, project
from visionlab.attacks.model import Model, gradients


@dataclass(frozen=True)
class BIM(Bounded):
    """The basic iterative method (Kurakin et al. 2017, section 2.2): small steps of the sign, from the image itself.

    Args:
        eps: see :class:`Bounded`.
        steps: how many, at least 1; the paper takes the smaller of ``255 eps + 4`` and ``1.25 * 255 eps``.
        step_size: the length of one, a number or text; 1/255 in the paper.
    """

    norm: ClassVar[Norm] = "linf"
    steps: int = 10
    step_size: float | str = "1/255"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps)
        parse(self.step_size, self.norm)

    def within(self, model: Model, images: Tensor) -> Tensor:
        moved, size = images, parse(self.step_size, self.norm)
        for _ in range(self.steps):
            moved = project(moved + size * gradients(model, moved).sign(), images, self.budget, self.norm)
        return moved
