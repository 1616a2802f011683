"""A signal to any process ends the run between two steps on all of them, saved."""

import signal
import time
from typing import Any

import torch.distributed
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from visionlab.callbacks.checkpoints import Checkpoints
from visionlab.processes import gather
from visionlab.signals import ASKING_TO_STOP, StopRequest

SECONDS_BETWEEN_AGREEMENTS = 1.0
"""How long a signal to another process may go unnoticed, beside a step."""


class Stopped(BaseException):
    """The run was asked to stop, and what it did can be continued. ``args`` are the signal's number and the number of
    steps taken.
    """


class Agreement:
    """Finds out whether any process was asked to stop, without asking the others at each step.

    The number of steps from one exchange to the next follows from the seconds that all processes gave in the last one,
    so it is the same on all.
    """

    def __init__(self, request: StopRequest) -> None:
        self.request = request
        self.restart()

    def restart(self) -> None:
        """Exchange after the next step: for the start of work whose steps take another time."""
        self.steps = self.left = 1
        self.since = time.monotonic()

    def reach(self) -> int | None:
        """The signal that any process received, the same on all. Every process must call it after each step; it is None
        where they do not exchange yet.
        """
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self.request.number
        self.left -= 1
        if self.left > 0:
            return None
        now = time.monotonic()
        answers = gather((self.request.number or 0, now - self.since))
        slowest = max(seconds for _, seconds in answers)
        wanted = int(self.steps * SECONDS_BETWEEN_AGREEMENTS / max(slowest, 1e-3))
        self.steps = self.left = min(max(wanted, 1), 2 * self.steps)  # first steps are slow, and single ones fast
        self.since = now
        return max(number for number, _ in answers) or None


class StopOnSignal(Callback):
    """On SIGINT, SIGTERM or SIGUSR1 to any process, all finish the step, save, and raise :class:`Stopped`; a second
    SIGINT ends the process at once, unsaved. A validation or test is left between two batches, and begun again by the
    continued run.

    Lightning 2.6.6 saves and talks to the other processes inside its signal handlers, which deadlocks, saves nothing
    for SIGTERM, and exits with status 0.

    Args:
        checkpoints: saves.
        request: notes signals; one that it noted before is obeyed after the first step.
    """

    def __init__(self, checkpoints: Checkpoints, request: StopRequest) -> None:
        self.checkpoints, self.request = checkpoints, request
        self.agreement = Agreement(request)
        self.before: dict[signal.Signals, Any] = {}
        self.began = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer._signal_connector.register_signal_handlers = _leave_signals  # type: ignore[method-assign]
        self.before |= self.request.note(*ASKING_TO_STOP)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = trainer.global_step
        self.agreement.restart()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.agreement.restart()
        if trainer.global_step > self.began:  # saved at the end of the epoch before
            self._stop_if_wanted(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # after the last batch comes validation, and then the checkpoint of the epoch's end
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if not accumulating and not last and (number := self.agreement.reach()) is not None:
            self.checkpoints.save_after_step(trainer)
            raise Stopped(number, trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.agreement.restart()

    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        # the closing one, where a test split has no labels, repeats no training
        if self.checkpoints.can_repeat_validation or trainer.state.fn == TrainerFn.VALIDATING:
            self._stop_if_wanted(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.agreement.restart()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.agreement.restart()

    def on_test_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._stop_if_wanted(trainer)

    def _stop_if_wanted(self, trainer: Trainer) -> None:
        if (number := self.agreement.reach()) is not None:
            raise Stopped(number, trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


def _leave_signals() -> None:
    """Set no handlers."""
