"""Metrics of per-image records: exact at any number of processes."""

from abc import abstractmethod
from collections.abc import Mapping
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from visionlab.batch import PADDING
from visionlab.processes import gather

Entries = Tensor | list[Any]
"""One entry an image: the rows of a tensor, or a list of what is not of one size."""


class ByImage(Metric):
    """A metric that keeps a few numbers about every image and computes from them once, in the order of the images' ids.

    Padding is dropped and the records of all processes are gathered, so that, given the same predictions, the result
    is the same to the last bit at any number of processes, and a process without any image takes part like any other.
    For that, ``evaluate`` adds up with numpy, or in whole numbers: torch's sum of many floats depends on the number of
    threads, and Lightning sets that by the number of processes.

    Attributes:
        records: the tensors of the last ``compute``, by name, one entry an image, in the order of ``ids``, which is
            among them; on the CPU.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    batches: list[dict[str, Entries]]

    def __init__(self) -> None:
        # gathering is done here: torchmetrics' own hangs where one process has no image
        super().__init__(sync_on_compute=False)
        self.batches = []
        self.records: dict[str, Tensor] = {}

    @abstractmethod
    def record(self, predictions: Any, batch: Any) -> Mapping[str, Entries]:
        """What to keep about each image of a batch: by name, ``(B, ...)``, or a list of B. Depends on nothing but that
        image.

        Where little is known of each image, sparse tensors keep only that.
        """

    @abstractmethod
    def evaluate(self, records: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the metrics, by name, from the records of all images, N entries each, in the order of ids."""

    def update(self, predictions: Any, batch: Any) -> None:
        """Add a batch.

        Args:
            predictions: as :mod:`visionlab.batch` gives it for the task.
            batch: likewise.
        """
        counts = (batch["ids"] != PADDING).cpu().nonzero()[:, 0]
        kept = {"ids": batch["ids"], **self.record(predictions, batch)}
        self.batches.append({name: _chosen(entries, counts) for name, entries in kept.items()})

    def compute(self) -> dict[str, Tensor]:
        """The metrics, by name, on the CPU: scalars, ``(C,)`` vectors, matrices. torchmetrics makes one entry a scalar.

        Where ``torch.distributed`` is initialized every process must call this, and every process gets the result.

        Raises:
            ValueError: if no image was added on any process, or one was added twice.
        """
        everyones = gather(_joined(self.batches))
        records = _joined([one for one in everyones if one])
        if not records or len(records["ids"]) == 0:
            raise ValueError("there is no image to evaluate")
        ids, order = torch.as_tensor(records["ids"]).sort()
        if (twice := ids[1:][ids.diff() == 0]).numel() > 0:
            raise ValueError(
                f"image {int(twice[0])} was added more than once: call reset() before each evaluation, "
                f"and give an image that a sampler repeats the id {PADDING}"
            )
        records = {name: _chosen(entries, order) for name, entries in records.items()}
        self.records = {name: entries for name, entries in records.items() if isinstance(entries, Tensor)}
        return self.evaluate(records)

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the value of one batch says little, and computing it would forget the other batches."""
        raise TypeError(f"call update() for each batch of {type(self).__name__} and compute() once at the end")

    def reset(self) -> None:
        """Forget every image. The ``records`` of the last ``compute`` stay."""
        super().reset()
        self.batches = []


def mean_of_known(values: Any) -> float:
    """The mean of what is not NaN, of a numpy array of any shape; NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _chosen(entries: Entries, at: Tensor) -> Entries:
    if isinstance(entries, Tensor):
        return entries.detach().cpu().index_select(0, at)
    return [entries[i] for i in at.tolist()]


def _joined(parts: list[dict[str, Entries]]) -> dict[str, Entries]:
    """The parts one after another."""
    if not parts:
        return {}
    columns = {name: [part[name] for part in parts] for name in parts[0]}
    return {
        name: torch.cat(column) if isinstance(column[0], Tensor) else list(chain.from_iterable(column))  # type: ignore[arg-type]
        for name, column in columns.items()
    }
