"""U-Net: Ronneberger, Fischer and Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation".

:class:`UNetPaper` is the net of figure 1, to the parameter; :class:`UNet` is what is usually called U-Net today.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.nets.normalize import Normalize

STAGES = 5
STRIDE = 2 ** (STAGES - 1)
MARGIN = 92
"""How many pixels the paper's net loses on each side."""


class UNetPaper(nn.Module):
    """U-Net as in the paper: 31,030,658 parameters at 2 classes and 1 channel.

    Convolutions have no padding, so that 92 pixels are lost on each side: 572 x 572 pixels give the classes of the
    388 x 388 in their middle. Train it on crops of such sizes, and give the task a
    :class:`visionlab.tasks.inference.OverlapTile`, which takes images of any size. Dropout is where the authors' code
    has it, at the end of the contracting path (section 3.1); weights start as section 3 says (He et al. 2015).

    Args:
        num_classes: the number of outputs.
        in_channels: the channels of the images.
        mean: subtracted from the images: one number a channel, or one for all.
        std: what they are then divided by, likewise.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 1, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,)
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.normalize = Normalize(mean, std)
        self.body = _Body(in_channels, 64, _two_valid, dropout=0.5)
        self.head = nn.Conv2d(64, num_classes, 1)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Tell the classes of the middle of ``(B, in_channels, H, W)`` images, float in [0, 1].

        Returns:
            ``(B, num_classes, H - 184, W - 184)`` logits.

        Raises:
            ValueError: if H and W are not 188, 204, 220, ..., the sizes of which every pooled map is even (section 2),
                or the images have another number of channels.
        """
        _check_channels(images, self.in_channels)
        if any(side < 2 * MARGIN + 4 or (side - 2 * MARGIN - 4) % STRIDE for side in images.shape[2:]):
            sides = " x ".join(map(str, images.shape[2:]))
            raise ValueError(f"this net takes images of 188, 204, 220, ... pixels on each side, not {sides}")
        logits: Tensor = self.head(self.body(self.normalize(images)))
        return logits


class UNet(nn.Module):
    """U-Net as it is usually built today, for images of any size: convolutions are padded and followed by BatchNorm.

    Images are padded at the right and at the bottom to multiples of 16, by repeating their last pixels.

    Args:
        num_classes: the number of outputs.
        in_channels: the channels of the images.
        width: the features of the first stage, which double at each of the four that follow; 64 in the paper.
        mean: subtracted from the images: one number a channel, or one for all.
        std: what they are then divided by, likewise.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, not {width}")
        self.in_channels = in_channels
        self.normalize = Normalize(mean, std)
        self.body = _Body(in_channels, width, _two_padded)
        self.head = nn.Conv2d(width, num_classes, 1)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Tell the classes of ``(B, in_channels, H, W)`` images, float in [0, 1].

        Returns:
            ``(B, num_classes, H, W)`` logits.

        Raises:
            ValueError: if the images have another number of channels.
        """
        _check_channels(images, self.in_channels)
        height, width = images.shape[2:]
        padded = F.pad(self.normalize(images), (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        logits: Tensor = self.head(self.body(padded))
        return logits[:, :, :height, :width]


class _Body(nn.Module):
    """Everything but the last layer."""

    def __init__(
        self, in_channels: int, width: int, two: Callable[[int, int], nn.Module], dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(STAGES)]
        self.down = nn.ModuleList(two(*one) for one in zip([in_channels, *widths], widths, strict=False))
        self.dropout = nn.Dropout(dropout)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * one, one, 2, stride=2) for one in widths[-2::-1])
        self.merge = nn.ModuleList(two(2 * one, one) for one in widths[-2::-1])

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, width, H', W')``."""
        kept: list[Tensor] = []
        for stage, block in enumerate(self.down):
            x = block(x if stage == 0 else F.max_pool2d(x, 2))
            if stage >= STAGES - 2:
                x = self.dropout(x)
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = up(x)
            top, left = ((there - here) // 2 for there, here in zip(skip.shape[2:], x.shape[2:], strict=True))
            x = merge(torch.cat([skip[:, :, top : top + x.shape[2], left : left + x.shape[3]], x], dim=1))
        return x


def _two_valid(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3), nn.ReLU(inplace=True), nn.Conv2d(outputs, outputs, 3), nn.ReLU(inplace=True)
    )


def _two_padded(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _initialise(net: nn.Module) -> None:
    """Draw weights with a variance of 2 over the inputs of a unit (section 3); biases are 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # each output of the 2 x 2 transposed convolution is of one pixel's channels
            fan_in = module.weight[0].numel() if isinstance(module, nn.Conv2d) else module.in_channels
            nn.init.normal_(module.weight, std=(2 / fan_in) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check_channels(images: Tensor, channels: int) -> None:
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(
            f"this net takes images of {channels} channels, (B, {channels}, H, W), not {tuple(images.shape)}"
        )
