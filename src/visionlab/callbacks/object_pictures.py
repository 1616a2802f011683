"""Pictures of objects in images: what was true, and what was found."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import wandb
from lightning import LightningModule
from PIL import Image
from torch import Tensor

from visionlab.batch import DetectionPredictions, DetectionTarget
from visionlab.callbacks.predicting import predict_again
from visionlab.pictures.detections import annotated, detected
from visionlab.pictures.grids import grid

CELL = 384
"""Pixels on the longer side of an image with its objects: fewer show no boxes."""

GAP = 6
"""Pixels between the two pictures of an image."""

IMAGES = 12
"""How many of them make a sheet."""

OVERLAID = 100
"""How many of the objects found in an image W&B is given, best first."""


class Found(NamedTuple):
    """An image with its true objects and those that were found."""

    image: npt.NDArray[np.uint8]
    target: DetectionTarget
    found: DetectionPredictions


def worst_first(records: Mapping[str, Tensor]) -> npt.NDArray[np.int64]:
    """The places of images in ``records``, the worst first: by what each alone is worth to the metrics (``..._score``,
    their mean where there are several), images without objects last; those of the same worth by falling ``loss``.
    """
    scores = [score.double().numpy() for name, score in records.items() if name.endswith("_score")]
    loss = records["loss"].double().numpy()
    return np.lexsort((-loss, np.mean(scores, axis=0) if scores else np.zeros(len(loss))))


def find(task: LightningModule, dataset: Any, indices: Sequence[int]) -> list[Found]:
    """Find the objects in some images of a split: see :func:`visionlab.callbacks.predicting.predict_again`."""
    again = predict_again(task, dataset, indices)
    return [Found(sample["image"], batch["targets"][0], found) for sample, batch, found in again]


def truths(
    images: Sequence[npt.NDArray[np.uint8]], targets: Sequence[DetectionTarget], classes: Sequence[str]
) -> Image.Image:
    """A sheet of the first images with their true objects."""
    pairs = list(zip(images, targets, strict=True))[:IMAGES]
    drawn = [annotated(image, target, classes, CELL) for image, target in pairs]
    return grid([np.asarray(one) for one in drawn], columns=4, cell=CELL)


def beside_truth(found: Sequence[Found], captions: Sequence[str], classes: Sequence[str]) -> Image.Image:
    """A sheet of images, each twice: with its true objects, and with those found with a score of at least a half."""
    pairs = []
    for one in found:
        truth = np.asarray(annotated(one.image, one.target, classes, CELL))
        ours = np.asarray(detected(one.image, one.found, classes, side=CELL))
        pairs.append(np.concatenate([truth, np.full_like(truth[:, :GAP], 255), ours], axis=1))
    return grid(pairs, captions=captions, columns=3, cell=2 * CELL + GAP)


def overlay(one: Found, classes: Sequence[str]) -> wandb.Image:
    """An image for W&B, which draws the boxes and masks, true and found, as its user likes them."""
    names = dict(enumerate(classes))
    best = {name: value[:OVERLAID] for name, value in one.found.items()}  # type: ignore[index]
    boxes = {
        "truth": {"box_data": _boxes(one.target), "class_labels": names},
        "found": {"box_data": _boxes(best), "class_labels": names},
    }
    masks = {
        kind: {"mask_data": _by_class(objects), "class_labels": {0: "-", **{i + 1: n for i, n in names.items()}}}
        for kind, objects in (("truth", one.target), ("found", best))
        if "masks" in objects
    }
    return wandb.Image(one.image, boxes=boxes, masks=masks if masks else None)


def _boxes(objects: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i, (box, label) in enumerate(zip(objects["boxes"].tolist(), objects["labels"].tolist(), strict=True)):
        place = dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True))
        rows.append({"position": place, "class_id": label, "domain": "pixel"})
        if "scores" in objects:
            rows[-1]["scores"] = {"score": float(objects["scores"][i])}
    return rows


def _by_class(objects: Any) -> npt.NDArray[np.int64]:
    """``(H, W)``, the label of the object on each pixel and 1; 0 for none. The first objects are in front."""
    masks = objects["masks"].cpu().numpy()
    classes = np.zeros(masks.shape[1:], np.int64)
    for mask, label in zip(masks[::-1], objects["labels"].tolist()[::-1], strict=True):
        classes[mask > 0] = label + 1
    return classes
