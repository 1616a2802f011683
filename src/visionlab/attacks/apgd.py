"""Auto-PGD (Croce and Hein 2020, "Reliable evaluation of adversarial robustness ...", section 4), which finds its own
step size; after the authors' code (github.com/fra31/auto-attack), whose constants are taken.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.attacks.base import Bounded, check_counts
from visionlab.attacks.budget import Norm, by_image, edge_start, project, steepest
from visionlab.attacks.model import Model, assess_gradients, classifier, rivals, still_standing


@dataclass(frozen=True)
class APGD(Bounded):
    """Auto-PGD on whatever loss the model has: of a classifier usually the cross-entropy or DLR.

    An image that is fooled is left alone. Of the others, the highest loss counts.

    Args:
        eps: see :class:`Bounded`.
        steps: how many, at least 1.
        norm: of the budget and of the steps.
        restarts: how many random starts, at least 1.
        seed: of the starts.
    """

    steps: int = 100
    norm: Norm = "linf"
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, restarts=self.restarts)

    def within(self, model: Model, images: Tensor) -> Tensor:
        result, left = images.clone(), still_standing(model, images)
        highest = torch.full_like(images[:, 0, 0, 0], -float("inf"))
        for restart in range(self.restarts):
            some, origin = model.at(left), images[left]
            start = edge_start(origin, self.budget, self.norm, self.seed, some.ids, restart)
            moved, losses, fooled = climb(some, origin, start, self.budget, self.norm, self.steps)
            better = fooled | (losses > highest[left])
            result[left[better]], highest[left[better]] = moved[better], losses[better]
            left = left[~fooled]
        return result


@dataclass(frozen=True)
class TargetedAPGD(Bounded):
    """Auto-PGD towards each of the likeliest wrong classes in turn, until one attempt gives any wrong class. The loss
    of the classifier must take targets; it is usually DLR.

    Args:
        eps: see :class:`Bounded`.
        steps: of each attempt, at least 1.
        norm: of the budget and of the steps.
        classes: how many are tried, at least 1; all if there are fewer.
        seed: of the starts.
    """

    steps: int = 100
    norm: Norm = "linf"
    classes: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, classes=self.classes)

    def within(self, model: Model, images: Tensor) -> Tensor:
        victim = classifier(model, self)
        result, left = images.clone(), still_standing(victim, images)
        wrong = rivals(victim, images)
        for rank in range(min(self.classes, wrong.shape[1])):
            some, origin = victim.at(left), images[left]
            start = edge_start(origin, self.budget, self.norm, self.seed, some.ids, rank)
            moved, _, fooled = climb(some, origin, start, self.budget, self.norm, self.steps, wrong[left, rank])
            result[left] = moved
            left = left[~fooled]
        return result


def climb(
    model: Model, images: Tensor, start: Tensor, eps: float, norm: Norm, steps: int, towards: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Algorithm 1 from one start.

    Args:
        model: what is attacked.
        images: of its batch; may be none.
        start: where to begin.
        eps: the budget.
        norm: of it.
        steps: how many.
        towards: see :func:`assess`.

    Returns:
        The images where they are fooled, or where their loss is highest; these losses ``(n,)``; and whether each is
        fooled ``(n,)``.
    """
    result, highest = start.clone(), torch.zeros_like(start[:, 0, 0, 0])
    done = torch.zeros_like(highest, dtype=torch.bool)
    if len(images) == 0:
        return result, highest, done
    losses, fooled, slopes = assess_gradients(model, start, towards)
    left = torch.arange(len(images), device=images.device)
    moved, before, best, best_losses, best_slopes = start, start, start.clone(), losses, slopes
    size = torch.full_like(losses, 2 * eps)
    rises, checked_losses = torch.zeros_like(losses), losses
    halved = torch.ones_like(fooled)
    interval, since = max(int(0.22 * steps), 1), 0
    for step in range(steps):
        if fooled.any():
            out = left[fooled]
            result[out], highest[out], done[out] = moved[fooled], losses[fooled], True
            keep = ~fooled
            left, towards = left[keep], None if towards is None else towards[keep]
            if len(left) == 0:
                break
            model, images = model.at(keep.nonzero()[:, 0]), images[keep]
            moved, before, best, best_slopes = moved[keep], before[keep], best[keep], best_slopes[keep]
            losses, slopes, best_losses, checked_losses = (
                each[keep] for each in (losses, slopes, best_losses, checked_losses)
            )
            size, rises, halved = size[keep], rises[keep], halved[keep]
        momentum = 0.25 if step else 0.0
        ahead = project(moved + by_image(size, moved) * steepest(slopes, norm), images, eps, norm)
        ahead = project(moved + (1 - momentum) * (ahead - moved) + momentum * (moved - before), images, eps, norm)
        before, moved, last_losses = moved, ahead, losses
        losses, fooled, slopes = assess_gradients(model, moved, towards)
        rises = rises + (losses > last_losses)
        better = losses > best_losses
        best[better] = moved[better]
        best_slopes = torch.where(by_image(better, slopes), slopes, best_slopes)
        best_losses = torch.maximum(losses, best_losses)
        since += 1
        if since == interval:  # condition 1, of too few rises, or condition 2, of a step size that was kept in vain
            halved = (rises <= 0.75 * interval) | (~halved & (checked_losses >= best_losses))
            size = torch.where(halved, size / 2, size)
            back = by_image(halved & ~fooled, moved)
            moved, slopes = torch.where(back, best, moved), torch.where(back, best_slopes, slopes)
            checked_losses, rises, since = best_losses, torch.zeros_like(rises), 0
            interval = max(interval - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    result[left] = torch.where(by_image(fooled, moved), moved, best)
    highest[left], done[left] = torch.where(fooled, losses, best_losses), fooled
    return result, highest, done
