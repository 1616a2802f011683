"""Says when a game of two players is lost, and which checkpoint is from before."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor
from torch.nn import functional as F

from visionlab.callbacks.checkpoints import link
from visionlab.callbacks.generated_pictures import generating

WON = 0.01
"""A discriminator's loss from which its generator learns next to nothing."""
STEPS = 500
"""How many training steps it must last."""
COLLAPSED = 0.2
"""A diversity of generated images, as a share of that of real ones, which even a few alike images exceed."""
VALIDATIONS = 3
"""How many in a row must find it."""
IMAGES = 256
"""Of which diversity is measured."""


class GANAlarms(Callback):
    """Warns once of each trouble, on the process that writes, and keeps ``good.ckpt``: the newest checkpoint from
    before it began.

    A discriminator that has won: its loss, where 0 means that it tells all images apart, has been below :data:`WON` for
    :data:`STEPS` steps. A generator that has collapsed to a few images: their diversity is below :data:`COLLAPSED` of
    that of real images in :data:`VALIDATIONS` validations in a row. Diversity is the variance over images, averaged
    over pixels, of images reduced to 8 x 8; ``val/diversity`` is logged as a share of that of real validation images.

    Args:
        checkpoints: the folder of ``last.ckpt``.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self.winning_since: int | None = None
        self.collapsed = 0
        self.warned: list[str] = []
        self.real: float | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        if not pl_module.can_be_won or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        loss = trainer.callback_metrics.get("train/discriminator")
        if loss is None or loss >= WON:
            self.winning_since = None
        elif self.winning_since is None:
            self.winning_since = trainer.global_step
            self._keep_good(trainer)
        elif trainer.global_step - self.winning_since >= STEPS:
            trouble = f"the discriminator has won: its loss has been below {WON} since step {self.winning_since}"
            self._warn("won", f"{trouble}, and the generator learns next to nothing")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        if self.real is None:
            dataset = trainer.datamodule.datasets["val"]  # type: ignore[attr-defined]
            some = np.stack([dataset.image(i) for i in range(min(IMAGES, len(dataset)))])
            self.real = _variance(torch.from_numpy(some).permute(0, 3, 1, 2) / 255)
        with generating(trainer, pl_module):
            made = [pl_module.generate_numbered(range(at, at + 64)) for at in range(0, IMAGES, 64)]
        diversity = _variance(torch.cat(made)) / max(self.real, 1e-12)
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, "val/diversity": diversity}, trainer.global_step)
        if diversity >= COLLAPSED:
            self.collapsed = 0
            return
        if self.collapsed == 0:
            self._keep_good(trainer)
        self.collapsed += 1
        if self.collapsed >= VALIDATIONS:
            trouble = f"the generator has collapsed to a few images, {diversity:.0%} as diverse as real ones"
            self._warn("collapsed", f"{trouble}, for {self.collapsed} validations")

    def _keep_good(self, trainer: Trainer) -> None:
        last = self.checkpoints / "last.ckpt"
        if trainer.is_global_zero and last.exists() and not self.warned:
            link(last, self.checkpoints / "good.ckpt")

    def _warn(self, name: str, trouble: str) -> None:
        if name not in self.warned:
            self.warned.append(name)
            good = self.checkpoints / "good.ckpt"
            rank_zero_warn(
                f"{trouble}; "
                + (f"the last good checkpoint is {good}" if good.exists() else "there is no checkpoint from before")
            )

    def state_dict(self) -> dict[str, Any]:
        return {"winning_since": self.winning_since, "collapsed": self.collapsed, "warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.winning_since, self.collapsed = state_dict["winning_since"], state_dict["collapsed"]
        self.warned = state_dict["warned"]


def _variance(images: Tensor) -> float:
    """Over images ``(N, channels, H, W)``, averaged over the pixels of 8 x 8."""
    reduced = F.adaptive_avg_pool2d(images.float().cpu(), 8)
    return float(reduced.var(0).mean())
