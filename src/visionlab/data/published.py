"""Data sets that are read into memory from their publisher's files."""

from pathlib import Path
from typing import Literal, Protocol

from visionlab.data.augmentation import Augmentation
from visionlab.data.memory import Int64Array, MemoryDataModule, UInt8Array


class Layout(Protocol):
    """How a data set lies on disk, as the modules of ``visionlab.data.layouts`` know it, without torch."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, by label."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""

    def absent(self, root: Path) -> bool:
        """Whether not even a part of the data set is there."""

    def download(self, root: Path) -> None:
        """Get the data set from its publisher."""

    def read(self, root: Path, split: Literal["train", "test"]) -> tuple[UInt8Array, Int64Array]:
        """Read an official split, whole and checked."""


class PublishedDataModule(MemoryDataModule):
    """A single-label data set in its publisher's files. A subclass gives its ``layout``.

    Args:
        root: the folder of the files. A run of one process downloads them if none is there; a run of several does not.
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        val_fraction: the share of the official training images that is held out for validation, in (0, 1).
        augmentation: what is done to training batches, if anything.
    """

    layout: Layout

    def __init__(
        self,
        root: str,
        batch_size: int,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, val_fraction, augmentation)
        self.root = Path(root)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, by label."""
        return self.layout.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image, before padding."""
        return self.layout.image_shape

    def arrays(self, split: Literal["train", "test"]) -> tuple[UInt8Array, Int64Array]:
        """Read an official split."""
        return self.layout.read(self.root, split)

    def prepare_data(self) -> None:
        """Get the files if need be, and read them all, so that a broken one stops a run before it starts.

        Raises:
            OSError: if a file is missing, or cannot be downloaded; the message says how to get it.
            ValueError: if a file is not what it should be; the message names it.
        """
        alone = self.trainer is None or self.trainer.world_size == 1
        if alone and self.layout.absent(self.root):
            self.layout.download(self.root)
        self.arrays("train")
        self.arrays("test")
