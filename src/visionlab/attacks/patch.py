"""Adversarial patches: Brown et al. 2017, "Adversarial Patch"; for detectors Liu et al. 2019, "DPatch"."""

from dataclasses import dataclass

from torch import Tensor

from visionlab.attacks.base import Attack
from visionlab.attacks.budget import parse
from visionlab.attacks.model import Model, gradients
from visionlab.attacks.noise import uniform


@dataclass(frozen=True)
class Patch(Attack):
    """A square of any pixels in each image, and nothing elsewhere. It is optimised for each image, from noise, by steps
    along the gradient's sign (Lee and Kolter 2019, section 3.1), at a place that is given.

    Args:
        size: of each side, as a share of the image's shorter one, in (0, 1].
        top: where it begins, as a share of the room that it leaves, in [0, 1]: 0 above, 1 below.
        left: likewise: 0 on the left, 1 on the right.
        steps: how many.
        step_size: the length of one; a number or text such as ``8/255``.
        seed: of the noise.
    """

    size: float = 0.2
    top: float = 0.0
    left: float = 0.0
    steps: int = 50
    step_size: float | str = "8/255"
    seed: int = 0

    def __post_init__(self) -> None:
        parse(self.step_size, "linf")
        if not 0 < self.size <= 1:
            raise ValueError(f"size must lie in (0, 1], not {self.size}")
        if not (0 <= self.top <= 1 and 0 <= self.left <= 1):
            raise ValueError(f"top and left must lie in [0, 1], not {self.top} and {self.left}")
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, not {self.steps}")

    def perturb(self, model: Model, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        side = max(1, round(self.size * min(height, width)))
        top, left = round(self.top * (height - side)), round(self.left * (width - side))
        place = (..., slice(top, top + side), slice(left, left + side))
        step = parse(self.step_size, "linf")
        moved = images.clone()
        moved[place] = uniform(self.seed, model.ids, (images.shape[1], side, side))
        for _ in range(self.steps):
            found = gradients(model, moved)[place]
            moved[place] = (moved[place] + step * found.sign()).clamp_(0, 1)
        return moved
