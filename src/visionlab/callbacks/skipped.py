"""Says how many images a run left out because they could not be read."""

import warnings
from typing import Any

from lightning import Callback, LightningModule, Trainer

from visionlab.processes import gather


class CountSkipped(Callback):
    """After each epoch and each evaluation in which images were left out, on any process: a warning, and
    ``<stage>/skipped`` to the loggers, the number of different images so far.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, "train")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, "test")

    def _tell(self, trainer: Trainer, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # ours: the command line makes no trainer without
        images = len(set().union(*gather(data.skipped[stage])))
        if images > 0 and trainer.is_global_zero:
            warnings.warn(f"{stage}: {images} images could not be read and were left out", stacklevel=2)
            for logger in trainer.loggers:
                logger.log_metrics({f"{stage}/skipped": images}, trainer.global_step)
