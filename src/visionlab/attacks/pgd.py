from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.attacks.base import Bounded, check_counts
from visionlab.attacks.budget import Norm, parse, project, random_start, steepest
from visionlab.attacks.model import Classifier, Model, assess, assess_gradients, classifier, gradients, still_standing


@dataclass(frozen=True)
class PGD(Bounded):
    """Projected gradient descent (Madry et al. 2018, section 2.1).

    Args:
        eps: see :class:`Bounded`.
        steps: how many, at least 1.
        step_size: the length of one, a number or text such as ``2/255``; by default 2.5 times the budget over the
            steps, so that the edge is reached from anywhere inside (Madry's appendix, for L2).
        norm: of the budget and of the steps.
        random_start: begin at a random point of the budget, not at the image.
        restarts: how often, at least 1: of each image the one with the highest loss counts, first of those that fool a
            classifier.
        drop_fooled: leave an image of a classifier alone as soon as it is fooled, at any step or to begin with. Faster
            from about 50 steps on; an image that a later step would have put right again counts as fooled.
        seed: of the random starts.
    """

    steps: int = 10
    step_size: float | str | None = None
    norm: Norm = "linf"
    random_start: bool = True
    restarts: int = 1
    drop_fooled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, restarts=self.restarts)
        if self.step_size is not None:
            parse(self.step_size, self.norm)
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"{self.restarts} restarts without a random start would all be the same")

    def within(self, model: Model, images: Tensor) -> Tensor:
        if self.drop_fooled:
            return self.until_fooled(classifier(model, self), images)
        best = self.ascend(model, images, 0)
        if self.restarts == 1:
            return best
        with torch.no_grad():
            highest, fooled_by_best = assess(model, best)
            for restart in range(1, self.restarts):
                moved = self.ascend(model, images, restart)
                losses, fooled = assess(model, moved)
                better = torch.where(fooled == fooled_by_best, losses > highest, fooled)
                best[better], highest[better] = moved[better], losses[better]
                fooled_by_best |= fooled
        return best

    def ascend(self, model: Model, images: Tensor, restart: int) -> Tensor:
        """All steps of one start."""
        moved = self.start(images, model.ids, restart)
        for _ in range(self.steps):
            moved = self.step(moved, gradients(model, moved), images)
        return moved

    def until_fooled(self, model: Classifier, images: Tensor) -> Tensor:
        """All starts, each of the images that are not fooled yet."""
        result, left = images.clone(), torch.arange(len(images), device=images.device)
        for restart in range(self.restarts):
            left = left[still_standing(model.at(left), result[left])]
            moved = self.start(images[left], model.ids[left], restart)
            for _ in range(self.steps):
                if len(left) == 0:
                    return result
                _, fooled, found = assess_gradients(model.at(left), moved)
                result[left] = moved
                left, moved, found = left[~fooled], moved[~fooled], found[~fooled]
                moved = self.step(moved, found, images[left])
            result[left] = moved
        return result

    def start(self, images: Tensor, ids: Tensor, restart: int) -> Tensor:
        """Where the first step begins."""
        if not self.random_start:
            return images.clone()
        return random_start(images, self.budget, self.norm, self.seed, ids, restart)

    def step(self, moved: Tensor, found: Tensor, images: Tensor) -> Tensor:
        """One step along gradients."""
        size = 2.5 * self.budget / self.steps if self.step_size is None else parse(self.step_size, self.norm)
        return project(moved + size * steepest(found, self.norm), images, self.budget, self.norm)
