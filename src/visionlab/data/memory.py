"""Data sets that fit in memory: arrays of uint8 images of one size, served as whole batches."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics import Metric

from visionlab.batch import PADDING, ClassificationBatch
from visionlab.data.augmentation import Augmentation
from visionlab.data.base import DataModule, Split, run_seed
from visionlab.data.images import read_image, resized
from visionlab.data.sample import Sample
from visionlab.data.sampling import Keys, mix, sample_seeds
from visionlab.metrics.classification import SingleLabel

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]


class MemoryDataset:
    """One split, in memory.

    Args:
        images: ``(N, H, W, channels)`` ``uint8``.
        labels: ``(N,)`` ``int64``.
        numbers: ``(N,)`` ``int64``, the place of each image in the file it came from, which names it.
        augmentation: applied to each batch, if any.
        seed: of the augmentation.
    """

    groups = None

    def __init__(
        self, images: UInt8Array, labels: Int64Array, numbers: Int64Array, augmentation: Augmentation | None, seed: int
    ) -> None:
        self.images, self.labels, self.numbers = images, labels, numbers
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, keys: Keys) -> ClassificationBatch:
        """The batch of ``keys``, its images augmented if the split is."""
        images = self.images[keys.indices]
        if self.augmentation is not None:
            images = self.augmentation(images, sample_seeds(self.seed, keys))
        ids = keys.indices.copy()
        ids[len(ids) - keys.padded :] = PADDING
        return {
            "images": torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
            "labels": torch.from_numpy(self.labels[keys.indices]),
            "ids": torch.from_numpy(ids),
        }

    def image(self, index: int) -> UInt8Array:
        """The image at ``index``, not augmented: ``(H, W, channels)``."""
        image: UInt8Array = self.images[index]
        return image

    def sample(self, index: int) -> Sample:
        """The image at ``index``, not augmented and with the channels of the data set, and its label."""
        return {"image": self.image(index), "label": int(self.labels[index])}

    def name(self, index: int) -> str:
        """The place of an image in the official split."""
        return str(self.numbers[index])


class MemoryDataModule(DataModule):
    """A single-label data set kept in memory. A subclass gives ``classes``, ``arrays`` and ``image_shape``.

    The validation split is the same on every machine, whatever the seed of the run: the same share of each class,
    chosen by hashing the image's place in the official training split.

    Args:
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        val_fraction: the share of the official training images that is held out for validation, in (0, 1).
        augmentation: what is done to training batches, if anything.

    Attributes:
        padding: pixels of zeros added on every side of each image.
    """

    padding: int = 0
    monitor = "single_label/top1"
    mode: Literal["max", "min"] = "max"

    def __init__(
        self,
        batch_size: int,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers)
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must lie between 0 and 1, not {val_fraction}")
        self.val_fraction = val_fraction
        self.augmentation = augmentation

    @abstractmethod
    def arrays(self, split: Literal["train", "test"]) -> tuple[UInt8Array, Int64Array]:
        """Read an official split: ``(N, H, W, channels)`` images, not yet padded, and ``(N,)`` labels, all checked.

        Raises:
            FileNotFoundError: if a file is missing; the message names it and says how to get it.
            ValueError: if a file is not what it should be; the message names it.
        """

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image, before padding."""

    def dataset(self, split: Split, augmented: bool = True) -> MemoryDataset:
        """Read one split; ``train`` and ``val`` share the official training images."""
        images, labels = self.arrays("test" if split == "test" else "train")
        numbers = np.arange(len(images))
        if split != "test":
            train, val = stratified_split(labels, self.val_fraction)
            numbers = train if split == "train" else val
        augmentation = self.augmentation if augmented and split == "train" else None
        return MemoryDataset(self._padded(images[numbers]), labels[numbers], numbers, augmentation, run_seed())

    def metrics(self) -> dict[str, Metric]:
        """Those of single-label classification."""
        return {"single_label": SingleLabel(self.num_classes)}

    def read(self, path: Path) -> UInt8Array:
        """Read any image file, resized bilinearly to ``image_shape`` and padded."""
        image = resized(read_image(path, self.image_shape[2]), *self.image_shape[:2])
        padded: UInt8Array = self._padded(image[None])[0]
        return padded

    def _padded(self, images: UInt8Array) -> UInt8Array:
        around = (self.padding, self.padding)
        return np.pad(images, ((0, 0), around, around, (0, 0)))


def stratified_split(labels: Int64Array, fraction: float) -> tuple[Int64Array, Int64Array]:
    """Hold out a share of each class, at least one image of each; the same on every machine and with every numpy.

    Args:
        labels: ``(N,)``.
        fraction: in (0, 1).

    Returns:
        The positions that stay and the positions that are held out, both ascending.
    """
    rank_by_hash = np.argsort(mix(np.arange(len(labels), dtype=np.uint64)), kind="stable")
    held_out: list[Any] = []
    for label in np.unique(labels):
        members = rank_by_hash[labels[rank_by_hash] == label]
        held_out.append(members[: max(1, round(len(members) * fraction))])
    held: Int64Array = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), held), held
