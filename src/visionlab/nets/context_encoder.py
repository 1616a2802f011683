"""The context encoder: Pathak, Krähenbühl, Donahue, Darrell and Efros 2016, "Context Encoders: Feature Learning by
Inpainting", as its authors train it to fill the middle of an image (figure 9a;
https://github.com/pathak22/context-encoder).
"""

from torch import Tensor, nn

from visionlab.nets.normal_start import start_normal

SMALLEST = 16


class ContextEncoder(nn.Module):
    """The middle of an image from what is around it: an encoder, a bottleneck that sees all of it, and a decoder.

    71,124,611 parameters for images of 128 x 128 pixels. Convolutions before BatchNorm have no bias.

    Args:
        num_classes: of the data set; not used.
        out_channels: of the images that it makes.
        in_channels: of those that it takes.
        image_size: pixels on each side of the images: 16, 32, 64, 128, ...; what is made has half of them.
        width: the features of the first layer.
        bottleneck: the features between encoder and decoder.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        out_channels: int = 3,
        in_channels: int = 3,
        image_size: int = 128,
        width: int = 64,
        bottleneck: int = 4000,
    ) -> None:
        super().__init__()
        if image_size < SMALLEST or image_size & (image_size - 1):
            raise ValueError(f"a context encoder takes images of 16, 32, 64, ... pixels on each side, not {image_size}")
        if width < 1 or bottleneck < 1:
            raise ValueError(f"width and bottleneck must be at least 1, not {width} and {bottleneck}")
        self.in_channels, self.image_size = in_channels, image_size
        halvings = image_size.bit_length() - 3  # down to 4 x 4
        widths = [width, *(width * min(2**stage, 8) for stage in range(halvings - 1))]
        encoder: list[nn.Module] = []
        for stage, features in enumerate(widths):
            inputs = widths[stage - 1] if stage > 0 else in_channels
            encoder.append(nn.Conv2d(inputs, features, 4, stride=2, padding=1, bias=stage == 0))
            encoder += [*([nn.BatchNorm2d(features)] if stage > 0 else []), nn.LeakyReLU(0.2)]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(widths[-1], bottleneck, 4, bias=False))
        decoder: list[nn.Module] = [nn.BatchNorm2d(bottleneck), nn.LeakyReLU(0.2)]
        inputs = bottleneck
        for step, features in enumerate(widths[:0:-1]):
            stride, padding = (1, 0) if step == 0 else (2, 1)
            decoder.append(nn.ConvTranspose2d(inputs, features, 4, stride, padding, bias=False))
            decoder += [nn.BatchNorm2d(features), nn.ReLU()]
            inputs = features
        self.decoder = nn.Sequential(*decoder, nn.ConvTranspose2d(inputs, out_channels, 4, 2, 1), nn.Tanh())
        start_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Fill the middle of images.

        Args:
            images: ``(B, in_channels, image_size, image_size)``, float in [0, 1]; what is in their middle is of no use.

        Returns:
            ``(B, out_channels, image_size / 2, image_size / 2)`` in [0, 1].

        Raises:
            ValueError: if the images have another size, or other channels.
        """
        expected = (self.in_channels, self.image_size, self.image_size)
        if images.ndim != 4 or images.shape[1:] != expected:
            shape = ", ".join(map(str, expected))
            raise ValueError(f"this net takes images (B, {shape}), not {tuple(images.shape)}")
        made: Tensor = (self.decoder(self.encoder(2 * images - 1)) + 1) / 2
        return made
