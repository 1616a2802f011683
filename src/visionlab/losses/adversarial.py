"""The games of generative adversarial networks, and the penalties that keep a discriminator smooth.

A discriminator's outputs are called logits, whatever the game makes of them: ``(B,)``, or ``(B, 1, h, w)`` for one that
judges patches. Losses are elementwise, of the logits' shape, so that whoever averages says over what.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


class AdversarialLoss(ABC):
    """What the two players minimise, elementwise: logits of any shape in, losses of that shape out.

    Attributes:
        can_be_won: whether the discriminator's loss is 0 where it tells all images apart.
    """

    can_be_won = True

    @abstractmethod
    def real(self, logits: Tensor) -> Tensor:
        """The discriminator's loss on real images."""

    @abstractmethod
    def fake(self, logits: Tensor) -> Tensor:
        """The discriminator's loss on generated images."""

    @abstractmethod
    def generator(self, logits: Tensor) -> Tensor:
        """The generator's loss, by the discriminator's logits of generated images."""


class NonSaturating(AdversarialLoss):
    """Binary cross-entropy, and for the generator its non-saturating form (Goodfellow et al. 2014, section 3)."""

    def real(self, logits: Tensor) -> Tensor:
        return F.softplus(-logits)

    def fake(self, logits: Tensor) -> Tensor:
        return F.softplus(logits)

    def generator(self, logits: Tensor) -> Tensor:
        return F.softplus(-logits)


class Hinge(AdversarialLoss):
    """The hinge loss (Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17)."""

    def real(self, logits: Tensor) -> Tensor:
        return F.relu(1 - logits)

    def fake(self, logits: Tensor) -> Tensor:
        return F.relu(1 + logits)

    def generator(self, logits: Tensor) -> Tensor:
        return -logits


class Wasserstein(AdversarialLoss):
    """The critic's difference of means (Arjovsky et al. 2017, equation 2), for a discriminator that is kept Lipschitz,
    by :class:`GradientPenalty` for instance.
    """

    can_be_won = False

    def real(self, logits: Tensor) -> Tensor:
        return -logits

    def fake(self, logits: Tensor) -> Tensor:
        return logits

    def generator(self, logits: Tensor) -> Tensor:
        return -logits


class LeastSquares(AdversarialLoss):
    """Squared distances to 1 for real and 0 for fake (Mao et al. 2017, equations 2 and 9 without their halves, as in
    Zhu et al. 2017, section 4).
    """

    def real(self, logits: Tensor) -> Tensor:
        return (logits - 1).square()

    def fake(self, logits: Tensor) -> Tensor:
        return logits.square()

    def generator(self, logits: Tensor) -> Tensor:
        return (logits - 1).square()


def by_image(losses: Tensor) -> Tensor:
    """The loss of each image, ``(B,)``: of ``(B, 1, h, w)``, of patches, their mean."""
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


Discriminator = Callable[[Tensor], Tensor]
"""Gives logits of ``(B, channels, H, W)`` images in [0, 1]; labels, where there are some, are already in it."""


class Penalty(ABC):
    """What is added to the discriminator's loss for the slope of its logits."""

    @abstractmethod
    def __call__(
        self, discriminator: Discriminator, real: Tensor, fake: Tensor, random: torch.Generator | None = None
    ) -> Tensor:
        """The penalty of each pair of images, weighted.

        Args:
            discriminator: of the images.
            real: ``(B, channels, H, W)``.
            fake: likewise, detached from the generator.
            random: draws what is drawn.

        Returns:
            ``(B,)``, differentiable with respect to the discriminator's parameters.
        """


class GradientPenalty(Penalty):
    """``weight * (|slope| - 1)^2`` at random places between real and fake images (Gulrajani et al. 2017, equation 3).

    The slope is taken for pixels in [-1, 1], as in the paper, although images here are in [0, 1]: by the latter it is
    twice as steep.

    Args:
        weight: the paper's lambda.
    """

    def __init__(self, weight: float = 10.0) -> None:
        self.weight = weight

    def __call__(
        self, discriminator: Discriminator, real: Tensor, fake: Tensor, random: torch.Generator | None = None
    ) -> Tensor:
        share = torch.rand((len(real), 1, 1, 1), device=real.device, dtype=real.dtype, generator=random)
        between = share * real + (1 - share) * fake
        norms: Tensor = (slopes(discriminator, between) / 2).flatten(1).norm(dim=1)
        return self.weight * (norms - 1).square()


class R1(Penalty):
    """``weight / 2 * |slope|^2`` at real images (Mescheder et al. 2018, equation 9), for pixels in [-1, 1].

    Args:
        weight: the paper's gamma.
    """

    def __init__(self, weight: float = 10.0) -> None:
        self.weight = weight

    def __call__(
        self, discriminator: Discriminator, real: Tensor, fake: Tensor, random: torch.Generator | None = None
    ) -> Tensor:
        squares: Tensor = (slopes(discriminator, real) / 2).square().flatten(1).sum(1)
        return self.weight / 2 * squares


def slopes(discriminator: Discriminator, images: Tensor) -> Tensor:
    """The gradient of each image's logits, summed where there are several, with respect to that image: of the images'
    shape, and differentiable again. In float32 whatever the precision around it.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.detach().float().requires_grad_()
        gradient: Tensor = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)[0]
    return gradient
