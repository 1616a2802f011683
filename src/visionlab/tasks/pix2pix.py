"""pix2pix: Isola, Zhu, Zhou and Efros 2017, "Image-to-Image Translation with Conditional Adversarial Networks"."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.batch import GenerationPredictions, PairedBatch, Step, to_unit
from visionlab.losses.adversarial import AdversarialLoss, by_image
from visionlab.tasks.base import LRSchedule
from visionlab.tasks.gan import GAN


class Pix2Pix(GAN):
    """A net that makes of each image the one that belongs to it, against a discriminator that sees both (equation 4).

    The discriminator takes an image with the one made from it, one above the other along the channels. Its losses count
    half, as in the paper (section 3.3). In evaluation, losses are those of the net.

    Args:
        num_classes: of the data set, which the command line links to it.
        net: makes the net, which takes and gives ``(B, channels, H, W)`` images in [0, 1].
        discriminator: makes the discriminator, which takes twice as many channels and gives ``(B, 1, h, w)`` logits of
            patches, or ``(B,)`` of images.
        optimizer: makes the net's optimizer, given its parameters.
        discriminator_optimizer: makes the discriminator's.
        loss: what the players minimise.
        l1_weight: of the mean absolute difference to the true image, of pixels in [-1, 1]; the paper's lambda.
        lr_schedulers: learning-rate schedulers of both, if any.
    """

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        discriminator: Callable[[int], nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        discriminator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        loss: AdversarialLoss,
        l1_weight: float = 100.0,
        lr_schedulers: Sequence[LRSchedule] = (),
    ) -> None:
        super().__init__(num_classes, net, discriminator, optimizer, discriminator_optimizer, lr_schedulers)
        if l1_weight < 0:
            raise ValueError(f"l1_weight must be at least 0, not {l1_weight}")
        self.loss, self.l1_weight = loss, l1_weight

    def step(self, batch: PairedBatch) -> Step:
        made = self.net(batch["images"])
        losses = self._of_net(batch, made) if "target_images" in batch else {}
        return Step(losses, lambda: GenerationPredictions(images=made.float()))

    def shown(self, batch: PairedBatch) -> dict[str, Tensor]:
        """What a picture shows of a batch: see :class:`visionlab.callbacks.translations.ShowsImages`."""
        rows = {"input": batch["images"], "output": self.net(batch["images"])}
        return {**rows, "target": _target(batch)} if "target_images" in batch else rows

    def make(self, batch: PairedBatch) -> dict[str, Tensor]:
        made = self.net(batch["images"])
        if made.shape != _target(batch).shape:
            theirs, ours = (" x ".join(map(str, images.shape[1:])) for images in (made, _target(batch)))
            raise ValueError(f"{type(self.net).__name__} makes images of {theirs}, and those of the data are of {ours}")
        return {"fake": made}

    def discriminator_losses(self, batch: PairedBatch, made: dict[str, Tensor]) -> dict[str, Tensor]:
        real = self.loss.real(self._logits(batch["images"], _target(batch)))
        fake = self.loss.fake(self._logits(batch["images"], made["fake"]))
        return {"discriminator": (real.mean() + fake.mean()) / 2}

    def generator_losses(self, batch: PairedBatch, made: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: loss.mean() for name, loss in self._of_net(batch, made["fake"]).items()}

    def _of_net(self, batch: PairedBatch, made: Tensor) -> dict[str, Tensor]:
        """Of each image, ``(B,)``."""
        difference = (made.float() - _target(batch).float()).abs()
        return {
            "generator": by_image(self.loss.generator(self._logits(batch["images"], made))),
            "l1": self.l1_weight * 2 * by_image(difference),  # twice, for pixels here are in [0, 1]
        }

    def _logits(self, images: Tensor, made: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(torch.cat([images, made.to(images.dtype)], dim=1))
        return logits.float()


def _target(batch: PairedBatch) -> Tensor:
    """The true images.

    Raises:
        ValueError: if there are none.
    """
    if "target_images" not in batch:
        raise ValueError("pix2pix needs pairs of images, such as those of visionlab.data.pairs.PairedImages")
    return to_unit(batch["target_images"], batch["images"].dtype)
