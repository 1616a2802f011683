from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """The first layer of a net: ``(images - mean) / std`` by channel. Both are saved with the weights, but not trained.

    Args:
        mean: one number a channel, or a single one for any number of channels.
        std: as many, all positive.

    Raises:
        ValueError: if the lengths differ or a standard deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or len(mean) == 0:
            raise ValueError(f"mean and std must have one number a channel each, not {list(mean)} and {list(std)}")
        if not all(value > 0 for value in std):
            raise ValueError(f"std must be positive, not {list(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images.

        Args:
            images: ``(B, channels, H, W)``, float in [0, 1]. Grey images, of one channel, come out with as many
                channels as ``mean`` has, so that a net for RGB takes them.

        Returns:
            ``(B, channels, H, W)``.

        Raises:
            ValueError: if the images have neither one channel nor as many as ``mean``.
        """
        channels = len(self.mean)
        if images.ndim != 4 or (channels > 1 and images.shape[1] not in (1, channels)):
            raise ValueError(
                f"this net normalises images of {channels} channels, (B, {channels}, H, W), not {tuple(images.shape)}"
            )
        return (images - self.mean) / self.std
