"""What is done to images before they are batched: to samples with their annotations, or to whole batches of images of
one size; a function of each image's own seed.
"""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from visionlab.data.sample import Sample
from visionlab.data.sampling import mix

MEAN_COLOUR = (124, 116, 104)
"""ImageNet's, in [0, 255], which becomes about 0 in most nets: what images are filled up with."""


class Augmentation(ABC):
    """What is done to a training batch. The result for an image depends on its pixels and its seed alone."""

    @abstractmethod
    def __call__(self, images: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """Augment ``images`` ``(B, H, W, channels)`` by ``seeds`` ``(B,)``; the size stays."""


class Transform(ABC):
    """What is done to one sample: the image may change its size, and its annotations follow. The result depends on the
    sample and the seed alone.
    """

    @abstractmethod
    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Transform ``sample``, which stays as it was, by ``seed``, at least 0: see
        :func:`visionlab.data.sampling.sample_seeds`.
        """


class CropFlip(Augmentation):
    """Pad with zeros, crop to the old size at a random place, and flip left to right half of the time: the standard
    augmentation for CIFAR (He et al. 2016, section 4.2).

    Rows are gathered for the whole batch at once, and flipped while the channels are brought to the front, which nets
    want anyway: ``benchmarks/cifar_input.py`` compares it with image-by-image transforms.

    Args:
        padding: pixels on every side.
        flip: whether to flip; digits and letters must not be.
    """

    def __init__(self, padding: int = 4, flip: bool = True) -> None:
        if padding < 0:
            raise ValueError(f"padding must be at least 0, not {padding}")
        self.padding, self.flip = padding, flip

    def __call__(self, images: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """Augment a batch. The result is laid out in memory as ``(B, channels, H, W)``."""
        n, height, width, channels = images.shape
        top, left, flipped = self._draw(seeds)
        p = self.padding
        padded = np.zeros((n, height + 2 * p, width + 2 * p, channels), dtype=np.uint8)
        padded[:, p : p + height, p : p + width] = images
        row = np.arange(n)[:, None] * (height + 2 * p) + top[:, None] + np.arange(height)
        first = (row * (width + 2 * p) + left[:, None]) * channels
        rows = sliding_window_view(padded.reshape(-1), width * channels)[first]
        planes = rows.reshape(images.shape).transpose(0, 3, 1, 2)
        augmented = np.empty(planes.shape, dtype=np.uint8)
        augmented[~flipped] = planes[~flipped]
        augmented[flipped] = planes[flipped][..., ::-1]
        return augmented.transpose(0, 2, 3, 1)

    def _draw(
        self, seeds: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Where each image's crop begins, and whether it is flipped: ``(B,)`` each."""
        places = np.uint64(2 * self.padding + 1)
        top = (mix(seeds) % places).astype(np.intp)
        left = (mix(seeds ^ np.uint64(1)) % places).astype(np.intp)
        return top, left, (mix(seeds ^ np.uint64(2)) % np.uint64(2) == 1) & self.flip
