"""Predictions for some images, to be drawn."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule


def predict_again(task: LightningModule, dataset: Any, indices: Sequence[int]) -> Iterator[tuple[Any, Any, Any]]:
    """Predict some images of a split, as they are stored, one image at a time, in evaluation mode; when all are taken,
    the task is as it was.

    Yields:
        The sample, the batch of it alone, and what was predicted for it.
    """
    before = [(module, module.training) for module in task.modules()]
    task.eval()
    try:
        for index in indices:
            sample = dataset.sample(index)
            batch = dataset.collate([sample], np.array([index]))
            with torch.inference_mode():
                on_device = task.transfer_batch_to_device(batch, task.device, 0)
                step = task.step({**task.on_after_batch_transfer(on_device, 0)})  # type: ignore[operator]
                found = step.predict()[0]
            yield sample, batch, found
    finally:
        for module, training in before:
            module.training = training
