"""CycleGAN's generator: Zhu, Park, Isola and Efros 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent
Adversarial Networks", sections 4 and 7.2.
"""

from torch import Tensor, nn

from visionlab.nets.normal_start import start_normal


class ResNetGenerator(nn.Module):
    """Images from images, through residual blocks at a quarter of the size: 11,378,179 parameters with 9 blocks, as in
    the authors' code (https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix).

    Args:
        num_classes: of the data set; not used.
        out_channels: of the images that it makes.
        in_channels: of those that it takes.
        width: the features of the first layer, four times as many in the blocks.
        blocks: 9 for images of 256 x 256 pixels, 6 for 128 x 128.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self, num_classes: int, out_channels: int = 3, in_channels: int = 3, width: int = 64, blocks: int = 9
    ) -> None:
        super().__init__()
        if width < 1 or blocks < 0:
            raise ValueError(f"width must be at least 1 and blocks at least 0, not {width} and {blocks}")
        self.in_channels = in_channels
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7), *_normalised(width)]
        for features in (width, 2 * width):
            layers += [nn.Conv2d(features, 2 * features, 3, stride=2, padding=1), *_normalised(2 * features)]
        layers += [_Block(4 * width) for _ in range(blocks)]
        for features in (4 * width, 2 * width):
            layers.append(nn.ConvTranspose2d(features, features // 2, 3, stride=2, padding=1, output_padding=1))
            layers += _normalised(features // 2)
        self.body = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())
        start_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Translate ``(B, in_channels, H, W)`` images, float in [0, 1].

        Returns:
            ``(B, out_channels, H, W)`` in [0, 1].

        Raises:
            ValueError: if the sides are not multiples of 4 from 8, or the channels are others.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"this net takes images (B, {self.in_channels}, H, W), not {tuple(images.shape)}")
        if any(side < 8 or side % 4 for side in images.shape[2:]):
            sides = " x ".join(map(str, images.shape[2:]))
            raise ValueError(f"this net makes images whose sides are multiples of 4, at least 8, not {sides}")
        made: Tensor = (self.body(2 * images - 1) + 1) / 2
        return made


class _Block(nn.Module):
    """Two convolutions beside an identity, without a ReLU after the sum."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(features, features, 3), *_normalised(features)),
            *(nn.ReflectionPad2d(1), nn.Conv2d(features, features, 3), nn.InstanceNorm2d(features)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, features, H, W)`` to the same."""
        total: Tensor = x + self.body(x)
        return total


def _normalised(features: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(features), nn.ReLU(inplace=True)]
