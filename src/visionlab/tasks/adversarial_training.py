"""Ways to train a task so that attacks do it less harm."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from visionlab.attacks.base import Attack
from visionlab.attacks.budget import parse
from visionlab.attacks.model import Model, frozen
from visionlab.attacks.noise import uniform
from visionlab.attacks.pgd import PGD
from visionlab.attacks.random_fgsm import RandomFGSM
from visionlab.batch import Step
from visionlab.tasks.base import Task
from visionlab.tasks.classification import Classification
from visionlab.tasks.objectives import Objective, Victim, usual
from visionlab.tasks.under_attack import attacked


class Training(ABC):
    """How a batch becomes the losses that are lowered.

    Attributes:
        replays: how often a batch is trained on, one after another, each with an optimizer step.
    """

    replays: int = 1

    @abstractmethod
    def __call__(self, task: Task, batch: Any, seed: int, replay: int) -> Step:
        """The losses of a batch, and its predictions.

        Args:
            task: in training mode.
            batch: of the task, on its device, images float in [0, 1].
            seed: of this optimizer step, for random starts.
            replay: how often this batch was trained on before.
        """


class Clean(Training):
    """On images as they are."""

    def __call__(self, task: Task, batch: Any, seed: int, replay: int) -> Step:
        return task.step(batch)


class OnAttacked(Training):
    """On images that were attacked, and no others (Madry et al. 2018, equation 2.1). The attack sees BatchNorm in
    evaluation mode.

    Args:
        attack: moves them; its random starts are new ones in each step.
        objective: what it raises; of classifiers the cross-entropy, of others their own loss, if None.
    """

    def __init__(self, attack: Attack, objective: Objective | None = None) -> None:
        self.attack, self.objective = attack, objective

    def __call__(self, task: Task, batch: Any, seed: int, replay: int) -> Step:
        objective = usual(task) if self.objective is None else self.objective
        return task.step(attacked(task, batch, reseeded(self.attack, seed), objective))


class Fast(OnAttacked):
    """On images that were moved by one step from a random start (Wong et al. 2020, algorithm 3). It may overfit to that
    one step all of a sudden, which is told: see :func:`overfitting`.

    Args:
        eps: the budget, of L-inf.
        step_size: alpha in the paper; 1.25 times the budget if None.
    """

    def __init__(self, eps: float | str, step_size: float | str | None = None) -> None:
        super().__init__(RandomFGSM(eps, step_size=step_size))
        self.probe = PGD(eps, steps=10)


class Free(Training):
    """Several times on the same batch, each time moving the images along the gradient that the step before computed
    anyway (Shafahi et al. 2019, algorithm 1): as dear as clean training for as many steps.

    The movement begins anew with each batch, at random: what the paper carries over from the batch before belongs to
    other images, and does what a random start does (Wong et al. 2020, section 4). Divide the epochs by ``replays``.

    Args:
        eps: the budget, and the step, of L-inf.
        replays: m in the paper, of which the best was 8 on CIFAR-10.
    """

    def __init__(self, eps: float | str, replays: int = 8) -> None:
        if replays < 1:
            raise ValueError(f"replays must be at least 1, not {replays}")
        self.eps, self.replays = parse(eps, "linf"), replays
        self.deltas: list[Tensor] = []

    def __call__(self, task: Task, batch: Any, seed: int, replay: int) -> Step:
        images = batch["images"]
        if replay == 0:
            starts = [uniform(seed, batch["ids"][i : i + 1], image.shape)[0] for i, image in enumerate(images)]
            self.deltas = [(2 * start - 1) * self.eps for start in starts]
        moved = [
            (image + delta).clamp(0, 1).to(image.dtype).requires_grad_()
            for image, delta in zip(images, self.deltas, strict=True)
        ]
        for i, image in enumerate(moved):
            image.register_hook(lambda gradient, i=i: self._move(i, gradient))
        return task.step({**batch, "images": torch.stack(moved) if isinstance(images, Tensor) else moved})

    def _move(self, i: int, gradient: Tensor) -> None:
        self.deltas[i] = (self.deltas[i] + self.eps * gradient.sign()).clamp(-self.eps, self.eps)


class TRADES(Training):
    """On the images as they are, and on how much the probabilities of their classes change when they are moved (Zhang
    et al. 2019, equation 5). For images with one label each.

    Args:
        attack: moves the images to raise the Kullback-Leibler divergence of the probabilities, which has no gradient
            where nothing is moved: it must begin at random.
        beta: 1 / lambda in the paper, which has 1 to 6; at least 0.
    """

    def __init__(self, attack: Attack, beta: float = 6.0) -> None:
        if not beta >= 0:
            raise ValueError(f"beta must be at least 0, not {beta}")
        self.attack, self.beta = attack, beta

    def __call__(self, task: Task, batch: Any, seed: int, replay: int) -> Step:
        if not isinstance(task, Classification):
            raise ValueError(f"TRADES trains classifiers of one label an image, not {type(task).__name__}")
        with frozen(task), torch.no_grad():
            before = logits_of(task, batch)
        moved = attacked(task, batch, reseeded(self.attack, seed), Divergence(before))
        clean = task.step(batch)
        divergence = divergences(logits_of(task, moved), clean.predict()["logits"])
        return Step({**clean.losses, "divergence": self.beta * divergence}, clean.predict)


@dataclass(frozen=True, eq=False)
class Divergence(Objective):
    """How far the probabilities of the classes are from what they were.

    Args:
        logits: ``(B, C)``, what they were.
    """

    logits: Tensor

    def __call__(self, task: Task, batch: Any) -> Model:
        return Victim(task, {**batch, "before": self.logits}, lambda t, b: divergences(logits_of(t, b), b["before"]))


def divergences(logits: Tensor, before: Tensor) -> Tensor:
    """``(B,)``, the Kullback-Leibler divergence of the softmax of ``before`` from that of ``logits``, in nats."""
    return F.kl_div(logits.log_softmax(1), before.log_softmax(1), reduction="none", log_target=True).sum(1)


def logits_of(task: Task, batch: Any) -> Tensor:
    """``(B, C)``."""
    logits: Tensor = task.step(batch).predict()["logits"]
    return logits


def reseeded(attack: Attack, seed: int) -> Attack:
    """The same attack with other random starts, if it has any."""
    assert not isinstance(attack, type)
    return replace(attack, seed=seed) if "seed" in {field.name for field in fields(attack)} else attack  # type: ignore[type-var,arg-type]


def overfitting(of_one_step: float, of_many: float) -> bool:
    """Whether training against one step has overfitted to it (Wong et al. 2020, section 5.4): the accuracy under that
    step stays, and under several it falls. In sound training they are a few points apart.

    Args:
        of_one_step: accuracy on a training batch under the attack that is trained against.
        of_many: under PGD.
    """
    return of_many < 0.5 * of_one_step and of_one_step - of_many > 0.15
