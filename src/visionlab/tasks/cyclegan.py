"""CycleGAN: Zhu, Park, Isola and Efros 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks".
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.batch import GenerationPredictions, Step, UnpairedBatch, to_unit
from visionlab.losses.adversarial import AdversarialLoss, by_image
from visionlab.processes import gather
from visionlab.tasks.base import LRSchedule
from visionlab.tasks.gan import GAN, NoScores
from visionlab.tasks.image_pool import ImagePool


class BothWays(nn.Module):
    """Two nets of one kind.

    Args:
        make: makes each.
        num_classes: that it is given.

    Attributes:
        a: makes images like those of A of those of B, or judges those of A.
        b: the other way round.
    """

    def __init__(self, make: Callable[[int], nn.Module], num_classes: int) -> None:
        super().__init__()
        self.a, self.b = make(num_classes), make(num_classes)


class CycleGAN(GAN):
    """Two nets that translate between two collections of images, A and B, each against a discriminator; what one has
    translated, the other must be able to translate back (equation 3).

    Images of A are translated to B in evaluation and prediction; for the other way, exchange the folders of the data.
    No number says which weights are best, so the newest are kept. Discriminators see translated images out of a history
    of them (section 7.1), which a continued run has again, and their losses count half.

    Args:
        num_classes: of the data set, which the command line links to it.
        net: makes each net, which takes and gives ``(B, channels, H, W)`` images in [0, 1].
        discriminator: makes each discriminator, which gives ``(B, 1, h, w)`` logits of patches, or ``(B,)`` of images.
        optimizer: makes the optimizer of both nets, given their parameters.
        discriminator_optimizer: makes that of both discriminators.
        loss: what the players minimise; least squares in the paper.
        cycle_weight: of the mean absolute differences after both ways, of pixels in [-1, 1]; the paper's lambda.
        identity_weight: of what a net changes in images that are as they should be (section 5.2), as a share of
            ``cycle_weight``.
        pool_size: how many translated images each history holds; 0 for none.
        lr_schedulers: learning-rate schedulers of all, if any.
    """

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        discriminator: Callable[[int], nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        discriminator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        loss: AdversarialLoss,
        cycle_weight: float = 10.0,
        identity_weight: float = 0.5,
        pool_size: int = 50,
        lr_schedulers: Sequence[LRSchedule] = (),
    ) -> None:
        super().__init__(
            num_classes,
            lambda classes: BothWays(net, classes),
            lambda classes: BothWays(discriminator, classes),
            optimizer,
            discriminator_optimizer,
            lr_schedulers,
            scores=NoScores(),
        )
        if cycle_weight < 0 or identity_weight < 0:
            raise ValueError(
                f"cycle_weight and identity_weight must be at least 0, not {cycle_weight} and {identity_weight}"
            )
        self.loss, self.cycle_weight, self.identity_weight = loss, cycle_weight, identity_weight
        self.pools = {"a": ImagePool(pool_size), "b": ImagePool(pool_size)}

    def step(self, batch: UnpairedBatch) -> Step:
        if "other_images" not in batch:
            made = self.net.b(batch["images"])
            return Step({}, lambda: GenerationPredictions(images=made.float()))
        all_made = self.make(batch)
        return Step(self._of_nets(batch, all_made), lambda: GenerationPredictions(images=all_made["b"].float()))

    def shown(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        """What a picture shows of a batch: see :class:`visionlab.callbacks.translations.ShowsImages`."""
        made, other = self.make(batch), _other(batch)
        there = {"A": batch["images"], "A to B": made["b"], "and back": made["cycled_a"]}
        return {**there, "B": other, "B to A": made["a"], "and back to B": made["cycled_b"]}

    def make(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        to_a, to_b = self.net.a, self.net.b
        real_a, real_b = batch["images"], _other(batch)
        made = {"b": to_b(real_a), "a": to_a(real_b)}  # type: ignore[operator]
        made |= {"cycled_a": to_a(made["b"]), "cycled_b": to_b(made["a"])}  # type: ignore[operator]
        if self.identity_weight > 0:
            made |= {"same_a": to_a(real_a), "same_b": to_b(real_b)}  # type: ignore[operator]
        for name in ("cycled_a", "cycled_b"):
            real = real_a if name == "cycled_a" else real_b
            if made[name].shape != real.shape:
                theirs, ours = (" x ".join(map(str, images.shape[1:])) for images in (made[name], real))
                raise ValueError(f"the nets make images of {theirs} of those of {ours}")
        return made

    def discriminator_losses(self, batch: UnpairedBatch, made: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {}
        for domain, real in (("a", batch["images"]), ("b", _other(batch))):
            fake = self.pools[domain](made[domain], self.random)
            on_real, on_fake = self._logits(domain, real), self._logits(domain, fake)
            losses[f"discriminator_{domain}"] = (self.loss.real(on_real).mean() + self.loss.fake(on_fake).mean()) / 2
        return losses

    def generator_losses(self, batch: UnpairedBatch, made: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: loss.mean() for name, loss in self._of_nets(batch, made).items()}

    def _of_nets(self, batch: UnpairedBatch, made: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each image of A with the one of B that came with it, ``(B,)``; pixels here are in [0, 1], so that their
        differences count twice.
        """
        real = {"a": batch["images"], "b": _other(batch)}
        weight = 2 * self.cycle_weight
        losses = {
            "generator": sum(by_image(self.loss.generator(self._logits(d, made[d]))) for d in real),
            "cycle": weight * sum(_differences(made[f"cycled_{d}"], real[d]) for d in real),
        }
        if self.identity_weight > 0:
            away = sum(_differences(made[f"same_{d}"], real[d]) for d in real)
            losses["identity"] = weight * self.identity_weight * away
        return losses  # type: ignore[return-value]  # none is the 0 that sums begin with

    def _logits(self, domain: str, images: Tensor) -> Tensor:
        judge = self.discriminator.a if domain == "a" else self.discriminator.b
        logits: Tensor = judge(images)  # type: ignore[operator]
        return logits.float()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        mine = {domain: [image.cpu() for image in pool.images] for domain, pool in self.pools.items()}
        checkpoint["image_pools"] = gather(mine)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        pools = checkpoint["image_pools"]
        mine = pools[self.global_rank % len(pools)]
        for domain, pool in self.pools.items():
            pool.images = list(mine[domain])


def _other(batch: UnpairedBatch) -> Tensor:
    """The images of B.

    Raises:
        ValueError: if there are none.
    """
    if "other_images" not in batch:
        raise ValueError("CycleGAN needs images of two kinds, such as those of visionlab.data.pairs.UnpairedImages")
    return to_unit(batch["other_images"], batch["images"].dtype)


def _differences(images: Tensor, truth: Tensor) -> Tensor:
    """The mean absolute difference of each image, ``(B,)``."""
    return by_image((images.float() - truth.float()).abs())
