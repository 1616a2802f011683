"""An exponential moving average of a net's weights, to be evaluated in place of the last ones."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import nn


class EMA(Callback):
    """Averages the net's weights over training, and lends the average to every evaluation and picture.

    The net that trains is left alone: ``state_dict`` in a checkpoint has its weights, and ``averaged`` beside it those
    of the average, under the net's own names, with the number of updates. Which of both is evaluated is
    ``--weights averaged`` (the default) or ``--weights raw``.

    After ``n`` updates the average keeps ``min(decay, (1 + n) / (10 + n))`` of itself, so that it soon forgets the
    random weights at the start (as TensorFlow's ExponentialMovingAverage with ``num_updates``). The statistics of
    BatchNorm are averaged likewise; whole numbers are copied.

    Args:
        decay: how much of itself the average keeps at each update, in [0, 1).
        every_n_steps: how many training steps make an update. For a GAN, whose net takes one step in ``n_critic``, give
            that.
    """

    def __init__(self, decay: float = 0.999, every_n_steps: int = 1) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), not {decay}")
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, not {every_n_steps}")
        self.decay, self.every_n_steps = decay, every_n_steps
        self.weights: Literal["averaged", "raw"] = "averaged"
        self.net: nn.Module | None = None
        self.updates = 0
        self.seen = 0
        self.lent: nn.Module | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if isinstance(trainer.strategy, ModelParallelStrategy | FSDPStrategy):
            raise ValueError("EMA averages whole weights, which this strategy shares out among processes: use ddp")
        if self.net is None:
            self.net = copy.deepcopy(pl_module.net).eval().requires_grad_(False)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        assert self.net is not None  # setup comes before
        if "averaged" in checkpoint:
            self.net.load_state_dict(checkpoint["averaged"]["weights"])
            self.updates = checkpoint["averaged"]["updates"]
            return
        rank_zero_warn("the checkpoint has no averaged weights: the average begins with the net's own")
        self.net.load_state_dict(pl_module.net.state_dict())
        self.updates = 0

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        assert self.net is not None
        checkpoint["averaged"] = {"weights": self.net.state_dict(), "updates": self.updates}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.net is not None
        self.net.to(pl_module.device)
        self.seen = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == self.seen or trainer.global_step % self.every_n_steps:
            return  # gradients are being added up, or it is too soon
        assert self.net is not None
        self.seen = trainer.global_step
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = self.net.state_dict(), pl_module.net.state_dict()
        means = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[name] for name in means], [theirs[name] for name in means], 1 - decay)
        for name in mine.keys() - set(means):
            mine[name].copy_(theirs[name])
        self.updates += 1

    @contextmanager
    def lend(self, task: Any) -> Iterator[None]:
        """Let the task have the average for its net, unless the raw weights are wanted."""
        self._lend(task)
        try:
            yield
        finally:
            self._take_back(task)

    def _lend(self, task: Any) -> None:
        assert self.net is not None
        assert self.lent is None
        if self.weights == "averaged":
            self.lent, task.net = task.net, self.net.to(task.device)

    def _take_back(self, task: Any) -> None:
        if self.lent is not None:
            task.net, self.lent = self.lent, None

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._lend(pl_module)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._take_back(pl_module)

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._lend(pl_module)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._take_back(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._take_back(pl_module)


@contextmanager
def evaluated_weights(trainer: Trainer, task: LightningModule) -> Iterator[None]:
    """The task has the weights that evaluation takes: those of the trainer's :class:`EMA`, if it has one."""
    with ExitStack() as stack:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EMA):
                stack.enter_context(callback.lend(task))
        yield
