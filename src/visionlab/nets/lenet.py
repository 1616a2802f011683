"""LeNet-5: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to Document Recognition".

:class:`LeNet5Paper` is the net of section II.B, to the parameter; :class:`LeNet5` is what is usually called LeNet-5
today. Both take images of 32x32 pixels.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionlab.nets.normalize import Normalize

# section II.B: the background of an image becomes -0.1 and its foreground 1.175
STD = 1 / (1.175 + 0.1)
MEAN = 0.1 * STD

# table I: the maps of S2 that each map of C3 is connected to
C3_INPUTS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


class LeNet5(nn.Module):
    """LeNet-5 as it is usually built today: 61,706 parameters for 10 classes and one channel.

    The layers and sizes of the paper, but every map of C3 sees every map of S2, pooling takes the maximum and has no
    parameters, units are rectified, and the output layer is linear. PyTorch's default initialisation.

    Args:
        num_classes: the number of outputs.
        in_channels: the channels of the images.
        mean: subtracted from the images: one number a channel, or one for all. By default the paper's scaling, with 0
            as background.
        std: what they are then divided by, likewise.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 1, mean: Sequence[float] = (MEAN,), std: Sequence[float] = (STD,)
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.normalize = Normalize(mean, std)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Classify ``(B, in_channels, 32, 32)`` images, float in [0, 1].

        Returns:
            ``(B, num_classes)`` logits.

        Raises:
            ValueError: if the images have another size.
        """
        check_size(images, self.in_channels)
        logits: Tensor = self.classifier(self.features(self.normalize(images)))
        return logits


class LeNet5Paper(nn.Module):
    """LeNet-5 of the paper (section II.B): 60,000 trainable parameters for one channel, whatever the number of classes.

    C1 156, S2 12, C3 1,516 (16 maps, each connected to the maps of S2 that table I names), S4 32, C5 48,120, F6 10,164.
    Subsampling adds four inputs, multiplies them by a trainable coefficient and adds a trainable bias, one of each a
    map. Every layer up to F6 ends in ``1.7159 tanh(2/3 a)`` (equation 6 and appendix A), and its weights and biases
    start uniform within 2.4 over the fan-in of a unit (appendix A).

    The output layer has Euclidean radial basis functions (equation 7): the squared distance from F6 to a code of 84
    values of -1 and +1 for each class. The codes are fixed, which is why they are not among the 60,000. The paper draws
    each character as a bitmap for its code and names random codes as the alternative; those are used here, always the
    same, for they suit any classes. The logits are the negated distances: their cross-entropy is the paper's
    discriminative criterion (equation 9) without its "rubbish" class.

    Args:
        num_classes: the number of outputs.
        in_channels: the channels of the images.
        mean: subtracted from the images: one number a channel, or one for all. By default the paper's scaling, with 0
            as background.
        std: what they are then divided by, likewise.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 1, mean: Sequence[float] = (MEAN,), std: Sequence[float] = (STD,)
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.normalize = Normalize(mean, std)
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConv2d(C3_INPUTS, 5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasis(84, num_classes)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                start_uniform(layer.weight, layer.weight[0].numel())
                assert layer.bias is not None
                start_uniform(layer.bias, layer.weight[0].numel())

    def forward(self, images: Tensor) -> Tensor:
        """Classify ``(B, in_channels, 32, 32)`` images, float in [0, 1].

        Returns:
            ``(B, num_classes)`` logits: negated squared distances, at most 0.

        Raises:
            ValueError: if the images have another size.
        """
        check_size(images, self.in_channels)
        x = squash(self.c1(self.normalize(images)))
        x = squash(self.s2(x))
        x = squash(self.c3(x))
        x = squash(self.s4(x))
        x = squash(self.c5(x)).flatten(1)
        x = squash(self.f6(x))
        logits: Tensor = self.output(x)
        return logits


class Subsampling(nn.Module):
    """The sum of each 2x2 window times a trainable coefficient, plus a trainable bias, one of each a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))
        start_uniform(self.weight, 4)
        start_uniform(self.bias, 4)

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, channels, H / 2, W / 2)``."""
        return self.weight * nn.functional.avg_pool2d(maps, 2, divisor_override=1) + self.bias


class PartialConv2d(nn.Module):
    """A convolution in which each output map sees only some of the input maps.

    Args:
        inputs: for each output map, the input maps that it sees.
        kernel_size: pixels.
    """

    def __init__(self, inputs: Sequence[Sequence[int]], kernel_size: int) -> None:
        super().__init__()
        self.inputs = [list(maps) for maps in inputs]
        self.convs = nn.ModuleList(nn.Conv2d(len(maps), 1, kernel_size) for maps in inputs)

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, len(inputs), H - kernel_size + 1, W - kernel_size + 1)``."""
        return torch.cat([conv(maps[:, seen]) for conv, seen in zip(self.convs, self.inputs, strict=True)], 1)


class RadialBasis(nn.Module):
    """The negated squared distance from the input to a fixed code of -1 and +1 for each class (equation 7)."""

    codes: Tensor

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        coin = random.Random(1998)
        codes = [[1.0 if coin.random() < 0.5 else -1.0 for _ in range(in_features)] for _ in range(num_classes)]
        self.register_buffer("codes", torch.tensor(codes))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_features)`` to ``(B, num_classes)``."""
        return -(x[:, None] - self.codes).square().sum(2)


def squash(a: Tensor) -> Tensor:
    """The paper's sigmoid (appendix A), which maps -1 and 1 to themselves."""
    return 1.7159 * torch.tanh(2 / 3 * a)


def start_uniform(parameter: Tensor, fan_in: int) -> None:
    """Start a parameter of units with ``fan_in`` inputs as the paper does (appendix A)."""
    nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)


def check_size(images: Tensor, channels: int) -> None:
    """Raise a ValueError unless the images have the size that LeNet-5 takes."""
    if images.shape[1:] != (channels, 32, 32):
        raise ValueError(
            f"LeNet-5 takes images (B, {channels}, 32, 32), not {tuple(images.shape)}: "
            "set the data set's image_size to 32 and the net's in_channels to its channels"
        )
