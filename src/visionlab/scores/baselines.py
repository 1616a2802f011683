"""What the scores of generated images are read beside: images that any generator should beat, and real ones."""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from visionlab.batch import to_unit
from visionlab.data.base import DataModule, Split
from visionlab.metrics.generated_images import GeneratedImages, to_bytes
from visionlab.scores.reference import real_images

BLUR = 2.0
"""The standard deviation of the blur, in pixels of an image of 32 x 32; in proportion for others."""


def baselines(data: DataModule, samples: int, split: Split = "test") -> dict[str, Tensor]:
    """Images to score beside generated ones, as many of each, ``(samples, channels, H, W)`` ``uint8``, by name.

    - ``real``: the first of a split, which is not that of the reference: how well a perfect generator does;
    - ``blurred``: the same, blurred;
    - ``gaussian``: each pixel drawn for itself, by the mean and standard deviation that it has in training images.

    Args:
        data: the data set.
        samples: how many of each.
        split: of the real ones.

    Raises:
        ValueError: if the split has fewer images.
    """
    real = real_images(data, split)
    if len(real) < samples:
        raise ValueError(f"the {split} split has {len(real)} images, fewer than {samples} samples")
    real = real[:samples]
    return {"real": real, "blurred": blurred(real), "gaussian": gaussian(real_images(data, "train"), samples)}


def blurred(images: Tensor) -> Tensor:
    """``(N, channels, H, W)`` ``uint8`` images, each channel blurred by :data:`BLUR`."""
    sigma = BLUR / 32 * max(images.shape[2:])
    within = min(round(3 * sigma), min(images.shape[2:]) - 1)  # what is mirrored at the border must be there
    return to_bytes(gaussian_blur(to_unit(images), 2 * within + 1, sigma))


def gaussian(real: Tensor, samples: int, seed: int = 0) -> Tensor:
    """Images whose pixels are independent and normal, cut off at black and white.

    Args:
        real: ``(N, channels, H, W)`` ``uint8``, whose mean and standard deviation each pixel has.
        samples: how many to draw.
        seed: of the drawing.
    """
    pixels = to_unit(real)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((samples, *real.shape[1:]), generator=generator)
    return to_bytes(pixels.mean(0) + pixels.std(0, correction=0) * noise)


def score(metric: GeneratedImages, images: Tensor) -> dict[str, Tensor]:
    """The scores of ``(N, channels, H, W)`` ``uint8`` images."""
    metric.reset()
    for start in range(0, len(images), 256):
        ids = torch.arange(start, min(start + 256, len(images)))
        metric.update({"images": to_unit(images[ids])}, {"ids": ids})
    return metric.compute()
