"""Any task under attack: trained clean or against attacks, evaluated clean and attacked."""

from collections.abc import Callable
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from visionlab.attacks.base import Attack
from visionlab.batch import Step
from visionlab.tasks.adversarial_training import Clean, Fast, Training, logits_of, overfitting, reseeded
from visionlab.tasks.audit import Audit
from visionlab.tasks.base import Task
from visionlab.tasks.classification import Classification
from visionlab.tasks.objectives import Objective, usual
from visionlab.tasks.under_attack import UnderAttack, attacked


class Adversarial(Task):
    """Wraps another task, of which nothing changes: its net, losses, metrics, optimizer and predictions are its own.

    Beside ``<stage>/<protocol>/<metric>``, which are of images as they are, evaluation gives
    ``<stage>/<attack>/<protocol>/<metric>`` for each attack, how far its images were moved
    (:class:`visionlab.tasks.under_attack.UnderAttack`), and, in tests, ``<stage>/audit/...``, which says whether the
    numbers of the first attack can be trusted (:class:`visionlab.tasks.audit.Audit`). The best weights are those that
    do best under the first attack.

    Args:
        num_classes: of the data set, which the command line links to it.
        task: makes the task, given ``num_classes``.
        attacks: by name, what tests try. Of the first the numbers are audited.
        training: how it is trained; on images as they are if None.
        val_attacks: what validation tries; ``attacks`` if None.
        objective: what attacks raise in evaluation; of classifiers the cross-entropy, of others their own loss, if
            None.
        audited: how many images of the test the audit tries further attacks on.

    Attributes:
        task: the task that is wrapped.
    """

    needs_gradients = True

    def __init__(
        self,
        num_classes: int,
        task: Callable[[int], Task],
        attacks: dict[str, Attack],
        training: Training | None = None,
        val_attacks: dict[str, Attack] | None = None,
        objective: Objective | None = None,
        audited: int = 64,
    ) -> None:
        wrapped = task(num_classes)
        super().__init__(num_classes, lambda _: wrapped.net, wrapped.make_optimizer, wrapped.lr_schedules)
        self.task, self.ragged = wrapped, wrapped.ragged
        self.attacks, self.val_attacks = attacks, attacks if val_attacks is None else val_attacks
        if not self.attacks or not self.val_attacks:
            raise ValueError("which attacks? Give at least one, by name")
        if audited < 1:
            raise ValueError(f"audited must be at least 1, not {audited}")
        self.method = Clean() if training is None else training
        self.objective = usual(wrapped) if objective is None else objective
        self.audited = audited
        self.best_by = f"{next(iter(self.val_attacks))}/"
        self.replay = 0

    def step(self, batch: Any) -> Step:
        if not self.training:
            return self.task.step(batch)
        seed = self.trainer.fit_loop.epoch_loop.total_batch_idx  # goes on where a run is continued
        return self.method(self.task, batch, seed, self.replay)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """One step for each replay of the batch; Lightning counts them as one."""
        for replay in range(self.method.replays):
            self.replay = replay
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.replay = 0

    def on_fit_start(self) -> None:
        if self.method.replays > 1 and self.trainer.accumulate_grad_batches > 1:
            raise ValueError(
                "batches that are replayed cannot be accumulated: set trainer.accumulate_grad_batches to 1"
            )

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        last = self.trainer.is_last_batch and self.trainer.is_global_zero
        if last and isinstance(self.method, Fast) and isinstance(self.task, Classification):
            self._watch(self.method, batch)

    def on_validation_start(self) -> None:
        self._add_metrics(self.val_attacks, audit=False)

    def on_test_start(self) -> None:
        self._add_metrics(self.attacks, audit=True)

    def on_test_end(self) -> None:
        for metric in self.metrics.values():
            if isinstance(metric, Audit) and self.trainer.is_global_zero:
                print(metric.told)

    def _add_metrics(self, attacks: dict[str, Attack], *, audit: bool) -> None:
        if torch.is_inference_mode_enabled():
            raise ValueError("attacks need gradients, which inference mode has not: use Trainer(inference_mode=False)")
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        clean = data.metrics()
        if taken := clean.keys() & {*attacks, "audit"}:
            raise ValueError(f"an attack needs another name than {taken.pop()!r}, which the data's metrics have")
        under = {
            name: UnderAttack(name, self.task, attack, self.objective, data.metrics())
            for name, attack in attacks.items()
        }
        self.metrics = {**{name: metric for name, metric in self.metrics.items() if name in clean}, **under}
        if audit:
            first = next(iter(attacks.values()))
            self.metrics["audit"] = Audit(self.task, first, self.objective, data.metrics, data.monitor, self.audited)

    def _watch(self, method: Fast, batch: Any) -> None:
        """Log the accuracy on a training batch under one step and under several, and say so if they part."""
        seed = self.trainer.fit_loop.epoch_loop.total_batch_idx
        right = {}
        for name, attack in (("one_step", method.attack), ("many_steps", method.probe)):
            moved = attacked(self.task, batch, reseeded(attack, seed), usual(self.task))
            self.task.eval()
            with torch.no_grad():
                found = logits_of(self.task, moved).argmax(1)
            self.task.train()
            right[f"train/accuracy_under_{name}"] = float((found == batch["labels"]).double().mean())
        self._tell_loggers(right, self.global_step)
        if overfitting(*right.values()):
            one, many = right.values()
            rank_zero_warn(
                f"catastrophic overfitting: in epoch {self.current_epoch} a training batch is classified rightly by "
                f"{one:.0%} under the one step that is trained against, and by {many:.0%} under PGD; the net will not "
                "be robust. Lower step_size or the learning rate, or train by OnAttacked with PGD"
            )
