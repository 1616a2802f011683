"""A continued run goes on exactly where it stopped, and does what the command line says now."""

import random
import sys
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.trainer.states import TrainerFn

from visionlab.loggers import MetricsTable
from visionlab.processes import gather


class ExactResume(Callback):
    """Saves and restores what Lightning 2.6.6 does not: every process's random states, unlogged training losses, logged
    values that other callbacks look at, and number of threads, on which the last bits of a sum depend; and whether
    training was decided to end.

    Restored in ``on_train_start``, for between loading a checkpoint and that hook Lightning makes the iterator of the
    loader.

    Where the optimizer or a scheduler was built with other arguments than when the run was saved (``--resume`` with a
    changed learning rate), the new arguments win over those in the checkpoint; momenta and step counts go on. A changed
    learning rate scales the current one, so that a schedule keeps its shape.

    Where the number of processes is another one, each takes as many images as keep the global batch what it was: so the
    epoch goes on where it stopped, with each image once, and steps and learning rates mean what they did.

    A training that ended early stays ended, unless the rules by which it may end early are others now.

    Args:
        threads: the number that the recipe asks for, if it does.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self.built: dict[str, Any] = {}
        self.loaded: dict[str, Any] | None = None
        self.rules: list[dict[str, Any]] = []
        self.held_back: tuple[int, bool] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == TrainerFn.FITTING:  # before Lightning puts in place of a given patience the one that was saved
            self.rules = [_rule(callback) for callback in _early_stopping(trainer)]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # given a max_steps, Lightning 2.6.6 takes the end of an epoch for a place within it, and skips the next
        trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
        # the optimizers exist, and their states are not yet loaded
        self.built = {
            "parameter groups": [
                _arguments(group) for optimizer in trainer.optimizers for group in optimizer.param_groups
            ],
            "schedulers": [_arguments(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs],
        }
        self._validate_before_the_end(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        mine = {
            "random": _random_states(trainer.strategy.root_device),
            "window": pl_module.window_state(),
            "threads": torch.get_num_threads(),
            "metrics": {name: value.cpu() for name, value in trainer.callback_metrics.items()},
        }
        processes = gather(mine)
        validation = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
        checkpoint["visionlab"] = {
            "processes": processes,
            "built": self.built,
            "plateaus": _plateaus(trainer),
            "global_batch": len(processes) * trainer.datamodule.batch_size,  # type: ignore[attr-defined]
            "before_validation": validation.started > validation.processed,  # type: ignore[attr-defined]
            "ended_by": self.rules if trainer.should_stop and not _time_is_up(trainer) else None,
            "table": next((table.size for table in _tables(trainer)), None),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.loaded = checkpoint.get("visionlab")
        if self.loaded is None:
            return
        if trainer.world_size != (before := len(self.loaded["processes"])):
            self._keep_global_batch(trainer, before, self.loaded["global_batch"])
        self.loaded = {"before_validation": False, **self.loaded, "step": checkpoint["global_step"]}
        if trainer.state.fn == TrainerFn.FITTING:
            trainer.should_stop |= self.loaded.get("ended_by") == self.rules
            self._validate_before_the_end(trainer)

    def _validate_before_the_end(self, trainer: Trainer) -> None:
        """Where a run was saved after its last step, but before the validation that follows, hold its end back until
        that begins, for Lightning asks first whether training has ended.
        """
        if self.loaded is None or not self.built:  # strategies differ in what comes first
            return
        loop = trainer.fit_loop.epoch_loop
        ends = trainer.should_stop or 0 <= loop.max_steps <= self.loaded["step"]
        if self.loaded["before_validation"] and ends and trainer.enable_validation:
            self.held_back = (loop.max_steps, trainer.should_stop)
            loop.max_steps, trainer.should_stop = -1, False
            loop._should_check_val_fx = lambda data_fetcher: True  # type: ignore[method-assign]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loop = trainer.fit_loop.epoch_loop
        if self.held_back is not None:
            loop.max_steps, trainer.should_stop = self.held_back
            del loop._should_check_val_fx
            self.held_back = None
        if trainer.state.fn == TrainerFn.VALIDATING:
            _count_last_epoch(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _count_last_epoch(trainer)

    def _keep_global_batch(self, trainer: Trainer, before: int, images: int) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        each, left = divmod(images, trainer.world_size)
        if left:
            raise ValueError(
                f"the run was saved by {before} processes with {images} images in a global batch, which "
                f"{trainer.world_size} processes cannot share equally"
            )
        if each != data.batch_size and trainer.is_global_zero:
            print(
                f"visionlab: {trainer.world_size} processes go on with what {before} began: {each} images each instead "
                f"of {data.batch_size}, so that {images} stay a global batch",
                file=sys.stderr,
            )
        data.batch_size = each

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        # a validation that is begun again has the step of the checkpoint
        validates = trainer.fit_loop.epoch_loop.val_loop.restarted_mid_evaluation
        self._forget_rows(trainer, "" if validates else None)
        if self.loaded is None:
            return
        processes = self.loaded["processes"]
        same = len(processes) == trainer.world_size
        mine = processes[trainer.global_rank if same else 0]
        if same:
            torch.set_num_threads(mine["threads"] if self.threads is None else self.threads)
            _restore_random_states(mine["random"], trainer.strategy.root_device)
            pl_module.load_window_state(mine["window"])
        elif trainer.is_global_zero:  # another number of processes: random streams cannot go on, sums can
            pl_module.load_window_state(_add_windows([process["window"] for process in processes]))
        trainer._logger_connector._callback_metrics.update(mine.get("metrics", {}))
        for callback, rule in zip(_early_stopping(trainer), self.rules, strict=True):
            callback.patience = rule["patience"]
        for number, value in self.loaded.get("plateaus", {}).items():
            pl_module.lr_scheduler_step(trainer.lr_scheduler_configs[number].scheduler, value)
        self._obey_new_arguments(trainer, self.loaded["built"])
        self.loaded = None

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.loaded is not None:  # training was over, and the closing test is done again
            self._forget_rows(trainer, "test/" if trainer.datamodule.test_has_labels else "val/")  # type: ignore[attr-defined]
            self.loaded = None

    def _forget_rows(self, trainer: Trainer, stage: str | None) -> None:
        """Take from the table what is logged again: what came after the step of the checkpoint and, unless None, what
        of ``stage`` came after the checkpoint.
        """
        size = None if self.loaded is None or stage is None else self.loaded.get("table")
        for table in _tables(trainer):
            table.forget_after(trainer.global_step, size, stage or "")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        # Lightning 2.6.6 would not tell ReduceLROnPlateau at the end of an epoch that was continued, for it clears this
        # after that
        trainer.fit_loop.restarting = False

    def _obey_new_arguments(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        for kind, now in self.built.items():
            if len(now) != len(saved[kind]):
                raise ValueError(f"the run was saved with {len(saved[kind])} {kind}, not {len(now)}: start a new one")
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        for group, old, new in zip(groups, saved["parameter groups"], self.built["parameter groups"], strict=True):
            for name, value in new.items():
                if name in old and value != old[name] and name != "lr":
                    group[name] = value
            if (ratio := _ratio(new, old)) != 1:
                group["lr"] = group["lr"] * ratio if group["lr"] else new["lr"]
                if "initial_lr" in group:
                    group["initial_lr"] = new["initial_lr"]
        for config, old, new in zip(
            trainer.lr_scheduler_configs, saved["schedulers"], self.built["schedulers"], strict=True
        ):
            changed = {name: value for name, value in new.items() if name in old and value != old[name]}
            config.scheduler.load_state_dict({**config.scheduler.state_dict(), **changed})


def _count_last_epoch(trainer: Trainer) -> None:
    """Let the closing evaluation tell the same epoch whether or not training had ended when the run was continued."""
    epochs = trainer.fit_loop.epoch_progress.current
    epochs.completed = epochs.ready


def _early_stopping(trainer: Trainer) -> list[EarlyStopping]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, EarlyStopping)]


def _rule(callback: EarlyStopping) -> dict[str, Any]:
    names = ("monitor", "mode", "patience", "min_delta", "stopping_threshold", "divergence_threshold")
    return {name: getattr(callback, name) for name in names}


def _time_is_up(trainer: Trainer) -> bool:
    """Whether training ends for ``max_time``, which Lightning minds itself, and which a longer time lifts."""
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    return any((left := timer.time_remaining()) is not None and left <= 0 for timer in timers)


def _tables(trainer: Trainer) -> list[MetricsTable]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsTable)]


def _plateaus(trainer: Trainer) -> dict[int, Any]:
    """What ReduceLROnPlateau will be told after a checkpoint at the end of an epoch, by its number: Lightning tells it
    last of all, and does not after continuing.
    """
    if trainer.validating or not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
        return {}
    return {
        number: float(trainer.callback_metrics[str(config.monitor)])
        for number, config in enumerate(trainer.lr_scheduler_configs)
        if config.reduce_on_plateau and config.interval == "epoch" and config.monitor in trainer.callback_metrics
    }


PROGRESS = {
    "params",
    "last_epoch",
    "_step_count",
    "_last_lr",
    "_get_lr_called_within_step",
    "_is_initial",
    "best",
    "num_bad_epochs",
}
"""What an optimizer's group or a scheduler holds beside its arguments."""


def _arguments(state: dict[str, Any]) -> dict[str, Any]:
    plain = (int, float, bool, str, list, tuple, dict, type(None))
    return {name: value for name, value in state.items() if name not in PROGRESS and isinstance(value, plain)}


def _ratio(new: dict[str, Any], old: dict[str, Any]) -> float:
    """How the learning rate that the optimizer was built with has changed."""
    was, now = old.get("initial_lr", old["lr"]), new.get("initial_lr", new["lr"])
    return float(now / was) if was else 1.0


def _add_windows(windows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        kind: {name: sum(window[kind][name] for window in windows) for name in windows[0][kind]}
        for kind in ("sums", "counts")
    }


def _random_states(device: torch.device) -> dict[str, Any]:
    """The states of the process's generators, and that of its own device: it may see others elsewhere."""
    algorithm, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  # the global stream is what others draw from
    states = {
        "torch": torch.get_rng_state(),
        "numpy": [algorithm, np.asarray(keys).tolist(), *rest],
        "python": random.getstate(),
    }
    return {**states, "cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def _restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    algorithm, keys, *rest = states["numpy"]
    np.random.set_state((algorithm, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in states and device.type == "cuda":
        saved = states["cuda"]
        if isinstance(saved, list):  # as it was saved before: of all devices that the process saw
            saved = saved[min(device.index or 0, len(saved) - 1)]
        torch.cuda.set_rng_state(saved, device)
