"""The progress bar."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

FAST_STEP = 0.05
"""Seconds; drawing the bar at every step shorter than this would cost a noticeable share of it."""


class Progress(TQDMProgressBar):
    """Lightning's bar, redrawn at every slow step and at every twentieth fast one, without the logger's version."""

    def __init__(self) -> None:
        super().__init__()
        self.every = 1
        self.last_step = time.monotonic()

    @property
    def refresh_rate(self) -> int:
        return self.every

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        now = time.monotonic()
        self.every = 1 if now - self.last_step > FAST_STEP else 20
        self.last_step = now
        super().on_train_batch_end(trainer, pl_module, *args)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return dict(metrics)
