from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from visionlab.attacks.apgd import APGD, TargetedAPGD
from visionlab.attacks.base import Bounded, check_counts
from visionlab.attacks.budget import Norm
from visionlab.attacks.fab import TargetedFAB
from visionlab.attacks.losses import Loss, cross_entropy, dlr, margin
from visionlab.attacks.model import Model, classifier, still_standing
from visionlab.attacks.square import Square


@dataclass(frozen=True)
class AutoAttack(Bounded):
    """AutoAttack's standard ensemble (Croce and Hein 2020): APGD on the cross-entropy, targeted APGD on DLR, targeted
    FAB, and Square, each on the images that those before left standing. An image that none fools comes back as it was.

    The loss of the classifier plays no part. It needs at least 4 classes, for DLR.

    Args:
        eps: see :class:`Bounded`.
        norm: of the budget.
        steps: of each run of APGD and FAB, at least 1; 100 in the standard.
        queries: of Square, at least 1; 5000 in the standard.
        classes: how many the targeted attacks aim at, at least 1; 9 in the standard.
        seed: of all randomness.
    """

    norm: Norm = "linf"
    steps: int = 100
    queries: int = 5000
    classes: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(steps=self.steps, queries=self.queries, classes=self.classes)

    def attacks(self) -> Iterator[tuple[Bounded, Loss]]:
        """The attacks in turn, each with the loss that it raises."""
        yield APGD(self.eps, self.steps, self.norm, seed=self.seed), cross_entropy
        yield TargetedAPGD(self.eps, self.steps, self.norm, self.classes, self.seed), dlr
        yield TargetedFAB(self.eps, self.steps, self.norm, self.classes), margin
        yield Square(self.eps, self.queries, self.norm, seed=self.seed), margin

    def within(self, model: Model, images: Tensor) -> Tensor:
        victim = classifier(model, self)
        result, left = images.clone(), still_standing(victim, images)
        for attack, loss in self.attacks():
            if len(left) == 0:
                break
            some = replace(victim.at(left), loss=loss)
            moved = attack(some, images[left])
            standing = still_standing(some, moved)
            result[left] = moved
            result[left[standing]] = images[left[standing]]
            left = left[standing]
        return result
