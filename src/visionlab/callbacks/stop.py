"""Ctrl-C and a request to terminate end a run between two steps, saved."""

import signal
import sys
from typing import Any

from lightning import Callback, LightningModule, Trainer

from visionlab.callbacks.checkpoints import Checkpoints


class Stopped(BaseException):
    """The run was asked to stop, and saved. ``args`` are the signal's number and the number of steps taken."""


class StopOnSignal(Callback):
    """On SIGINT or SIGTERM, finishes the step, saves, and raises :class:`Stopped`; a second one ends the run at once,
    unsaved.

    Lightning 2.6.6 acts inside the signal handler, saves nothing for SIGTERM and exits with status 0. Processes agree
    on stopping each time they log.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # later than Lightning's own handlers, which these replace until training ends
        self.received = None
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number: int, frame: Any) -> None:
        self.received = number
        print("\nvisionlab: stopping after this step, saved; again to stop at once", file=sys.stderr, flush=True)
        for each in self.before:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        agree = trainer.world_size == 1 or trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        # after the last batch comes validation, and then the checkpoint of the epoch's end
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if agree and not accumulating and not last and self._wanted(trainer):
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, Checkpoints):
                    callback.save(trainer)
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._wanted(trainer):
            self._stop(trainer)

    def _wanted(self, trainer: Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)

    def _stop(self, trainer: Trainer) -> None:
        raise Stopped(self.received if self.received is not None else signal.SIGTERM, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}
