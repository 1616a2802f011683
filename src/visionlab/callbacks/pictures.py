"""Draws what a run did: the images it trained on, its worst mistakes, its confusions and its learning curves."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from visionlab.callbacks import mask_pictures
from visionlab.callbacks.leaving import leave, tell
from visionlab.callbacks.mask_pictures import beside_true_masks, mask_overlay, segment, true_masks
from visionlab.callbacks.object_pictures import IMAGES, beside_truth, find, overlay, truths, worst_first
from visionlab.loggers import read_metrics
from visionlab.pictures.colours import RIGHT, WRONG
from visionlab.pictures.confusion import confusion
from visionlab.pictures.curves import curves
from visionlab.pictures.grids import grid

SECONDS_BETWEEN = 600
"""How long training goes on before validation is drawn again; drawing takes a fifth of a second."""


class Pictures(Callback):
    """Leaves pictures in the run folder, and in W&B.

    ``train_samples.png``: training images as fed to the net. ``<stage>_worst.png``: images by falling loss, with truth
    and prediction; with objects, two pictures each, fewer, and in the order of
    :func:`visionlab.callbacks.object_pictures.worst_first`; with masks, by rising mean IoU of the image, four pictures
    each, the last of which shows what is wrong. ``<stage>_confusion.png``. ``curves.png``: losses and metrics over the
    steps.

    Args:
        folder: the run folder.
        images: how many on a sheet.
    """

    def __init__(self, folder: Path, images: int = 32) -> None:
        self.folder, self.images = folder, images
        self.drawn = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not trainer.is_global_zero or trainer.global_step > 0 or batch_idx > 0:
            return
        images = [_to_uint8(image) for image in batch["images"][: self.images]]
        classes = trainer.datamodule.classes  # type: ignore[attr-defined]
        if "targets" in batch:
            self._leave(trainer, "train_samples", truths(images, batch["targets"][: self.images], classes))
        elif "masks" in batch:
            self._leave(trainer, "train_samples", true_masks(images, batch["masks"][: self.images], classes))
        else:
            captions = [_describe(label, classes) for label in batch.get("labels", ())[: self.images]]
            self._leave(trainer, "train_samples", grid(images, captions=captions if captions else None))

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if "val" in pl_module.results:
            self._draw(trainer, pl_module, "val")
        table = self.folder / "metrics.csv"
        if trainer.is_global_zero and table.exists():
            self._leave(trainer, "curves", curves(read_metrics(table)))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        due = time.monotonic() - self.drawn > SECONDS_BETWEEN
        if not trainer.sanity_checking and (trainer.state.fn == "validate" or due):
            self._draw(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module, "test")

    def _draw(self, trainer: Trainer, task: Any, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        self.drawn = time.monotonic()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for name, value in task.results[stage].items():
            if name.endswith("/confusion"):
                self._leave(trainer, f"{stage}_confusion", confusion(value.numpy(), data.classes))
        records = task.records
        if {"loss", "label", "prediction", "confidence"} <= records.keys():
            worst = records["loss"].argsort(descending=True, stable=True)[: self.images].tolist()
            images = [data.datasets[stage].image(int(records["ids"][i])) for i in worst]
            right = [bool(records["label"][i] == records["prediction"][i]) for i in worst]
            truths = [data.classes[int(records["label"][i])] for i in worst]
            predicted = [_name(data.classes, int(records["prediction"][i])) for i in worst]
            sure = [f"{float(records['confidence'][i]):.0%}" for i in worst]
            captions = [f"{t}\n\N{RIGHTWARDS ARROW} {p} {c}" for t, p, c in zip(truths, predicted, sure, strict=True)]
            sheet = grid(images, captions=captions, colours=[RIGHT if r else WRONG for r in right])
            self._leave(trainer, f"{stage}_worst", sheet)
        elif "mIoU" in records:
            self._draw_masks(trainer, task, stage)
        elif "loss" in records and task.ragged:
            self._draw_objects(trainer, task, stage)

    def _draw_objects(self, trainer: Trainer, task: Any, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        worst = worst_first(task.records)[:IMAGES].tolist()
        indices = [int(task.records["ids"][i]) for i in worst]
        found = find(task, data.datasets[stage], indices)
        captions = [
            f"{data.datasets[stage].name(index)}, loss {float(task.records['loss'][i]):.3g}: true, found"
            for i, index in zip(worst, indices, strict=True)
        ]
        sheet = beside_truth(found, captions, data.classes)
        self._leave(trainer, f"{stage}_worst", sheet)
        tell(trainer, f"{stage}_worst_objects", lambda: [overlay(one, data.classes) for one in found])

    def _draw_masks(self, trainer: Trainer, task: Any, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        scores = task.records["mIoU"]  # NaN, where all is void, is last
        worst = scores.argsort(stable=True)[: mask_pictures.IMAGES].tolist()
        indices = [int(task.records["ids"][i]) for i in worst]
        found = segment(task, data.datasets[stage], indices)
        names = [data.datasets[stage].name(index) for index in indices]
        captions = [
            f"{name}, mIoU {float(scores[i]):.3f}: image, truth, prediction, error"
            for i, name in zip(worst, names, strict=True)
        ]
        self._leave(trainer, f"{stage}_worst", beside_true_masks(found, captions, data.classes))
        tell(trainer, f"{stage}_worst_masks", lambda: [mask_overlay(one, data.classes) for one in found])

    def _leave(self, trainer: Trainer, name: str, picture: Image.Image) -> None:
        leave(trainer, self.folder / "pictures", name, picture)


def _name(classes: Any, label: int) -> str:
    return str(classes[label]) if label >= 0 else "nothing"  # -1 where the logits were NaN


def _to_uint8(image: Tensor) -> npt.NDArray[np.uint8]:
    """``(channels, H, W)`` in [0, 1] to ``(H, W, channels)``."""
    return (image.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _describe(label: Tensor, classes: Any) -> str:
    if label.ndim == 0:
        return str(classes[int(label)])
    return ", ".join(str(classes[i]) for i in (label == 1).nonzero()[:, 0].tolist())
