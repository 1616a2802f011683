"""The image transformation net of Johnson, Alahi and Fei-Fei 2016, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution" (supplement, table 1), with the instance normalisation of Ulyanov, Vedaldi and Lempitsky 2017.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class TransformerNet(nn.Module):
    """Images in another style, of any size: 1,679,235 parameters, as in PyTorch's example
    (https://github.com/pytorch/examples/tree/main/fast_neural_style), which resizes by nearest neighbours before it
    convolves (Odena, Dumoulin and Olah 2016) where the paper has transposed convolutions.

    Args:
        num_classes: of the data set; not used.
        out_channels: of the images that it makes.
        in_channels: of those that it takes.
        width: the features of the first layer, four times as many in the blocks.
        blocks: residual ones.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self, num_classes: int, out_channels: int = 3, in_channels: int = 3, width: int = 32, blocks: int = 5
    ) -> None:
        super().__init__()
        if width < 1 or blocks < 0:
            raise ValueError(f"width must be at least 1 and blocks at least 0, not {width} and {blocks}")
        self.in_channels = in_channels
        self.body = nn.Sequential(
            *(*_convolve(in_channels, width, 9), nn.ReLU()),
            *(*_convolve(width, 2 * width, 3, stride=2), nn.ReLU()),
            *(*_convolve(2 * width, 4 * width, 3, stride=2), nn.ReLU()),
            *(_Block(4 * width) for _ in range(blocks)),
            *(nn.Upsample(scale_factor=2), *_convolve(4 * width, 2 * width, 3), nn.ReLU()),
            *(nn.Upsample(scale_factor=2), *_convolve(2 * width, width, 3), nn.ReLU()),
            *(nn.ReflectionPad2d(4), nn.Conv2d(width, out_channels, 9), nn.Tanh()),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Restyle ``(B, in_channels, H, W)`` images, float in [0, 1]. Sides that are no multiples of 4 are continued by
        reflection for the while.

        Returns:
            ``(B, out_channels, H, W)`` in [0, 1].

        Raises:
            ValueError: if a side has fewer than 8 pixels, or the channels are others.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"this net takes images (B, {self.in_channels}, H, W), not {tuple(images.shape)}")
        height, width = images.shape[2:]
        if min(height, width) < 8:
            raise ValueError(f"this net makes images of at least 8 x 8 pixels, not {height} x {width}")
        padded = F.pad(2 * images - 1, (0, -width % 4, 0, -height % 4), mode="reflect")
        made: Tensor = (self.body(padded) + 1) / 2
        return made[:, :, :height, :width]


class _Block(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolve(features, features, 3), nn.ReLU(), *_convolve(features, features, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, features, H, W)`` to the same."""
        total: Tensor = x + self.body(x)
        return total


def _convolve(inputs: int, outputs: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.ReflectionPad2d(size // 2),
        nn.Conv2d(inputs, outputs, size, stride),
        nn.InstanceNorm2d(outputs, affine=True),
    ]
