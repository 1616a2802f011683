from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from visionlab.attacks.base import Bounded
from visionlab.attacks.budget import Norm, parse, project, random_start
from visionlab.attacks.model import Model, gradients


@dataclass(frozen=True)
class RandomFGSM(Bounded):
    """FGSM from a random start (R+FGSM), as "fast" adversarial training has it (Wong et al. 2020, algorithm 3).

    Args:
        eps: see :class:`Bounded`.
        step_size: the length of the step, a number or text; by default 1.25 times the budget, the paper's best.
        seed: of the random start.
    """

    norm: ClassVar[Norm] = "linf"
    step_size: float | str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size is not None:
            parse(self.step_size, self.norm)

    def within(self, model: Model, images: Tensor) -> Tensor:
        size = 1.25 * self.budget if self.step_size is None else parse(self.step_size, self.norm)
        start = random_start(images, self.budget, self.norm, self.seed, model.ids)
        return project(start + size * gradients(model, start).sign(), images, self.budget, self.norm)
