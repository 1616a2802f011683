"""How fast a run trained."""

import json
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Writes ``results/train.json`` when training ends: optimizer steps, seconds, and images per second over all
    processes, both without the time that validation and the ends of epochs took.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0
        self.images = 0
        self.steps = 0
        self.since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds, self.images, self.steps = 0.0, 0, trainer.global_step
        self.since = time.monotonic()  # a run that is continued within an epoch does not start it again

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.since = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch["ids"]) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.monotonic() - self.since

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.since = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.monotonic() - self.since

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        steps, rate = trainer.global_step - self.steps, self.images / max(self.seconds, 1e-9)
        speed = {"steps": steps, "seconds": self.seconds, "images_per_second": rate}
        (self.folder / "results").mkdir(parents=True, exist_ok=True)
        (self.folder / "results" / "train.json").write_text(json.dumps(speed, indent=2) + "\n")
