from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.attacks.base import Attack, check_counts
from visionlab.attacks.losses import margin
from visionlab.attacks.model import Model, classifier, still_standing


@dataclass(frozen=True)
class CarliniWagner(Attack):
    """The L2 attack of Carlini and Wagner 2017 (sections V and VI.A): Adam on ``tanh`` coordinates, for the least
    squared distance plus a constant times how much is missing to be fooled; the constant is sought by bisection for
    each image. It has no budget: what counts is how far images were moved. An image that is never fooled comes back as
    it was.

    Args:
        steps: of Adam for each constant, at least 1.
        learning_rate: of Adam.
        searches: how many constants are tried, at least 1.
        constant: the first of them.
        confidence: by how much the wrong class's logit must be above all others, at least 0 (kappa).
    """

    steps: int = 1000
    learning_rate: float = 0.01
    searches: int = 9
    constant: float = 1e-3
    confidence: float = 0.0

    def __post_init__(self) -> None:
        check_counts(steps=self.steps, searches=self.searches)
        if self.learning_rate <= 0 or self.constant <= 0:
            raise ValueError(
                f"learning_rate and constant must be positive, not {self.learning_rate} and {self.constant}"
            )
        if self.confidence < 0:
            raise ValueError(f"confidence must be at least 0, not {self.confidence}")

    def perturb(self, model: Model, images: Tensor) -> Tensor:
        victim = classifier(model, self)
        left = still_standing(victim, images)
        result = images.clone()
        if len(left) == 0:
            return result
        victim, origin = victim.at(left), images[left]
        found = origin.clone()
        nearest = torch.full_like(origin[:, 0, 0, 0], float("inf"))
        low, high = torch.zeros_like(nearest), torch.full_like(nearest, float("inf"))
        constants = torch.full_like(nearest, self.constant)
        start = torch.atanh((2 * origin - 1) * 0.999999)  # the authors' factor: infinite coordinates never move
        for _ in range(self.searches):
            place = start.clone().requires_grad_()
            adam = torch.optim.Adam([place], self.learning_rate)
            reached = torch.zeros_like(nearest, dtype=torch.bool)
            for _ in range(self.steps):
                with torch.enable_grad():
                    moved = (place.tanh() + 1) / 2
                    distances = (moved - origin).square().flatten(1).sum(1)
                    logits = victim.logits(moved)
                    ahead = margin(logits, victim.labels, victim.targets)
                    objectives = distances + constants * (self.confidence - ahead).clamp(min=0)
                    (place.grad,) = torch.autograd.grad(objectives.sum(), place)
                fooled = victim.fooled(logits) & (ahead >= self.confidence)
                nearer = fooled & (distances < nearest)
                found[nearer], nearest[nearer] = moved.detach()[nearer], distances.detach()[nearer]
                reached |= fooled
                adam.step()
            high = torch.where(reached, constants.minimum(high), high)
            low = torch.where(reached, low, constants.maximum(low))
            constants = torch.where(high.isinf(), 10 * constants, (low + high) / 2)
        result[left] = found
        return result
