from dataclasses import dataclass

from torch import Tensor

from visionlab.attacks.base import Bounded
from visionlab.attacks.budget import Norm, project, steepest
from visionlab.attacks.model import Model, gradients


@dataclass(frozen=True)
class FGSM(Bounded):
    """The fast gradient sign method (Goodfellow et al. 2015, section 4): one step as long as the budget. With the L2
    norm it is the fast gradient method.

    Args:
        eps: see :class:`Bounded`.
        norm: what it bounds.
    """

    norm: Norm = "linf"

    def within(self, model: Model, images: Tensor) -> Tensor:
        step = steepest(gradients(model, images), self.norm)
        return project(images + self.budget * step, images, self.budget, self.norm)
