"""Metrics of per-image records: exact at any number of processes."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from visionlab.batch import PADDING
from visionlab.processes import gather


class ByImage(Metric):
    """A metric that keeps a few numbers about every image and computes from them once, in the order of the images' ids.

    Padding is dropped and the records of all processes are gathered, so that, given the same predictions, the result is the same to the
    last bit at any number of processes, and a process without any image takes part like any other.

    Attributes:
        records: after ``compute``, by name, one entry an image, in the order of ``ids``, which is among them.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    batches: list[dict[str, Tensor]]

    def __init__(self) -> None:
        # gathering is done here: torchmetrics' own hangs where one process has no image
        super().__init__(sync_on_compute=False)
        self.batches = []
        self.records: dict[str, Tensor] = {}

    @abstractmethod
    def record(self, predictions: Any, batch: Any) -> dict[str, Tensor]:
        """What to keep about each image of a batch: by name, ``(B, ...)``."""

    @abstractmethod
    def evaluate(self, records: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the metrics, by name, from the records of all images, ``(N, ...)`` each, in the order of their ids."""

    def update(self, predictions: Any, batch: Any) -> None:
        """Add a batch.

        Args:
            predictions: as :mod:`visionlab.batch` gives it for the task.
            batch: likewise.
        """
        counts = batch["ids"] != PADDING
        kept = {"ids": batch["ids"], **self.record(predictions, batch)}
        self.batches.append({name: value.detach()[counts].cpu() for name, value in kept.items()})

    def compute(self) -> dict[str, Tensor]:
        """The metrics, by name.

        Raises:
            ValueError: if no image was added on any process.
        """
        together = [batch for batches in gather(self.batches) for batch in batches]
        if not together:
            raise ValueError("there is no image to evaluate")
        records = {name: torch.cat([batch[name] for batch in together]) for name in together[0]}
        order = records["ids"].argsort(stable=True)
        self.records = {name: value[order] for name, value in records.items()}
        return self.evaluate(self.records)

    def reset(self) -> None:
        """Forget every image."""
        super().reset()
        self.batches = []
