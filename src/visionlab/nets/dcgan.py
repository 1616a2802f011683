"""DCGAN: Radford, Metz and Chintala 2016, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR, section 3; figure 1 at half of its widths, as it is usually trained (PyTorch's tutorial).
"""

from torch import Tensor, nn

from visionlab.nets.normal_start import start_normal


class DCGANGenerator(nn.Module):
    """From noise by transposed convolutions, each of which doubles the size, to an image; BatchNorm and ReLU between.

    At 64 pixels it has 3,576,704 parameters by default.

    Args:
        num_classes: of the data set; not used, for images are generated of all classes alike.
        image_size: height and width of the images, a power of two, at least 8.
        channels: of the images.
        width: channels of the features at half of the size; towards the noise they double with each layer.
        latent: how many numbers an image is made from.

    Raises:
        ValueError: if it cannot make images of that size.
    """

    def __init__(
        self, num_classes: int, image_size: int = 64, channels: int = 3, width: int = 64, latent: int = 100
    ) -> None:
        super().__init__()
        doublings = _doublings(image_size)
        self.image_size, self.latent = image_size, latent
        before = width * 2**doublings // 2
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, before, 4, bias=False), *_norm(before)]
        for _ in range(doublings - 1):
            layers += [nn.ConvTranspose2d(before, before // 2, 4, 2, 1, bias=False), *_norm(before // 2)]
            before //= 2
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(before, channels, 4, 2, 1, bias=False))
        start_normal(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Generate images of ``(B, latent)`` noise.

        Returns:
            ``(B, channels, image_size, image_size)`` in [0, 1].
        """
        images: Tensor = self.layers(noise[:, :, None, None])
        return (images.tanh() + 1) / 2


class DCGANDiscriminator(nn.Module):
    """Strided convolutions, each of which halves the size, BatchNorm but in the first, and leaky ReLU.

    At 64 pixels it has 2,765,568 parameters by default.

    Args:
        num_classes: of the data set; not used.
        image_size: height and width of the images, a power of two, at least 8.
        channels: of the images.
        width: channels after the first layer; they double with each.

    Raises:
        ValueError: if it cannot judge images of that size.
    """

    def __init__(self, num_classes: int, image_size: int = 64, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for _ in range(_doublings(image_size) - 1):
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2, inplace=True)]
            width *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, bias=False))
        start_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """Judge ``(B, channels, image_size, image_size)`` images in [0, 1].

        Returns:
            ``(B,)`` logits.
        """
        logits: Tensor = self.layers(2 * images - 1)
        return logits.flatten()


def _doublings(image_size: int) -> int:
    """From the smallest features, of 4 x 4 pixels, to an image."""
    if image_size < 8 or image_size & (image_size - 1):
        raise ValueError(f"image_size of DCGAN must be 8, 16, 32, 64 or another power of two, not {image_size}")
    return image_size.bit_length() - 3


def _norm(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
