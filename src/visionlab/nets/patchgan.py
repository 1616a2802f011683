"""PatchGAN, which judges patches of an image: the discriminator of pix2pix (Isola et al. 2017, sections 3.2.2 and
6.1.2) and of CycleGAN (Zhu et al. 2017, section 4).
"""

from typing import Literal

from torch import Tensor, nn

from visionlab.nets.normal_start import start_normal


class PatchGAN(nn.Module):
    """Whether each patch of an image is real: of 70 x 70 pixels with three strided layers.

    2,768,705 parameters for 6 channels with BatchNorm, as in pix2pix; 2,764,737 for 3 with ``norm: instance``, as in
    CycleGAN (https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix).

    Args:
        num_classes: of the data set; not used.
        in_channels: of the images, and of what they were made from where that comes with them: 6 in pix2pix.
        width: the features of the first layer, which double up to eight times as many.
        layers: how often the size is halved, at least 1. Patches have 16, 34, 70, 142, ... pixels on each side.
        norm: whether features are normalised over the batch or over each image alone.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        layers: int = 3,
        norm: Literal["batch", "instance"] = "batch",
    ) -> None:
        super().__init__()
        if layers < 1 or width < 1:
            raise ValueError(f"layers and width must be at least 1, not {layers} and {width}")
        if norm not in ("batch", "instance"):
            raise ValueError(f"norm must be batch or instance, not {norm!r}")
        self.in_channels, self.layers = in_channels, layers
        normalise = nn.BatchNorm2d if norm == "batch" else nn.InstanceNorm2d
        body: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        inputs = width
        for layer in range(1, layers + 1):
            outputs = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            body += [
                nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=norm == "instance"),
                normalise(outputs),
                nn.LeakyReLU(0.2),
            ]
            inputs = outputs
        self.body = nn.Sequential(*body, nn.Conv2d(inputs, 1, 4, padding=1))
        start_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Judge the patches of ``(B, in_channels, H, W)`` images, float in [0, 1].

        Returns:
            ``(B, 1, h, w)`` logits, h and w being ``H // 2**layers - 2`` and ``W // 2**layers - 2``: 30 x 30 for
            256 x 256 pixels.

        Raises:
            ValueError: if the images are too small for a patch, or their channels others.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"this net takes images (B, {self.in_channels}, H, W), not {tuple(images.shape)}")
        if min(images.shape[2:]) < (least := 3 * 2**self.layers):
            sides = " x ".join(map(str, images.shape[2:]))
            raise ValueError(
                f"a PatchGAN of {self.layers} layers judges images of at least {least} x {least} pixels, not {sides}: "
                "give fewer layers"
            )
        logits: Tensor = self.body(2 * images - 1)
        return logits
