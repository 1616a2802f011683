"""The handwritten digits that ship inside scikit-learn: 1,797 images of 8 x 8 pixels, real, and nothing to download."""

from typing import Literal

import numpy as np

from visionlab.data.augmentation import Augmentation
from visionlab.data.images import resized
from visionlab.data.layouts import digits
from visionlab.data.memory import Int64Array, MemoryDataModule, UInt8Array, stratified_split

TEST_FRACTION = 0.2
"""The data set has no official split; this share of each class, always the same images, is ours."""


class Digits(MemoryDataModule):
    """The test part of the "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998).

    A fifth of each class, always the same images, is the test split, whatever ``val_fraction`` is.

    Args:
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        val_fraction: the share of the other images that is held out for validation, in (0, 1).
        augmentation: what is done to training batches, if anything.
        image_size: height and width to which the images are resized bilinearly.
    """

    def __init__(
        self,
        batch_size: int,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        augmentation: Augmentation | None = None,
        image_size: int = 32,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, val_fraction, augmentation)
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1, not {image_size}")
        self.image_size = image_size

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten digits."""
        return digits.CLASSES

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.image_size, self.image_size, 1

    def arrays(self, split: Literal["train", "test"]) -> tuple[UInt8Array, Int64Array]:
        """Read four fifths of the images, or the other fifth, resized."""
        images, labels = digits.read()
        train, test = stratified_split(labels, TEST_FRACTION)
        mine = train if split == "train" else test
        return np.stack([resized(image, self.image_size, self.image_size) for image in images[mine]]), labels[mine]
