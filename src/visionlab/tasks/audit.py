"""Whether robust numbers can be trusted: most defences that were broken had hidden their gradients (Athalye et al.
2018, section 3.1; Carlini et al. 2019, "On Evaluating Adversarial Robustness", section 4).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from visionlab.attacks.base import Attack, Bounded
from visionlab.attacks.budget import Norm, parse
from visionlab.attacks.fgsm import FGSM
from visionlab.attacks.square import Square
from visionlab.tasks.base import Task
from visionlab.tasks.objectives import ClassLoss, Objective, subset
from visionlab.tasks.under_attack import UnderAttack

HUGE: dict[Norm, float] = {"linf": 1.0, "l2": 1000.0}
"""Budgets within which any image can be turned into any other."""

MARGIN = 0.02
"""By how much a weaker attack must do better than a stronger one to be no accident."""


class Audit(Metric):
    """Tries other attacks on the first images of a split, and compares them with the one whose numbers are reported.

    ``compute`` gives the metric that the data set watches on ``clean`` images, under the ``attack``, and, where the
    attack has a budget, under ``one_step`` of it (FGSM), under the ``black_box`` attack Square, and under the attack
    with a ``huge_budget``; how far images were moved, ``moved``, in the attack's norm; ``zero_gradients``, the mean
    share of the gradient of an image that is exactly 0; and ``suspect``, the number of reasons to doubt the numbers.

    Args:
        task: in evaluation mode.
        attack: whose numbers are reported.
        objective: what it raises.
        metrics: makes the metrics of the data set, by protocol.
        monitor: the metric that the data set watches, ``<protocol>/<metric>``, of which more is better.
        images: how many.
        queries: of the black-box attack, for each image.

    Attributes:
        told: what was found, in words, after ``compute``.
    """

    full_state_update = False

    def __init__(
        self,
        task: Task,
        attack: Attack,
        objective: Objective,
        metrics: Callable[[], dict[str, Any]],
        monitor: str,
        images: int,
        queries: int = 100,
    ) -> None:
        super().__init__(sync_on_compute=False)
        self.attack, self.monitor, self.images, self.told = attack, monitor, images, ""
        self.facts = Facts.of(task)
        attacks: dict[str, Attack | None] = {"clean": None, "attack": attack}
        if isinstance(attack, Bounded):
            attacks["one_step"] = FGSM(attack.eps, norm=attack.norm)
            attacks["black_box"] = Square(attack.eps, norm=attack.norm, queries=queries)
            attacks["huge_budget"] = with_budget(attack, HUGE[attack.norm])
        raised = dict.fromkeys(attacks, objective)
        if isinstance(objective, ClassLoss):  # a loss that has no gradient may have no difference either
            raised["black_box"] = ClassLoss("margin", objective.shift)
        self.tried = {n: UnderAttack(n, task, one, raised[n], metrics()) for n, one in attacks.items()}

    def update(self, predictions: Any, batch: Any) -> None:
        """Attack those of a batch that are among the first images."""
        chosen = ((batch["ids"] >= 0) & (batch["ids"] < self.images)).nonzero()[:, 0].tolist()
        if chosen:
            for one in self.tried.values():
                one.update(None, subset(batch, chosen))

    def compute(self) -> dict[str, Tensor]:
        """What the class says under ``compute``; every process must call it."""
        found = {name: one.compute() for name, one in self.tried.items()}
        numbers = {name: float(one[self.monitor]) for name, one in found.items()}
        norm = self.attack.norm if isinstance(self.attack, Bounded) else "l2"
        moved = float(found["attack"][norm])
        zeros = self.tried["attack"].records["zero_gradients_under_attack"]
        reasons = doubts(
            numbers,
            moved=moved,
            budget=self.attack.budget if isinstance(self.attack, Bounded) else None,
            without_gradient=float((zeros == 1).double().mean()),
            facts=self.facts,
        )
        count = len(zeros)
        self.told = tell(
            self.attack, numbers, moved, float(zeros.double().mean()), count, self.monitor, self.facts, reasons
        )
        more = {"moved": moved, "zero_gradients": float(zeros.double().mean()), "suspect": len(reasons)}
        return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in {**numbers, **more}.items()}

    def reset(self) -> None:
        """Forget every image."""
        super().reset()
        for one in self.tried.values():
            one.reset()


@dataclass(frozen=True)
class Facts:
    """What can be said of a net without an image.

    chance: the metric of an answer that does not look at the image, at most.
    training: how many modules of it are in training mode, where BatchNorm answers by the batch, and Dropout at random.
    normalizations: how often it normalises images.
    precision: of its parameters.
    """

    chance: float
    training: int
    normalizations: int
    precision: str

    @staticmethod
    def of(task: Task) -> "Facts":
        """Those of a task's net."""
        modules = list(task.net.modules())
        return Facts(
            1 / max(2, task.num_classes),
            sum(module.training for module in modules),
            sum(map(normalizes, modules)),
            ", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in task.net.parameters()})),
        )


def normalizes(module: nn.Module) -> bool:
    """Whether a module subtracts a mean from images and divides by a deviation: by what those are called."""
    buffers = dict(module.named_buffers(recurse=False))
    if {"mean", "std"} <= buffers.keys():
        return bool((buffers["mean"] != 0).any() or (buffers["std"] != 1).any())
    own = vars(module)
    if {"image_mean", "image_std"} <= own.keys():  # torchvision's detectors
        return any(own["image_mean"]) or any(value != 1 for value in own["image_std"])
    return False


def with_budget(attack: Bounded, eps: float | str) -> Bounded:
    """The same attack within another budget, its steps in proportion."""
    changed: dict[str, Any] = {"eps": eps}
    steps = {field.name: getattr(attack, field.name) for field in fields(attack) if field.name == "step_size"}
    if steps.get("step_size") is not None and attack.budget > 0:
        size = parse(steps["step_size"], attack.norm) / attack.budget * parse(eps, attack.norm)
        changed["step_size"] = min(size, HUGE[attack.norm])
    return replace(attack, **changed)


def doubts(
    numbers: dict[str, float], *, moved: float, budget: float | None, without_gradient: float, facts: Facts
) -> list[str]:
    """Why robust numbers are not to be trusted; nothing where they may be.

    Args:
        numbers: the metric, by what was tried: see :class:`Audit`.
        moved: how far an image was moved, at most.
        budget: how far it might have been; None where the attack has no budget.
        without_gradient: the share of images of which all of the gradient is 0.
        facts: about the net.
    """
    found = []
    attacked = numbers["attack"]
    if budget is not None and moved > budget * (1 + 1e-5) + 1e-5:
        found.append(f"images were moved by {moved:.4g}, further than the budget of {budget:.4g}")
    if budget is not None and budget > 0 and moved < budget / 2:
        found.append(f"images were moved by {moved:.4g} at most, and might have been by {budget:.4g}")
    if without_gradient > 0.05:
        found.append(f"of {without_gradient:.0%} of the images the whole gradient is 0: an attack cannot follow it")
    if facts.training > 0:
        found.append(f"{facts.training} modules of the net are in training mode")
    if facts.normalizations > 1:
        found.append(f"the net normalises images {facts.normalizations} times: budgets do not mean what they say")
    if "float16" in facts.precision:
        found.append(f"the net is in {facts.precision}, which loses gradients")
    if attacked > numbers["clean"] + MARGIN:
        found.append(f"the attack does the net good: {attacked:.4f} against {numbers['clean']:.4f}")
    if numbers.get("one_step", 1.0) < attacked - MARGIN:
        found.append(f"one step does more harm than the attack: {numbers['one_step']:.4f} against {attacked:.4f}")
    if numbers.get("black_box", 1.0) < attacked - MARGIN:
        found.append(
            f"an attack that sees no gradient does more harm: {numbers['black_box']:.4f} against {attacked:.4f}"
        )
    if numbers.get("huge_budget", 0.0) > facts.chance + MARGIN:
        found.append(
            f"{numbers['huge_budget']:.4f} is left within a budget that allows any image; chance is {facts.chance:.4f}"
        )
    return found


def tell(
    attack: Attack,
    numbers: dict[str, float],
    moved: float,
    zeros: float,
    images: int,
    monitor: str,
    facts: Facts,
    reasons: list[str],
) -> str:
    """The audit in words, a fact a line."""
    names = {
        "clean": "clean",
        "attack": f"under {type(attack).__name__}",
        "one_step": "under one step (FGSM)",
        "black_box": "under Square, a black-box attack",
        "huge_budget": f"within a huge budget (chance: {facts.chance:.4f})",
    }
    lines = [f"audit of {attack}, on {images} images: {monitor}"]
    lines += [f"  {names[name]:<44}{value:.4f}" for name, value in numbers.items()]
    lines += [f"  {'furthest moved':<44}{moved:.6g}" + (f" ({moved * 255:.3g}/255)" if moved <= 1 else "")]
    lines += [f"  {'share of zero gradients':<44}{zeros:.4f}"]
    mode = "evaluation" if facts.training == 0 else "training"
    lines += [f"  {'BatchNorm and Dropout':<44}{mode} mode", f"  {'precision':<44}{facts.precision}"]
    if reasons:
        return "\n".join([*lines, "These numbers are suspect because", *(f"  - {reason}" for reason in reasons)])
    return "\n".join([*lines, "Nothing speaks against these numbers."])
