"""Pictures of segmented images: what was true, and what was found."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import wandb
from lightning import LightningModule
from PIL import Image

from visionlab.batch import VOID
from visionlab.callbacks.predicting import predict_again
from visionlab.pictures.grids import grid
from visionlab.pictures.masks import semantic
from visionlab.pictures.segmentations import compared

CELL = 320
"""Pixels on the longer side of an image."""

IMAGES = 8
"""How many of them make a sheet."""

Mask = npt.NDArray[np.uint8]


class Segmented(NamedTuple):
    """An image with its true mask and the predicted one."""

    image: npt.NDArray[np.uint8]
    truth: Mask
    found: Mask


def segment(task: LightningModule, dataset: Any, indices: Sequence[int]) -> list[Segmented]:
    """Predict the masks of some images of a split: see :func:`visionlab.callbacks.predicting.predict_again`."""
    again = predict_again(task, dataset, indices)
    return [Segmented(sample["image"], sample["mask"], found["mask"].cpu().numpy()) for sample, _, found in again]


def true_masks(images: Sequence[npt.NDArray[np.uint8]], masks: Sequence[Any], classes: Sequence[str]) -> Image.Image:
    """A sheet of the first images under their true masks."""
    pairs = list(zip(images, masks, strict=True))[:IMAGES]
    return _sheet([semantic(image, mask.cpu().numpy(), classes, side=CELL) for image, mask in pairs], None, 4)


def beside_true_masks(found: Sequence[Segmented], captions: Sequence[str], classes: Sequence[str]) -> Image.Image:
    """A sheet of images, each four times: itself, its true mask, the predicted one, and where that is wrong."""
    return _sheet([compared(*one, classes, side=CELL) for one in found], captions, 1)


def mask_overlay(one: Segmented, classes: Sequence[str]) -> wandb.Image:
    """An image for W&B, which draws the masks, true and predicted, as its user likes them."""
    names = {**dict(enumerate(classes)), VOID: "void"}
    masks = {
        kind: {"mask_data": mask, "class_labels": names} for kind, mask in (("truth", one.truth), ("found", one.found))
    }
    return wandb.Image(one.image, masks=masks)


def _sheet(drawn: Sequence[Image.Image], captions: Sequence[str] | None, columns: int) -> Image.Image:
    """Pictures at their own size."""
    largest = max(max(one.size) for one in drawn)
    return grid([np.asarray(one) for one in drawn], captions=captions, columns=columns, cell=largest)
