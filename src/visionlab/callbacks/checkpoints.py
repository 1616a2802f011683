"""Checkpoints that survive whatever kills the run while they are written."""

import contextlib
import copy
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside its target, forces it to disk, and only then puts it in place.

    Lightning 2.6.6 writes to the system's temporary folder first; where that is another filesystem, its move is a copy,
    and a kill leaves a cut file under the good name. Reading takes local files only and never runs code from them.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``; until it is whole there, ``path`` is as it was."""
        assert storage_options is None
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.tmp")
        try:
            with beside.open("wb") as file:
                _write(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        _force_to_disk(target.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU.

        Raises:
            ValueError: if ``path`` is an address, which is to be downloaded first, or if the file is damaged.
            FileNotFoundError: if it is not there.
        """
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, by a reader that knows tensors and plain types and runs no code.

    Raises:
        ValueError: if ``path`` is an address, or the file is damaged or holds anything else.
        FileNotFoundError: if it is not there.
    """
    if "://" in str(path):
        raise ValueError(f"{path} is an address; checkpoints are loaded from local files only: download it first")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # the reader does not expect damage, which makes it raise seven kinds of errors
        raise ValueError(f"{path} is damaged, or holds more than tensors and plain types") from error


SECONDS_WORTH_SAVING = 5.0
"""How long a validation takes that is worth a checkpoint before it."""


class Checkpoints(Checkpoint):
    """Keeps ``last.ckpt``, the one before as ``previous.ckpt``, and ``best.ckpt`` by the monitored metric.

    Saves at the end of each epoch, after validation, every so many steps if wanted, and where training ends within an
    epoch; and before a validation, unless the one before took less than :data:`SECONDS_WORTH_SAVING`. A run that is
    continued from there begins with that validation.

    Args:
        folder: where to keep them.
        monitor: the logged name of the metric; None where the newest weights are the best.
        mode: whether more or less of it is better.
        every_n_steps: how often to save within an epoch, in optimizer steps; None for not at all.

    Attributes:
        can_repeat_validation: whether there is a checkpoint from which the validation that runs can be begun again.
    """

    def __init__(
        self, folder: Path, monitor: str | None, mode: Literal["max", "min"], every_n_steps: int | None = None
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, not {every_n_steps}")
        self.folder, self.monitor, self.mode, self.every_n_steps = folder, monitor, mode, every_n_steps
        self.best_value: float | None = None
        self.last_saved = -1
        self.validated = False
        self.can_repeat_validation = False
        self.validation_seconds = float("inf")
        self.validation_began = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = trainer.strategy.broadcast(self.folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last_saved = trainer.global_step
        last, source = self.folder / "last.ckpt", trainer.ckpt_path
        if not trainer.is_global_zero or source is None or Path(source).resolve().parent != self.folder.resolve():
            return
        if not last.exists() or not last.samefile(source):
            # a newer one is damaged, or no longer wanted: it is not to become the one before
            link(Path(source), last)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        epoch_goes_on = not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        ends = trainer.should_stop or trainer.global_step == trainer.max_steps
        if (due or ends) and epoch_goes_on and trainer.global_step != self.last_saved:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            # training ended within the epoch and was saved there, to be continued there
            if trainer.is_global_zero and not (self.folder / "best.ckpt").exists():
                link(self.folder / "last.ckpt", self.folder / "best.ckpt")
            trainer.strategy.barrier()
            return
        if not self._is_best(trainer):
            self.save(trainer)
            return
        # best before last: a kill in between repeats the epoch and finds it the best again
        trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=False)
        self.last_saved = trainer.global_step
        if trainer.is_global_zero:
            self._keep_previous()
            link(self.folder / "best.ckpt", self.folder / "last.ckpt")
        trainer.strategy.barrier()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # the processes' clocks differ, and all must save or none
        slow = self.validation_seconds > SECONDS_WORTH_SAVING
        self.can_repeat_validation = trainer.strategy.reduce_boolean_decision(slow, all=False)
        if self.can_repeat_validation:
            # Lightning 2.6.6 goes back to a validation only where a step of it was begun when it saved
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            before = copy.deepcopy(progress.state_dict())
            progress.increment_ready()
            progress.increment_started()
            self.save(trainer)
            progress.load_state_dict(before)
        self.validation_began = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated = not trainer.sanity_checking
        self.can_repeat_validation = False
        if not trainer.sanity_checking:
            self.validation_seconds = time.monotonic() - self.validation_began

    def _is_best(self, trainer: Trainer) -> bool:
        """Whether the weights are the best so far, the later of equals; without validation, the newest are."""
        value = None if self.monitor is None else trainer.callback_metrics.get(self.monitor)
        if value is None:
            return True
        sign = 1 if self.mode == "max" else -1
        if not self.validated or (self.best_value is not None and sign * value < sign * self.best_value):
            return False
        self.best_value, self.validated = float(value), False
        return True

    def save(self, trainer: Trainer) -> None:
        """Save now. Every process must call it."""
        if trainer.is_global_zero:
            self._keep_previous()
        self.last_saved = trainer.global_step
        trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)

    def _keep_previous(self) -> None:
        if (self.folder / "last.ckpt").exists():
            link(self.folder / "last.ckpt", self.folder / "previous.ckpt")

    def state_dict(self) -> dict[str, Any]:
        return {"best_value": self.best_value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_value = state_dict["best_value"]


def _write(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        # where writing fails, torch goes on to close its archive, and complains of the position instead
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def link(source: Path, target: Path) -> None:
    """Give ``source`` the second name ``target``, at once; its bytes are copied only where the filesystem knows no hard
    links.
    """
    beside = target.with_name(f".{target.name}.tmp")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
    beside.replace(target)


def _force_to_disk(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some network filesystems cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
