"""Residual generators and discriminators for 32 x 32 images, with or without labels.

Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", NeurIPS, appendix F; Miyato et al. 2018, "Spectral
Normalization for Generative Adversarial Networks", ICLR, table 4; Miyato and Koyama 2018, "cGANs with Projection
Discriminator", ICLR, section 3. Blocks and initial weights are those of the last two's official code, sngan_projection.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class ResNetGenerator(nn.Module):
    """From noise by a linear layer to 4 x 4, then by residual blocks, each of which doubles the size; BatchNorm.

    With 256 channels, those of Miyato et al. 2018, it has 4,276,739 parameters at 32 pixels.

    Args:
        num_classes: of the data set; not used.
        image_size: height and width of the images, a power of two, at least 8.
        channels: of the images.
        width: channels of all features; 128 in Gulrajani et al. 2017.
        latent: how many numbers an image is made from.

    Raises:
        ValueError: if it cannot make images of that size.
    """

    def __init__(
        self, num_classes: int, image_size: int = 32, channels: int = 3, width: int = 256, latent: int = 128
    ) -> None:
        super().__init__()
        self.image_size, self.latent = image_size, latent
        self.body = Body(1, image_size, channels, width, latent)

    def forward(self, noise: Tensor) -> Tensor:
        """Generate images of ``(B, latent)`` noise.

        Returns:
            ``(B, channels, image_size, image_size)`` in [0, 1].
        """
        images: Tensor = self.body(noise, noise.new_zeros(len(noise), dtype=torch.long))
        return images


class ConditionalResNetGenerator(nn.Module):
    """A :class:`ResNetGenerator` whose BatchNorm has a scale and a shift for each class (Dumoulin et al. 2017).

    Args:
        num_classes: of the data set.
        image_size: height and width of the images, a power of two, at least 8.
        channels: of the images.
        width: channels of all features.
        latent: how many numbers an image is made from.

    Raises:
        ValueError: if it cannot make images of that size.
    """

    def __init__(
        self, num_classes: int, image_size: int = 32, channels: int = 3, width: int = 256, latent: int = 128
    ) -> None:
        super().__init__()
        self.image_size, self.latent = image_size, latent
        self.body = Body(num_classes, image_size, channels, width, latent)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Generate images of ``(B, latent)`` noise and ``(B,)`` labels.

        Returns:
            ``(B, channels, image_size, image_size)`` in [0, 1].
        """
        images: Tensor = self.body(noise, labels)
        return images


class ResNetDiscriminator(nn.Module):
    """Two residual blocks that halve the size and two that do not, pooled over all places, and a linear layer.

    With 128 channels, as in both papers, it has 1,053,825 parameters. No BatchNorm, so that a gradient penalty may look
    at each image alone.

    Args:
        num_classes: of the data set; not used.
        channels: of the images.
        width: channels of all features.
        spectral: whether all weights are divided by their greatest singular value.
        pooling: over places: a sum in Miyato et al. 2018, a mean in Gulrajani et al. 2017.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        width: int = 128,
        spectral: bool = True,
        pooling: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        if pooling not in ("sum", "mean"):
            raise ValueError(f"pooling must be 'sum' or 'mean', not {pooling!r}")
        self.features = Features(channels, width, spectral)
        self.pooling = pooling
        self.linear = _spectral(_glorot(nn.Linear(width, 1)), spectral)

    def forward(self, images: Tensor) -> Tensor:
        """Judge ``(B, channels, H, W)`` images in [0, 1].

        Returns:
            ``(B,)`` logits.
        """
        x = self.features(images)
        pooled = x.sum((2, 3)) if self.pooling == "sum" else x.mean((2, 3))
        logits: Tensor = self.linear(pooled)
        return logits[:, 0]


class ProjectionDiscriminator(nn.Module):
    """A :class:`ResNetDiscriminator` with spectral normalisation, to whose logits the inner product of its features and
    the label's vector is added (Miyato and Koyama 2018, equation 3).

    Args:
        num_classes: of the data set.
        channels: of the images.
        width: channels of all features.
    """

    def __init__(self, num_classes: int, channels: int = 3, width: int = 128) -> None:
        super().__init__()
        self.features = Features(channels, width, spectral=True)
        self.linear = spectral_norm(_glorot(nn.Linear(width, 1)))
        self.classes = spectral_norm(_glorot(nn.Embedding(num_classes, width)))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Judge ``(B, channels, H, W)`` images in [0, 1] and their ``(B,)`` labels.

        Returns:
            ``(B,)`` logits.
        """
        pooled = self.features(images).sum((2, 3))
        logits: Tensor = self.linear(pooled)[:, 0] + (self.classes(labels) * pooled).sum(1)
        return logits


class Features(nn.Module):
    """What the discriminators have in common: ``(B, channels, H, W)`` to ``(B, width, H / 4, W / 4)``."""

    def __init__(self, channels: int, width: int, spectral: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            DownBlock(channels, width, spectral, first=True, halves=True),
            DownBlock(width, width, spectral, halves=True),
            DownBlock(width, width, spectral),
            DownBlock(width, width, spectral),
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.blocks(2 * images - 1)
        return features.relu()


class Body(nn.Module):
    """What the generators have in common: ``(B, latent)`` noise and ``(B,)`` labels to images in [0, 1]. BatchNorm that
    knows one class only is BatchNorm.
    """

    def __init__(self, num_classes: int, image_size: int, channels: int, width: int, latent: int) -> None:
        super().__init__()
        if image_size < 8 or image_size & (image_size - 1):
            raise ValueError(f"image_size must be 8, 16, 32, 64 or another power of two, not {image_size}")
        self.first = _glorot(nn.Linear(latent, 16 * width))
        self.blocks = nn.ModuleList(UpBlock(width, num_classes) for _ in range(image_size.bit_length() - 3))
        self.norm = nn.BatchNorm2d(width)
        self.last = _glorot(nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        x = self.first(noise).view(len(noise), -1, 4, 4)
        for block in self.blocks:
            x = block(x, labels)
        images: Tensor = self.last(self.norm(x).relu())
        return (images.tanh() + 1) / 2


class ConditionalBatchNorm2d(nn.Module):
    """BatchNorm with a scale and a shift for each class (Dumoulin et al. 2017, equation 5): ``(B, width, H, W)``
    features and ``(B,)`` labels.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.scale = nn.Parameter(torch.ones(num_classes, width))
        self.shift = nn.Parameter(torch.zeros(num_classes, width))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        normed: Tensor = self.norm(x)
        return normed * self.scale[labels, :, None, None] + self.shift[labels, :, None, None]


class UpBlock(nn.Module):
    """Twice norm, ReLU and convolution, the size doubled before the first; beside it a convolution of one pixel."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (ConditionalBatchNorm2d(width, num_classes) for _ in range(2))
        self.conv1 = _glorot(nn.Conv2d(width, width, 3, padding=1), math.sqrt(2))
        self.conv2 = _glorot(nn.Conv2d(width, width, 3, padding=1), math.sqrt(2))
        self.shortcut = _glorot(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        residual = self.conv1(F.interpolate(self.norm1(x, labels).relu(), scale_factor=2.0))
        residual = self.conv2(self.norm2(residual, labels).relu())
        # a convolution of one pixel and doubling the size may change places
        out: Tensor = residual + F.interpolate(self.shortcut(x), scale_factor=2.0)
        return out


class DownBlock(nn.Module):
    """Twice ReLU and convolution, but for the first of all without the first ReLU; beside it a convolution of one pixel
    where something changes; averages over 2 x 2 places where the size halves.
    """

    def __init__(self, in_channels: int, width: int, spectral: bool, first: bool = False, halves: bool = False) -> None:
        super().__init__()
        self.first, self.halves = first, halves
        self.conv1 = _spectral(_glorot(nn.Conv2d(in_channels, width, 3, padding=1), math.sqrt(2)), spectral)
        self.conv2 = _spectral(_glorot(nn.Conv2d(width, width, 3, padding=1), math.sqrt(2)), spectral)
        self.shortcut = _spectral(_glorot(nn.Conv2d(in_channels, width, 1)), spectral) if halves else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(self.conv1(x if self.first else x.relu()).relu())
        if self.halves:  # a convolution of one pixel and averaging may change places
            residual, x = F.avg_pool2d(residual, 2), F.avg_pool2d(x, 2)
        out: Tensor = residual + self.shortcut(x)
        return out


def _glorot(layer: nn.Conv2d | nn.Linear | nn.Embedding, gain: float = 1.0) -> nn.Module:
    nn.init.xavier_uniform_(layer.weight, gain)
    if not isinstance(layer, nn.Embedding) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _spectral(layer: nn.Module, wanted: bool) -> nn.Module:
    return spectral_norm(layer) if wanted else layer
