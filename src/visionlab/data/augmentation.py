"""Augmentation of whole batches of images of one size, a function of each image's own seed."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from visionlab.data.sampling import mix


class Augmentation(ABC):
    """What is done to a training batch. The result for an image depends on its pixels and its seed alone."""

    @abstractmethod
    def __call__(self, images: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """Augment ``images`` ``(B, H, W, channels)`` by ``seeds`` ``(B,)``; the size stays."""


class CropFlip(Augmentation):
    """Pad with zeros, crop to the old size at a random place, and flip left to right half of the time: the standard augmentation for
    CIFAR (He et al. 2016, section 4.2).

    One gather for the whole batch, with the flip folded into its indices.

    Args:
        padding: pixels on every side.
        flip: whether to flip; digits and letters must not be.
    """

    def __init__(self, padding: int = 4, flip: bool = True) -> None:
        self.padding, self.flip = padding, flip

    def __call__(self, images: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        n, height, width, channels = images.shape
        p = self.padding
        padded = np.pad(images, ((0, 0), (p, p), (p, p), (0, 0)))
        offsets = np.uint64(2 * p + 1)
        top = (mix(seeds) % offsets).astype(np.intp)
        left = (mix(seeds ^ np.uint64(1)) % offsets).astype(np.intp)
        flipped = (mix(seeds ^ np.uint64(2)) % np.uint64(2) == 1) & self.flip
        across = np.arange(width)
        columns = left[:, None] + np.where(flipped[:, None], width - 1 - across, across)
        rows = top[:, None] + np.arange(height)
        starts = np.arange(n)[:, None] * (height + 2 * p) + rows
        pixels = starts[:, :, None] * (width + 2 * p) + columns[:, None, :]
        return np.take(padded.reshape(-1, channels), pixels.reshape(-1), axis=0).reshape(images.shape)
