"""Metrics of objects in images, exact at any number of processes: what is kept about each image, and its tables."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as rle
from torch import Tensor

from visionlab.batch import DetectionPredictions, DetectionTarget
from visionlab.metrics.by_image import ByImage

Table = dict[str, npt.NDArray[Any]]
"""Columns by name, one row an object."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

RLEs = npt.NDArray[np.object_]
"""``(n,)`` of pycocotools' ``{"size": [height, width], "counts": bytes}``."""

Part = Literal["xywh", "masks", "keypoints"]


class ByObjects(ByImage):
    """A metric of what was found and what is there in each image: :class:`ByImage` with a table of each, of one row an
    object.

    ``record`` keeps lists with a table an image, one of them ``found``. They are put together in the order of the
    images' ids, with a column ``images``, the place of the image in that order, and go to ``evaluate_objects``.
    Everything is computed in numpy, in ``float64``.

    Masks are kept as run lengths (:mod:`pycocotools.mask`).

    Attributes:
        found: what was found in all images, on all processes, at the last ``compute``; until ``reset``.
    """

    found: Table

    @abstractmethod
    def evaluate_objects(self, tables: dict[str, Table], images: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Compute the metrics, and what is to stand among the ``records``, ``(images,)`` each, as numbers and arrays.

        Args:
            tables: by the names that ``record`` gave them.
            images: how many there are.
        """

    def evaluate(self, records: dict[str, Any]) -> dict[str, Tensor]:
        tables = {name: joined(entries) for name, entries in records.items() if isinstance(entries, list)}
        self.found = tables["found"]
        metrics, by_image = self.evaluate_objects(tables, len(records["ids"]))
        self.records |= {name: torch.as_tensor(np.asarray(values)) for name, values in by_image.items()}
        return {name: torch.as_tensor(np.asarray(value)) for name, value in metrics.items()}

    def reset(self) -> None:
        """Forget every image, and what was found."""
        super().reset()
        self.found = {}


def joined(tables: Sequence[Table]) -> Table:
    """One table of those of several images, which are numbered in a column ``images``; at least one."""
    counts = [len(next(iter(table.values()))) for table in tables]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return {"images": np.repeat(np.arange(len(tables)), counts), **columns}


def found_rows(predictions: DetectionPredictions, *parts: Part, most: int | None = None) -> Table:
    """The columns ``labels`` and ``scores`` of the objects found in an image, and some of ``xywh``, which are the left,
    top, width and height of their boxes, ``masks``, as run lengths, and ``keypoints``.

    Args:
        predictions: in one image.
        parts: which.
        most: how many are kept of each class: those of the highest scores, in their order; None for all.
    """
    scores, labels = as_float(predictions["scores"]), as_array(predictions["labels"])
    kept = np.arange(len(scores))
    if most is not None:
        order = np.lexsort((-scores, labels))
        kept = np.sort(order[ranks(labels[order]) < most])
    rows: Table = {"labels": labels[kept], "scores": scores[kept]}
    if "xywh" in parts:
        rows["xywh"] = to_xywh(as_float(predictions["boxes"]))[kept]
    if "masks" in parts:
        rows["masks"] = encoded(as_array(predictions["masks"])[kept])
    if "keypoints" in parts:
        rows["keypoints"] = as_float(predictions["keypoints"])[kept]
    return rows


def true_rows(target: DetectionTarget) -> Table:
    """The columns ``labels``, ``crowd``, ``area`` and ``xywh`` of the objects in an image: the data set's own, or by
    the boxes where it does not say.
    """
    labels = as_array(target["labels"])
    xywh = as_float(target["xywh"]) if "xywh" in target else to_xywh(as_float(target["boxes"]))
    return {
        "labels": labels,
        "crowd": as_array(target["iscrowd"]) if "iscrowd" in target else np.zeros(len(labels), np.bool_),
        "area": as_float(target["area"]) if "area" in target else xywh[:, 2] * xywh[:, 3],
        "xywh": xywh,
    }


def ranks(groups: IntArray) -> IntArray:
    """The place of each row in its group, from 0; ``groups`` do not fall."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def scores_of_images(
    at: IntArray, scores: FloatArray, right: BoolArray, objects_at: IntArray, images: int
) -> dict[str, npt.NDArray[Any]]:
    """What each image alone is worth, ``(images,)`` each.

    Args:
        at: ``(n,)``, the image of each detection that counts.
        scores: ``(n,)``.
        right: ``(n,)``.
        objects_at: ``(m,)``, the image of each object that counts.
        images: how many.

    Returns:
        ``objects``, how many count; how many of them were ``found``; and ``score``, the area under the precision and
        recall of all detections in the image, whatever their class, without interpolation; NaN where there is no
        object.
    """
    order = np.lexsort((-scores, at))
    at, right = at[order], right[order]
    hits = right.cumsum()
    before = np.concatenate([[0], hits])[np.searchsorted(at, at)]  # in the images before
    precision = np.where(right, (hits - before) / (ranks(at) + 1), 0)
    objects = np.bincount(objects_at, minlength=images)
    total = np.bincount(at, precision, images)
    return {
        "objects": objects,
        "found": np.bincount(at[right], minlength=images),
        "score": np.divide(total, objects, out=np.full(images, np.nan), where=objects > 0),
    }


def to_xywh(boxes: FloatArray) -> FloatArray:
    """Left, top, width and height of left, top, right and bottom, ``(n, 4)`` each."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def encoded(masks: npt.NDArray[np.uint8]) -> RLEs:
    """Run lengths of ``(n, H, W)``, which is of 0 and 1."""
    rles = np.empty(len(masks), dtype=np.object_)
    for i, mask in enumerate(masks):
        rles[i] = rle.encode(np.asfortranarray(mask))
    return rles


def as_array(values: Tensor) -> npt.NDArray[Any]:
    """In memory of its own, for what is kept outlives its batch."""
    return values.detach().cpu().numpy().copy()


def as_float(values: Tensor) -> FloatArray:
    """As :func:`as_array`, in ``float64``."""
    return values.detach().cpu().numpy().astype(np.float64)
