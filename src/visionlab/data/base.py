"""What every data set gives: its classes, its images by split, its official metrics, and exact loaders over them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from lightning import LightningDataModule
from torchmetrics import Metric

from visionlab.data.predictions import LabelMap
from visionlab.data.sample import Sample
from visionlab.data.sampling import EvalBatches, Keys, Loader, TrainBatches
from visionlab.metrics.by_objects import Table

Split = Literal["train", "val", "test"]


class ImageDataset(Protocol):
    """One split of a data set."""

    @property
    def groups(self) -> npt.NDArray[np.int64] | None:
        """``(N,)``, a number for each image, where training batches are to be of images of one number; else None: see
        :class:`visionlab.data.sampling.TrainBatches`.
        """

    def __len__(self) -> int:
        """The number of images."""

    def __getitems__(self, keys: Keys) -> Any:
        """The batch of ``keys``, in the form that :mod:`visionlab.batch` gives for the task.

        Where the split is augmented, the augmentation of an image is a function of (seed, epoch, index) alone: see
        :func:`visionlab.data.sampling.sample_seeds`. ``ids`` are the indices, and ``PADDING`` for the last
        ``keys.padded`` of them.
        """

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """The image at ``index`` as it is stored, ``(H, W, channels)``."""

    def sample(self, index: int) -> Sample:
        """The image at ``index`` as it is stored, with its annotations."""

    def name(self, index: int) -> str:
        """What the data set itself calls the image at ``index``: its file, its official id."""


class DataModule(LightningDataModule, ABC):
    """A data set. A subclass gives ``classes``, ``dataset``, ``metrics`` and ``read``; sampling and loading are the
    same for all.

    Args:
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader; 0 loads in the training process, which is fastest for data sets kept in
            memory.

    Attributes:
        monitor: the metric that says which weights are best, as ``<protocol>/<metric>`` of ``metrics()``.
        mode: whether more or less of it is better.
        masks_folder: where the files of predicted masks belong, below a folder of predictions.
        test_has_labels: whether the test split can be scored; where it cannot, a run ends by reporting validation.
        skipped: by split, the positions of images that this process left out because they could not be read.
    """

    monitor: str
    mode: Literal["max", "min"]
    masks_folder: str = "masks"
    test_has_labels: bool = True

    def __init__(self, batch_size: int, eval_batch_size: int | None = None, num_workers: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.num_workers = num_workers
        for name in ("batch_size", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        self.datasets: dict[Split, ImageDataset] = {}
        self.skipped: dict[Split, set[int]] = {"train": set(), "val": set(), "test": set()}

    @property
    @abstractmethod
    def classes(self) -> Sequence[str]:
        """The class names, by label."""

    @abstractmethod
    def dataset(self, split: Split, augmented: bool = True) -> ImageDataset:
        """Open one split: training images augmented, unless told otherwise, the others as evaluation wants them."""

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """New official metrics, by protocol.

        Each is updated by ``update(predictions, batch)`` and computes a dict by metric name: scalars, ``(C,)`` values
        by class, and matrices. A run logs the scalars as ``<stage>/<protocol>/<metric>``.
        """

    @abstractmethod
    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        """Read any image file into the form of this data set's evaluation images, ``(H, W, channels)``.

        Raises:
            ValueError: if the file is not a whole image.
        """

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def label_map(self) -> list[dict[str, int | str]]:
        """One ``{id, index, name}`` a class: the data set's own id, our contiguous label, and the name."""
        return [{"id": i, "index": i, "name": name} for i, name in enumerate(self.classes)]

    def write_predictions(
        self, folder: Path, split: Split, found: Sequence[Table], names: Sequence[str], label_map: LabelMap
    ) -> None:
        """Write the objects that were found in images in the files that the data set's own evaluation reads. There are
        none unless a subclass says so.

        Args:
            folder: of the files.
            split: that the images are of.
            found: the same objects, with some of their parts each
                (:func:`visionlab.metrics.by_objects.found_rows`), and ``images``, the places of their images in
                ``names``.
            names: what the data set calls the images.
            label_map: of the data that was trained on; this data may not be there to ask.
        """

    def setup(self, stage: str) -> None:
        splits: dict[str, tuple[Split, ...]] = {
            "fit": ("train", "val"),
            "validate": ("val",),
            "test": ("test",),
            "predict": (),
        }
        for split in splits[stage]:
            if split not in self.datasets:
                self.datasets[split] = self.dataset(split)

    def train_dataloader(self) -> Loader:
        train = self.datasets["train"]
        batches = TrainBatches(
            len(train), self.batch_size, run_seed(), rank=self._rank, world=self._world, groups=train.groups
        )
        return self._loader(train, batches)

    def val_dataloader(self) -> Loader:
        return self._eval_loader("val")

    def test_dataloader(self) -> Loader:
        return self._eval_loader("test")

    def _eval_loader(self, split: Split) -> Loader:
        dataset = self.datasets[split]
        return self._loader(
            dataset, EvalBatches(len(dataset), self.eval_batch_size, rank=self._rank, world=self._world)
        )

    def _loader(self, dataset: ImageDataset, batches: TrainBatches | EvalBatches) -> Loader:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return Loader(dataset, batches, trainer=self.trainer, num_workers=self.num_workers, pin_memory=on_gpu)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1


def run_seed() -> int:
    """The seed of this run, which orders and augments the training images: where ``seed_everything`` leaves it, else
    0.
    """
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
