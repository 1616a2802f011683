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
from lightning.pytorch.trainer.states import TrainerFn


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

    Saves at the end of each epoch, after validation, and within an epoch every so many steps if wanted, where training
    ends, and where a validation found the best weights; and before a validation, unless the one before took less than
    :data:`SECONDS_WORTH_SAVING`. A run that is continued from a step that a validation follows begins with that.

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
        # Lightning 2.6.6 counts the first batch of a validation that it begins again twice
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()
        if not trainer.strategy.broadcast((self.folder / "best.ckpt").exists()):
            self.best_value = None  # continued from another folder, which keeps that best
        last, source = self.folder / "last.ckpt", trainer.ckpt_path
        if not trainer.is_global_zero or source is None or Path(source).resolve().parent != self.folder.resolve():
            return
        if not last.exists() or not last.samefile(source):
            # a newer one is damaged, or no longer wanted: it is not to become the one before
            link(Path(source), last)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        epoch_goes_on = not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if epoch_goes_on and ((due and trainer.global_step != self.last_saved) or _ends(trainer)):
            self.save_after_step(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # where training ends within an epoch, it was saved there, to be continued there
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save(trainer, best=self._is_best(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not _is_of_training(trainer):
            return
        # the processes' clocks differ, and all must save or none
        slow = self.validation_seconds > SECONDS_WORTH_SAVING
        slow = trainer.strategy.reduce_boolean_decision(slow, all=False)
        if slow and not self.can_repeat_validation:
            self._save(trainer, before_validation=True)
        self.validation_began = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not _is_of_training(trainer):
            return
        self.validated, self.can_repeat_validation = True, False
        self.validation_seconds = time.monotonic() - self.validation_began
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return  # the end of the epoch follows
        best = self.monitor in trainer.callback_metrics and self._is_best(trainer)
        if best or _ends(trainer):
            self._save(trainer, best=best)

    def _is_best(self, trainer: Trainer) -> bool:
        """Whether the weights are the best so far, the later of equals; without validation, the newest are."""
        value = None if self.monitor is None else trainer.callback_metrics.get(self.monitor)
        if value is None:
            return self.best_value is None
        sign = 1 if self.mode == "max" else -1
        validated, self.validated = self.validated, False
        if not validated or (self.best_value is not None and sign * value < sign * self.best_value):
            return False
        self.best_value = float(value)
        return True

    def save_after_step(self, trainer: Trainer) -> None:
        """Save within an epoch, between a step and the validation that may follow it. Every process must call it."""
        follows = trainer.fit_loop.epoch_loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        follows = trainer.strategy.reduce_boolean_decision(follows)
        # where training ends unjudged, the newest weights are the best
        self._save(trainer, best=self.best_value is None and _ends(trainer), before_validation=follows)

    def _save(self, trainer: Trainer, best: bool = False, before_validation: bool = False) -> None:
        """Save now. Every process must call it.

        Args:
            trainer: what to save.
            best: whether to keep it as the best, too.
            before_validation: whether a run that is continued from there is to begin with a validation.
        """
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate() and not _ends(trainer):
            # to go on from there would not be exact, for the gradients added up so far are not saved
            if best:
                trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=False)
            return
        batches, validation = loop.batch_progress, loop.val_loop.batch_progress
        before = copy.deepcopy((batches.state_dict(), validation.state_dict()))
        if before_validation:
            # Lightning 2.6.6 goes back to a validation only where, when it saved, the batch was completed and a step of
            # the validation begun
            batches.total.completed, batches.current.completed = batches.total.ready, batches.current.ready
            validation.reset_on_run()
            validation.increment_ready()
            validation.increment_started()
        last = self.folder / "last.ckpt"
        if best:
            # best before last: a kill in between repeats what led to it and finds it the best again
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=False)
        if trainer.is_global_zero and last.exists():
            link(last, self.folder / "previous.ckpt")
        if not best:
            trainer.save_checkpoint(last, weights_only=False)
        elif trainer.is_global_zero:
            link(self.folder / "best.ckpt", last)
        trainer.strategy.barrier()
        batches.load_state_dict(before[0])
        validation.load_state_dict(before[1])
        self.last_saved, self.can_repeat_validation = trainer.global_step, before_validation

    def state_dict(self) -> dict[str, Any]:
        return {"best_value": self.best_value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_value = state_dict["best_value"]


def _is_of_training(trainer: Trainer) -> bool:
    """Whether a validation is one within training: neither Lightning's first look nor the closing one."""
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and not trainer.fast_dev_run  # type: ignore[attr-defined]


def _ends(trainer: Trainer) -> bool:
    """Whether no step follows."""
    stops = trainer.should_stop and trainer.fit_loop._can_stop_early
    return bool(stops or 0 <= trainer.max_steps <= trainer.global_step)


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
