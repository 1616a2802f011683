"""The losses of a split, as exact as its other metrics."""

from typing import Any

import torch
from torch import Tensor

from visionlab.metrics.by_image import ByImage


class Losses(ByImage):
    """Means over the images of each loss of a task, and their sum as ``loss``.

    A loss that a task gives as one scalar a batch counts for each image of the batch.
    """

    def record(self, predictions: Any, batch: Any) -> dict[str, Tensor]:
        """Keep the losses, given in place of predictions: by name, ``(B,)`` or a scalar."""
        losses = {name: loss.expand(len(batch["ids"])) for name, loss in predictions.items()}
        return {**losses, "loss": torch.stack(list(losses.values())).sum(0)}

    def evaluate(self, records: dict[str, Tensor]) -> dict[str, Tensor]:
        """``loss``, and each part by its name if there are several."""
        means = {name: value.double().mean() for name, value in records.items() if name != "ids"}
        return means if len(means) > 2 else {"loss": means["loss"]}
