"""Samples into batches, in the forms of :mod:`visionlab.batch`."""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from visionlab.batch import (
    ClassificationBatch,
    DetectionBatch,
    DetectionTarget,
    ImageBatch,
    LocalizationBatch,
    PairedBatch,
    SegmentationBatch,
)
from visionlab.data.sample import Objects, Sample

Ids = npt.NDArray[np.int64]


def images_only(samples: Sequence[Sample], ids: Ids) -> ImageBatch:
    """Images of one size."""
    return {"images": _stacked(samples), "ids": torch.from_numpy(ids)}


def paired(samples: Sequence[Sample], ids: Ids) -> PairedBatch:
    """Images of one size, each with the one that belongs to it: the first and the second half of their channels."""
    images, targets = _stacked(samples).chunk(2, dim=1)
    return {"images": images.contiguous(), "target_images": targets.contiguous(), "ids": torch.from_numpy(ids)}


def classification(samples: Sequence[Sample], ids: Ids) -> ClassificationBatch:
    """Images of one size, with a label or with a row of labels each; all without, if one is."""
    batch: ClassificationBatch = {"images": _stacked(samples), "ids": torch.from_numpy(ids)}
    if all("label" in sample for sample in samples):
        batch["labels"] = torch.tensor([sample["label"] for sample in samples])
    elif all("labels" in sample for sample in samples):
        batch["labels"] = torch.from_numpy(np.stack([sample["labels"] for sample in samples]))
    return batch


def localization(samples: Sequence[Sample], ids: Ids) -> LocalizationBatch:
    """Images of one size, with a label and the boxes of that class each."""
    return {
        "images": _stacked(samples),
        "labels": torch.tensor([sample["label"] for sample in samples]),
        "boxes": [_float32(sample["objects"]["boxes"]) for sample in samples],
        "ids": torch.from_numpy(ids),
    }


def detection(samples: Sequence[Sample], ids: Ids) -> DetectionBatch:
    """Images of any sizes, with their objects and verified labels; all without, if one is."""
    batch: DetectionBatch = {"images": [_tensor(sample["image"]) for sample in samples], "ids": torch.from_numpy(ids)}
    if all("objects" in sample for sample in samples):
        batch["targets"] = [_target(sample["objects"]) for sample in samples]
    if all("labels" in sample for sample in samples):
        batch["labels"] = torch.from_numpy(np.stack([sample["labels"] for sample in samples]))
    return batch


def segmentation(samples: Sequence[Sample], ids: Ids) -> SegmentationBatch:
    """Images of one size with their masks, for training."""
    images = _stacked(samples)
    return {
        "images": images,
        "masks": torch.from_numpy(np.stack([sample["mask"] for sample in samples])),
        "ids": torch.from_numpy(ids),
    }


def ragged_segmentation(samples: Sequence[Sample], ids: Ids) -> SegmentationBatch:
    """Images of any sizes with their masks, for evaluation at each mask's own resolution; all without, if one is."""
    batch: SegmentationBatch = {
        "images": [_tensor(sample["image"]) for sample in samples],
        "ids": torch.from_numpy(ids),
    }
    if all("mask" in sample for sample in samples):
        batch["masks"] = [torch.from_numpy(sample["mask"]) for sample in samples]
    return batch


def _stacked(samples: Sequence[Sample]) -> Tensor:
    """``(B, 3, H, W)``."""
    sizes = {sample["image"].shape for sample in samples}
    if len(sizes) > 1:
        shown = ", ".join(f"{height} x {width}" for height, width, _ in sorted(sizes)[:3])
        raise ValueError(f"the images of a batch differ in size ({shown}): give a transform that crops or resizes them")
    (height, width, channels) = sizes.pop()
    stacked = np.empty((len(samples), channels, height, width), dtype=np.uint8)
    for planes, sample in zip(stacked, samples, strict=True):
        cv2.split(sample["image"], list(planes))  # 16 times as fast as numpy's copy of a transposed image
    return torch.from_numpy(stacked)


def _tensor(image: npt.NDArray[np.uint8]) -> Tensor:
    """``(3, H, W)``."""
    return _stacked([{"image": image}])[0]


def _float32(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


NAMES = {"crowd": "iscrowd"}
"""What a target calls an entry of the objects, where it has another name."""

FLOAT32 = ("boxes", "keypoints")
"""What nets compute with; what only metrics read stays as the data set has it."""


def _target(objects: Objects) -> DetectionTarget:
    target = {}
    for name, rows in objects.items():
        array = np.asarray(rows)
        target[NAMES.get(name, name)] = torch.from_numpy(
            array.astype(np.float32) if name in FLOAT32 else np.ascontiguousarray(array)
        )
    return cast(DetectionTarget, target)
