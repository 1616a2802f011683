"""Draws what image-to-image translation does: input, output and target beside each other."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from visionlab.callbacks.generated_pictures import generating, to_uint8
from visionlab.callbacks.leaving import leave
from visionlab.pictures.grids import grid

IMAGES = 8
"""Rows of a sheet."""


@runtime_checkable
class ShowsImages(Protocol):
    """A task whose predictions are images that are best seen beside others."""

    def shown(self, batch: Any) -> dict[str, Tensor]:
        """The columns of a sheet, from left to right.

        Args:
            batch: on the task's device, images float in [0, 1].

        Returns:
            By title, ``(B, channels, H, W)`` in [0, 1].
        """


class Translations(Callback):
    """Leaves ``translations.png`` in the run folder after each validation and test, and in W&B: the first images that
    were evaluated, the same each time, with what the task makes of them by the weights that evaluation takes.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pictures"
        self.batch: dict[str, Tensor] = {}

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._keep(trainer, batch, batch_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._keep(trainer, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._draw(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)

    def _keep(self, trainer: Trainer, batch: Any, batch_idx: int) -> None:
        if trainer.is_global_zero and batch_idx == 0:
            self.batch = {name: values[:IMAGES] for name, values in batch.items()}

    def _draw(self, trainer: Trainer, task: Any) -> None:
        if not self.batch:
            return
        with generating(trainer, task):
            columns = task.shown(self.batch)
        images = [to_uint8(column) for column in columns.values()]
        rows = range(len(images[0]))
        sheet = grid(
            [column[row] for row in rows for column in images],
            captions=[title if row == 0 else "" for row in rows for title in columns],
            columns=len(images),
        )
        leave(trainer, self.folder, "translations", sheet)
        self.batch = {}
