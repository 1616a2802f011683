"""ResNets for CIFAR: He, Zhang, Ren and Sun 2016, "Deep Residual Learning for Image Recognition", CVPR, section 4.2."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from visionlab.nets.normalize import Normalize

# of the 50,000 training images of CIFAR-10, over all images and pixels
CIFAR10_MEAN = (0.49140, 0.48216, 0.44653)
CIFAR10_STD = (0.24703, 0.24349, 0.26159)


class ResNetCIFAR(nn.Module):
    """A ResNet of 6n + 2 layers: a convolution, three stages of n blocks of 16, 32 and 64 channels, and a linear layer.

    With option A, which is the paper's choice for CIFAR, and 10 classes it has 269,722 parameters at depth 20, 464,154
    at 32, 658,586 at 44, 853,018 at 56, 1,727,962 at 110 and 19,421,274 at 1202.

    Convolutions start by He et al. 2015 (equation 10: normal, variance 2 over the fan-in), the linear layer likewise,
    its biases at 0. The paper subtracts a mean by pixel; here, as is usual, images are normalised by channel. Any size
    of image will do.

    Args:
        num_classes: the number of outputs.
        depth: 6n + 2; the paper has 20, 32, 44, 56, 110 and 1202.
        shortcut: what a shortcut does where the channels double and the size halves (section 3.3). "A": every second
            pixel, padded with channels of zeros, without parameters. "B": a projection, that is a 1x1 convolution with
            batch normalisation.
        in_channels: the channels that the first convolution takes.
        mean: subtracted from the images: one number a channel, or one for all. By default that of CIFAR-10.
        std: what they are then divided by, likewise.

    Raises:
        ValueError: if the depth is not 6n + 2, or mean fits no images of ``in_channels`` channels.
    """

    def __init__(
        self,
        num_classes: int,
        depth: int = 20,
        shortcut: Literal["A", "B"] = "A",
        in_channels: int = 3,
        mean: Sequence[float] = CIFAR10_MEAN,
        std: Sequence[float] = CIFAR10_STD,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6n + 2, such as 20, 32, 44, 56, 110 or 1202, not {depth}")
        if shortcut not in ("A", "B"):
            raise ValueError(f"shortcut must be 'A' or 'B', not {shortcut!r}")
        if len(mean) not in (1, in_channels):
            raise ValueError(f"mean and std must have 1 or in_channels = {in_channels} numbers, not {len(mean)}")
        blocks = (depth - 2) // 6
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.stage1 = nn.Sequential(*(Block(16, 16, shortcut) for _ in range(blocks)))
        self.stage2 = nn.Sequential(Block(16, 32, shortcut), *(Block(32, 32, shortcut) for _ in range(blocks - 1)))
        self.stage3 = nn.Sequential(Block(32, 64, shortcut), *(Block(64, 64, shortcut) for _ in range(blocks - 1)))
        self.fc = nn.Linear(64, num_classes)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Classify ``(B, in_channels, H, W)`` images, float in [0, 1]; grey images also where RGB is expected.

        Returns:
            ``(B, num_classes)`` logits.
        """
        x = self.bn1(self.conv1(self.normalize(images))).relu()
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions around which the input is added. Halves the size where the number of channels changes."""

    def __init__(self, in_channels: int, channels: int, shortcut: Literal["A", "B"]) -> None:
        super().__init__()
        stride = 1 if in_channels == channels else 2
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module
        if in_channels == channels:
            self.shortcut = nn.Identity()
        elif shortcut == "A":
            self.shortcut = ZeroPadding(channels - in_channels)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, channels, H, W)``, or half of H and W rounded up."""
        out: Tensor = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        return out.relu()


class ZeroPadding(nn.Module):
    """Option A: take every second pixel and append channels of zeros."""

    def __init__(self, extra_channels: int) -> None:
        super().__init__()
        self.extra_channels = extra_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, channels + extra_channels, H / 2, W / 2)``, halves rounded up."""
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.extra_channels))
