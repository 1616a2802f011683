"""How far images are from those that they should be."""

from collections.abc import Sequence

import torch
from torch import Tensor

from visionlab.batch import GenerationPredictions, ImageBatch, PairedBatch, to_unit
from visionlab.metrics.by_image import ByImage

EXACT = 1e-10
"""The least mean squared difference that counts: an exact image has a PSNR of 100 dB."""


def distances(images: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """How far images are from what they should be, by the mean over pixels and channels.

    Args:
        images: ``(B, channels, H, W)`` in [0, 1].
        truth: likewise.

    Returns:
        ``(B,)`` ``float64`` each: ``L1`` and ``L2``, the mean absolute and squared differences; and ``PSNR``, the peak
        signal-to-noise ratio in dB, ``-10 log10(L2)``, at most 100.
    """
    difference = (images.double() - truth.double()).flatten(1)
    squared = difference.square().mean(1)
    return {"L1": difference.abs().mean(1), "L2": squared, "PSNR": -10 * squared.clamp(min=EXACT).log10()}


def middle(images: Tensor) -> Tensor:
    """The middle of images ``(..., H, W)``, of half their height and width, as a view."""
    height, width = images.shape[-2:]
    return images[..., height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2]


class Paired(ByImage):
    """How far translated images are from the true ones: ``L1``, ``L2`` and ``PSNR``, means over the images of what
    :func:`distances` gives. ``records`` holds the same of each image.
    """

    def record(self, predictions: GenerationPredictions, batch: PairedBatch) -> dict[str, Tensor]:
        """``(B,)`` each."""
        return distances(predictions["images"], to_unit(batch["target_images"]))

    def evaluate(self, records: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means over the images."""
        return _means(records)


class Hole(ByImage):
    """How well the middle of images was filled: ``L1``, ``L2`` and ``PSNR`` there, means over the images of what
    :func:`distances` gives, as Pathak et al. 2016 have them (table 1; they print L1 and L2 in percent).

    Beside them the same of two ways to fill it without a net: ``mean_L1`` and so on of one colour for all, and
    ``around_L1`` and so on of the mean colour of each image around its hole. ``records`` holds them of each image.

    Args:
        colour: that of all, in [0, 1] by channel; the mean colour of the data is the best.
    """

    def __init__(self, colour: Sequence[float]) -> None:
        super().__init__()
        self.colour = list(colour)

    def record(self, predictions: GenerationPredictions, batch: ImageBatch) -> dict[str, Tensor]:
        """``(B,)`` each."""
        images = batch["images"].double()
        truth = middle(images)
        around = (images.sum((2, 3)) - truth.sum((2, 3))) / (images[0, 0].numel() - truth[0, 0].numel())
        plain = torch.tensor(self.colour, dtype=torch.float64, device=images.device)
        kept = distances(middle(predictions["images"]), truth)
        for way, colour in (("mean", plain), ("around", around)):
            kept |= {f"{way}_{name}": far for name, far in distances(colour[..., None, None], truth).items()}
        return kept

    def evaluate(self, records: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means over the images."""
        return _means(records)


def _means(records: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.tensor(values.numpy().mean()) for name, values in records.items() if name != "ids"}
