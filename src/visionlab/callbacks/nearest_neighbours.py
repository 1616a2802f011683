"""Draws generated images beside the training images that are nearest to them."""

from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from visionlab.callbacks.generated_pictures import generating, to_uint8
from visionlab.callbacks.leaving import leave
from visionlab.pictures.neighbours import neighbours

PAIRS = 24


class NearestNeighbours(Callback):
    """Leaves ``pictures/nearest_neighbours.png`` in the run folder, and in W&B, of evaluations that are not within
    training: the generated images that are nearest to a training image, by the features of the scores.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pictures"

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn != "fit":
            self._draw(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, task: Any) -> None:
        if not trainer.is_global_zero or task.scores is None or task.scores.samples is None:
            return
        (metric,) = task.metrics.values()
        order = metric.neighbours["distance"].argsort(stable=True)[:PAIRS].tolist()
        with generating(trainer, task):
            generated = to_uint8(task.generate_numbered(order))
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        train = data.dataset("train", augmented=False)
        nearest = [train.image(i) for i in metric.neighbours["nearest"][order].tolist()]
        picture = neighbours(generated, nearest, metric.neighbours["distance"][order].tolist(), PAIRS)
        leave(trainer, self.folder, "nearest_neighbours", picture)
