"""Perceptual losses: how far an image is from another in content, and in style, by the features of a net.

Johnson, Alahi and Fei-Fei 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", section 3.2,
after Gatys, Ecker and Bethge 2016, "Image Style Transfer Using Convolutional Neural Networks", section 2.
"""

from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Which features occur together: their products, averaged over places and divided by their number (equation 3).

    Args:
        features: ``(B, channels, H, W)``.

    Returns:
        ``(B, channels, channels)``.
    """
    rows = features.flatten(2)
    return rows @ rows.transpose(1, 2) / rows[0].numel()


def content(features: Tensor, of_content: Tensor) -> Tensor:
    """The mean squared difference of features (equation 2).

    Args:
        features: ``(B, channels, H, W)``.
        of_content: likewise.

    Returns:
        ``(B,)``.
    """
    return (features - of_content).square().flatten(1).mean(1)


def style(features: Tensor, of_style: Tensor) -> Tensor:
    """The squared Frobenius norm of the difference of Gram matrices (equation 4).

    Args:
        features: ``(B, channels, H, W)``.
        of_style: the Gram matrix of the style, ``(channels, channels)``.

    Returns:
        ``(B,)``.
    """
    return (gram(features) - of_style).square().flatten(1).sum(1)


def total_variation(images: Tensor) -> Tensor:
    """The mean squared difference between neighbouring pixels, down and across added up: how rough an image is.

    Args:
        images: ``(B, channels, H, W)``, of at least 2 x 2 pixels.

    Returns:
        ``(B,)``.
    """
    down, across = images.diff(dim=2), images.diff(dim=3)
    return down.square().flatten(1).mean(1) + across.square().flatten(1).mean(1)
