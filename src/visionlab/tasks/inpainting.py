"""Inpainting by a context encoder: Pathak et al. 2016, "Context Encoders: Feature Learning by Inpainting"."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from visionlab.batch import GenerationPredictions, ImageBatch, Step
from visionlab.losses.adversarial import AdversarialLoss, by_image
from visionlab.metrics.reconstruction import Hole, middle
from visionlab.tasks.base import LRSchedule
from visionlab.tasks.gan import GAN


class HoleScores:
    """Makes the metrics of inpainting.

    Args:
        colour: see :class:`visionlab.metrics.reconstruction.Hole`.
    """

    samples: int | None = None
    monitor = "hole/PSNR"
    mode: Literal["max", "min"] = "max"

    def __init__(self, colour: Sequence[float]) -> None:
        self.colour = colour

    def __call__(self, data: Any) -> dict[str, Metric]:
        return {"hole": Hole(self.colour)}


class Inpainting(GAN):
    """A net that fills the middle of images, of half their height and width, against a discriminator that sees the
    middle (equations 1 to 3). The authors' overlap of hole and surroundings is left out.

    Scored in the hole, ``hole/PSNR`` and others, beside two ways to fill it without a net:
    :class:`visionlab.metrics.reconstruction.Hole`. In evaluation, losses are those of the net.

    Args:
        num_classes: of the data set, which the command line links to it.
        net: makes the net, which takes ``(B, channels, H, W)`` images in [0, 1] and gives their middle,
            ``(B, channels, H / 2, W / 2)``.
        discriminator: makes the discriminator, which takes the middle and gives ``(B,)`` logits, or ``(B, 1, h, w)``.
        optimizer: makes the net's optimizer, given its parameters.
        discriminator_optimizer: makes the discriminator's.
        loss: what the players minimise.
        adversarial_weight: of the net's part in that, in [0, 1]; what is left to 1 is that of the mean squared
            difference, of pixels in [-1, 1]. 0.001 in the paper.
        colour: what the hole is filled with for the net to see, in [0, 1] by channel: the mean colour of the data. The
            default is that of ImageNet.
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
        adversarial_weight: float = 0.001,
        colour: Sequence[float] = (0.485, 0.456, 0.406),
        lr_schedulers: Sequence[LRSchedule] = (),
    ) -> None:
        super().__init__(
            num_classes,
            net,
            discriminator,
            optimizer,
            discriminator_optimizer,
            lr_schedulers,
            scores=HoleScores(colour),
        )
        if not 0 <= adversarial_weight <= 1:
            raise ValueError(f"adversarial_weight must lie in [0, 1], not {adversarial_weight}")
        if not all(0 <= value <= 1 for value in colour):
            raise ValueError(f"colour must be in [0, 1] by channel, not {list(colour)}")
        self.loss, self.adversarial_weight, self.colour = loss, adversarial_weight, list(colour)

    def step(self, batch: ImageBatch) -> Step:
        made = self.make(batch)["fake"]
        return Step(
            self._of_net(batch, made), lambda: GenerationPredictions(images=_put(batch["images"], made).float())
        )

    def shown(self, batch: ImageBatch) -> dict[str, Tensor]:
        """What a picture shows of a batch: see :class:`visionlab.callbacks.translations.ShowsImages`."""
        filled = _put(batch["images"], self.make(batch)["fake"])
        return {"input": self.holed(batch["images"]), "output": filled, "target": batch["images"]}

    def holed(self, images: Tensor) -> Tensor:
        """Images whose middle is of one colour.

        Raises:
            ValueError: if their sides are no multiples of 4, or the colour has another number of channels.
        """
        if any(side % 4 for side in images.shape[2:]):
            sides = " x ".join(map(str, images.shape[2:]))
            raise ValueError(f"the middle is cut out of images whose sides are multiples of 4, not {sides}")
        if images.shape[1] != len(self.colour):
            raise ValueError(f"colour has {len(self.colour)} channels, and the images have {images.shape[1]}")
        return _put(images, torch.tensor(self.colour, device=images.device)[:, None, None])

    def make(self, batch: ImageBatch) -> dict[str, Tensor]:
        images = batch["images"]
        made = self.net(self.holed(images))
        if made.shape != middle(images).shape:
            theirs, ours = (" x ".join(map(str, some.shape[1:])) for some in (made, middle(images)))
            raise ValueError(f"{type(self.net).__name__} makes images of {theirs}, and the middle is of {ours}")
        return {"fake": made}

    def discriminator_losses(self, batch: ImageBatch, made: dict[str, Tensor]) -> dict[str, Tensor]:
        on_real, on_fake = self._logits(middle(batch["images"])), self._logits(made["fake"])
        return {"discriminator": self.loss.real(on_real).mean() + self.loss.fake(on_fake).mean()}

    def generator_losses(self, batch: ImageBatch, made: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: loss.mean() for name, loss in self._of_net(batch, made["fake"]).items()}

    def _of_net(self, batch: ImageBatch, made: Tensor) -> dict[str, Tensor]:
        """Of each image, ``(B,)``."""
        squared = by_image((made.float() - middle(batch["images"]).float()).square())
        return {
            "generator": self.adversarial_weight * by_image(self.loss.generator(self._logits(made))),
            "l2": (1 - self.adversarial_weight) * 4 * squared,  # four times, for pixels here are in [0, 1]
        }

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(images.contiguous())
        return logits.float()


def _put(images: Tensor, inside: Tensor) -> Tensor:
    """Images with another middle."""
    changed = images.clone()
    middle(changed).copy_(inside)
    return changed
