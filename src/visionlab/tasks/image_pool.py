"""A history of generated images (Shrivastava et al. 2017, "Learning from Simulated and Unsupervised Images through
Adversarial Training", section 2.3).
"""

import torch
from torch import Tensor


class ImagePool:
    """The last images that a net made, roughly, for its discriminator not to forget them.

    Args:
        size: how many are kept, at least 0.

    Attributes:
        images: those that are kept, ``(channels, H, W)`` each.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"the size of an image pool must be at least 0, not {size}")
        self.size = size
        self.images: list[Tensor] = []

    def __call__(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Take new images, and give as many: while the pool fills up, the new ones; then each time, with a chance of a
        half, one from the pool, whose place the new one takes (Zhu et al. 2017, section 7.1).

        Args:
            images: ``(B, channels, H, W)``, detached.
            random: draws which.
        """
        if self.size == 0:
            return images
        swaps = torch.rand(len(images), generator=random, device=random.device).tolist()
        places = torch.randint(self.size, (len(images),), generator=random, device=random.device).tolist()
        given = []
        for image, swap, place in zip(images, swaps, places, strict=True):
            if len(self.images) < self.size:
                self.images.append(image.clone())
                given.append(image)
            elif swap < 0.5:
                given.append(self.images[place].to(image))
                self.images[place] = image.clone()
            else:
                given.append(image)
        return torch.stack(given)
