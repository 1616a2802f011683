"""The fast adaptive boundary attack (Croce and Hein 2020, "Minimally distorted adversarial examples ..."), after the
authors' code (github.com/fra31/auto-attack), whose constants are taken.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.attacks.base import Bounded, check_counts
from visionlab.attacks.budget import Norm, by_image, edge_start, lengths
from visionlab.attacks.model import Classifier, Model, boundaries, classifier, rivals, still_standing

BIAS, OVERSHOOT, BACK = 0.1, 1.05, 0.9
"""At most how much of a step leads from the image itself, by how much steps are lengthened, and what share of the way
from the image is kept once it is fooled (alpha_max, eta and beta of section 3).
"""


@dataclass(frozen=True)
class FAB(Bounded):
    """FAB to the nearest boundary of any class. An image for which nothing is found within the budget comes back as it
    was; a budget of 1 for L-inf finds the smallest change there is.

    Args:
        eps: see :class:`Bounded`.
        steps: of each start, at least 1.
        norm: in which the change is to be small.
        restarts: how many starts, at least 1: the first from the image, the others random.
        seed: of the random starts.
    """

    steps: int = 100
    norm: Norm = "linf"
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, restarts=self.restarts)

    def within(self, model: Model, images: Tensor) -> Tensor:
        victim = classifier(model, self)
        result, left = images.clone(), still_standing(victim, images)
        classes = rivals(victim, images)
        for restart in range(self.restarts):
            if len(left) == 0:
                break
            some, origin = victim.at(left), images[left]
            start = origin
            if restart:
                start = edge_start(origin, self.budget / 2, self.norm, self.seed, some.ids, restart)
            result[left] = smallest_change(some, origin, start, classes[left], self.budget, self.norm, self.steps)
            left = left[still_standing(some, result[left])]
        return result


@dataclass(frozen=True)
class TargetedFAB(Bounded):
    """FAB to the boundary of each of the likeliest wrong classes in turn, until one attempt gives any wrong class. It
    takes less time where there are many classes.

    Args:
        eps: see :class:`Bounded`.
        steps: of each attempt, at least 1.
        norm: in which the change is to be small.
        classes: how many are tried, at least 1; all if there are fewer.
    """

    steps: int = 100
    norm: Norm = "linf"
    classes: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, classes=self.classes)

    def within(self, model: Model, images: Tensor) -> Tensor:
        victim = classifier(model, self)
        result, left = images.clone(), still_standing(victim, images)
        wrong = rivals(victim, images)
        for rank in range(min(self.classes, wrong.shape[1])):
            if len(left) == 0:
                break
            some, origin, aim = victim.at(left), images[left], wrong[left, rank : rank + 1]
            result[left] = smallest_change(some, origin, origin, aim, self.budget, self.norm, self.steps)
            left = left[still_standing(some, result[left])]
        return result


def smallest_change(
    model: Classifier, images: Tensor, start: Tensor, classes: Tensor, eps: float, norm: Norm, steps: int
) -> Tensor:
    """Algorithm 1 from one start.

    Args:
        model: what is attacked; it is right about the images.
        images: of its batch.
        start: where to begin.
        classes: ``(n, k)``, of which the boundaries are sought.
        eps: the budget.
        norm: of it.
        steps: how many.

    Returns:
        The nearest images found that fool the model and are within the budget; the images themselves where none is.
    """
    result, moved = images.clone(), start
    nearest = torch.full_like(images[:, 0, 0, 0], eps)
    every = torch.arange(len(images), device=images.device)
    for _ in range(steps):
        gaps, slopes = boundaries(model, moved, classes)
        steepness = slopes.flatten(2).abs().sum(2) if norm == "linf" else slopes.flatten(2).square().sum(2).sqrt()
        closest = (gaps.abs() / (steepness + 1e-12)).argmin(1)
        slope, gap = slopes[every, closest], gaps[every, closest]
        way = to_hyperplane(moved, slope, -gap, norm)
        way_back = to_hyperplane(images, slope, -gap + (slope * (moved - images)).flatten(1).sum(1), norm)
        far, far_back = lengths(way, norm).clamp(min=1e-8), lengths(way_back, norm).clamp(min=1e-8)
        bias = by_image((far / (far + far_back)).clamp(max=BIAS), images)
        moved = ((moved + OVERSHOOT * way) * (1 - bias) + (images + OVERSHOOT * way_back) * bias).clamp_(0, 1)
        with torch.no_grad():
            fooled = model.fooled(model.logits(moved))
        distances = lengths(moved - images, norm)
        better = fooled & (distances <= nearest)
        result[better], nearest[better] = moved[better], distances[better]
        moved = torch.where(by_image(fooled, moved), images + BACK * (moved - images), moved)
    return result


def to_hyperplane(images: Tensor, slopes: Tensor, rise: Tensor, norm: Norm) -> Tensor:
    """The shortest way on which a linear function changes by a given amount and the image stays in [0, 1]; where that
    cannot be, the way on which it changes most.

    A value moves in proportion to ``t`` until it meets 0 or 1; the function's change by ``t`` is a broken line, of
    which the piece that reaches ``rise`` is found.

    Args:
        images: ``(n, channels, H, W)`` in [0, 1].
        slopes: of the same shape, the function's.
        rise: ``(n,)``.
        norm: in which the way is short.
    """
    slopes = (slopes * by_image(rise.sign(), slopes)).flatten(1).double()
    room = torch.where(slopes > 0, 1 - images.flatten(1), images.flatten(1).double())
    pace = slopes.sign().abs() if norm == "linf" else slopes.abs()
    stop, order = (room / pace.clamp(min=1e-300)).sort(dim=1)
    gain = (slopes.abs() * pace).gather(1, order)
    stopped = (gain * stop).nan_to_num(0).cumsum(1)
    moving = gain.flip(1).cumsum(1).flip(1)
    none = torch.zeros_like(stopped[:, :1])
    reached = stopped + stop * torch.cat([moving[:, 1:], none], 1)
    piece = torch.searchsorted(reached, rise.abs().double()[:, None]).clamp(max=stop.shape[1] - 1)
    so_far = torch.cat([none, stopped], 1).gather(1, piece)
    t = ((rise.abs()[:, None] - so_far) / moving.gather(1, piece).clamp(min=1e-300)).clamp(max=1e300)
    way = slopes.sign() * torch.minimum(t * pace, room)
    return way.view_as(images).to(images.dtype)
