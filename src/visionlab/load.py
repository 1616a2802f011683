"""From a run folder back to a task that predicts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from visionlab.callbacks.checkpoints import read_checkpoint
from visionlab.data.base import DataModule
from visionlab.experiment import Experiment
from visionlab.recipes import require_recipe
from visionlab.run import Run
from visionlab.tasks.base import Task


@dataclass(frozen=True)
class Loaded:
    """A task with its weights, in evaluation mode on the CPU; its data; and the names of its classes as it was trained
    on them.
    """

    task: Task
    data: DataModule
    class_names: list[str]

    @torch.inference_mode()
    def predict(self, images: npt.NDArray[np.uint8]) -> Any:
        """Predict images, on the task's device.

        Args:
            images: ``(B, H, W, channels)``, as ``data.read`` gives each.

        Returns:
            The task's predictions, as :mod:`visionlab.batch` has them.
        """
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        batch: Any = {"images": pixels.to(self.task.device), "ids": torch.arange(len(images), device=self.task.device)}
        return self.task.step(self.task.on_after_batch_transfer(batch, 0)).predict()


def load(folder: str | Path, checkpoint: Path | None = None) -> Loaded:
    """Rebuild the net, the weights and the label map of a run. Its configuration names the classes to import, so it is
    code: load runs that you trust.

    Args:
        folder: the run folder.
        checkpoint: its best if None.

    Raises:
        ValueError: if the folder is no run, its configuration no recipe, or the checkpoint damaged.
        FileNotFoundError: if there is no such checkpoint.
    """
    run = Run.open(folder)
    path = run.best if checkpoint is None else checkpoint
    require_recipe(run.folder / "config.yaml")
    content = read_checkpoint(path)
    names = [str(entry["name"]) for entry in content["label_map"]]
    experiment = Experiment(["--config", str(run.folder / "config.yaml")], num_classes=len(names))
    experiment.model.load_state_dict(content["state_dict"])
    experiment.model.eval()
    return Loaded(experiment.model, experiment.datamodule, names)
