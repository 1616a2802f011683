"""The U-Net generator of pix2pix: Isola, Zhu, Zhou and Efros 2017, "Image-to-Image Translation with Conditional
Adversarial Networks", section 6.1.1.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from visionlab.nets.normal_start import start_normal


class UNetGenerator(nn.Module):
    """Images from images, through a bottleneck and past it: 54,413,955 parameters as it is.

    Every layer but the first and the innermost has BatchNorm, and the decoder's first three have dropout, as in the
    authors' code (https://github.com/phillipi/pix2pix). They keep dropout and the statistics of the batch when they
    test (section 3.4); here evaluation mode is torch's, so that an image depends on no other. For training with one
    image at a time, take ``norm: instance``, which is what BatchNorm amounts to there.

    Args:
        num_classes: of the data set; not used.
        out_channels: of the images that it makes.
        in_channels: of those that it takes.
        width: the features of the first stage, which double up to eight times as many.
        depth: how often the size is halved, at least 2; the sides of images are multiples of ``2**depth``.
        norm: whether features are normalised over the batch or over each image alone.
        dropout: how often a feature is dropped in the decoder's first three layers.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        out_channels: int = 3,
        in_channels: int = 3,
        width: int = 64,
        depth: int = 8,
        norm: Literal["batch", "instance"] = "batch",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if depth < 2 or width < 1:
            raise ValueError(f"depth must be at least 2 and width at least 1, not {depth} and {width}")
        if norm not in ("batch", "instance"):
            raise ValueError(f"norm must be batch or instance, not {norm!r}")
        self.in_channels, self.depth = in_channels, depth
        normalise = nn.BatchNorm2d if norm == "batch" else nn.InstanceNorm2d
        bias = norm == "instance"  # batch normalisation has its own
        widths = [width * min(2**stage, 8) for stage in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for stage, features in enumerate(widths):
            first, innermost = stage == 0, stage == depth - 1
            inputs = in_channels if first else widths[stage - 1]
            layers: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
            layers.append(nn.Conv2d(inputs, features, 4, stride=2, padding=1, bias=bias))
            self.down.append(nn.Sequential(*layers, *([] if first or innermost else [normalise(features)])))
        for step, stage in enumerate(reversed(range(depth))):
            inputs = widths[stage] * (1 if step == 0 else 2)
            if stage == 0:
                self.up.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(inputs, out_channels, 4, 2, 1), nn.Tanh()))
                break
            features = widths[stage - 1]
            layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, features, 4, 2, 1, bias=bias), normalise(features)]
            self.up.append(nn.Sequential(*layers, *([nn.Dropout(dropout)] if step < 3 else [])))
        start_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Translate ``(B, in_channels, H, W)`` images, float in [0, 1].

        Returns:
            ``(B, out_channels, H, W)`` in [0, 1].

        Raises:
            ValueError: if the sides are not multiples of ``2**depth``, or the channels are others.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"this net takes images (B, {self.in_channels}, H, W), not {tuple(images.shape)}")
        if any(side == 0 or side % 2**self.depth for side in images.shape[2:]):
            sides = " x ".join(map(str, images.shape[2:]))
            raise ValueError(
                f"a U-Net of depth {self.depth} makes images whose sides are multiples of {2**self.depth}, not {sides}"
            )
        x = 2 * images - 1
        kept: list[Tensor] = []
        for down in self.down:
            x = down(x)
            kept.append(x)
        x = self.up[0](kept.pop())
        for up in list(self.up)[1:]:
            x = up(torch.cat([x, kept.pop()], dim=1))
        made: Tensor = (x + 1) / 2
        return made
