"""From a run folder back to a task that predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from visionlab.callbacks.checkpoints import read_checkpoint
from visionlab.data.base import DataModule
from visionlab.experiment import Experiment
from visionlab.recipes import require_recipe
from visionlab.run import Run
from visionlab.tasks.adversarial import Adversarial
from visionlab.tasks.base import AnyTask


@dataclass(frozen=True)
class Loaded:
    """A task with its weights, in evaluation mode on the CPU, without the :class:`Adversarial` around it; its data; and
    the label map that it was trained with, one ``{id, index, name}`` a class, for the data may not be there to ask.
    """

    task: AnyTask
    data: DataModule
    label_map: list[dict[str, int | str]]

    @property
    def class_names(self) -> list[str]:
        """By label."""
        return [str(entry["name"]) for entry in self.label_map]

    @torch.inference_mode()
    def predict(self, images: Sequence[npt.NDArray[np.uint8]]) -> Any:
        """Predict images, on the task's device.

        Args:
            images: ``(H, W, channels)`` each, as ``data.read`` gives them: of one size, unless the task takes any.

        Returns:
            The task's predictions, as :mod:`visionlab.batch` has them: for all images together, or, where the task
            takes images of any sizes, a list of one an image, each found alone, without the padding of a batch.
        """
        if self.task.ragged:
            return [found for image in images for found in self._predict([_pixels(image)])]
        return self._predict(torch.stack([_pixels(image) for image in images]))

    def _predict(self, images: Tensor | list[Tensor]) -> Any:
        here = self.task.device
        on_device = images.to(here) if isinstance(images, Tensor) else [image.to(here) for image in images]
        batch: Any = {"images": on_device, "ids": torch.arange(len(images), device=here)}
        return self.task.step(self.task.on_after_batch_transfer(batch, 0)).predict()


def _pixels(image: npt.NDArray[np.uint8]) -> Tensor:
    """``(channels, H, W)``."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def load(
    folder: str | Path, checkpoint: Path | None = None, weights: Literal["averaged", "raw"] = "averaged"
) -> Loaded:
    """Rebuild the net, the weights and the label map of a run. Its configuration names the classes to import, so it is
    code: load runs that you trust.

    Args:
        folder: the run folder.
        checkpoint: its best if None.
        weights: which of both, where the checkpoint has averaged ones beside the raw.

    Raises:
        ValueError: if the folder is no run, its configuration no recipe, or the checkpoint damaged.
        FileNotFoundError: if there is no such checkpoint.
    """
    run = Run.open(folder)
    path = run.best if checkpoint is None else checkpoint
    require_recipe(run.folder / "config.yaml")
    content = read_checkpoint(path)
    label_map = content["label_map"]
    experiment = Experiment(["--config", str(run.folder / "config.yaml")], num_classes=len(label_map))
    task = experiment.model
    task.load_state_dict(content["state_dict"])
    if weights == "averaged" and "averaged" in content:
        task.net.load_state_dict(content["averaged"]["weights"])
    task.eval()
    return Loaded(task.task if isinstance(task, Adversarial) else task, experiment.datamodule, label_map)
