"""What all adversarial trainings share: a discriminator beside the net, two optimizers that take turns, and a count of
steps that means training batches.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from visionlab.tasks.base import AnyTask, LRSchedule, Scores


class NoScores:
    """What nets make is not measured: the official metrics of a data set judge something else."""

    samples: int | None = None
    monitor: str | None = None
    mode: Literal["max", "min"] = "min"

    def __call__(self, data: Any) -> dict[str, Metric]:
        return {}


class GAN(AnyTask):
    """A net that learns against a discriminator (Goodfellow et al. 2014).

    Each training batch, the discriminator takes a step on what the net made of it; every ``n_critic`` batches the net
    takes one against the discriminator as it is then, by the same images. A training step is a batch: so
    ``global_step``, ``max_steps``, schedules and checkpoints count, and the steps of the net are 1 in ``n_critic`` of
    them.

    What is drawn at random comes from ``random``, which is seeded anew for each batch, by the seed of the run, the step
    and the process: a continued run draws the same, and processes draw differently.

    A subclass gives ``step``, ``make``, ``discriminator_losses`` and ``generator_losses``.

    Args:
        num_classes: of the data set, which the command line links to it.
        net: makes the net that generates, given ``num_classes``.
        discriminator: makes the discriminator, or a module of several, given ``num_classes``.
        optimizer: makes the net's optimizer, given its parameters.
        discriminator_optimizer: makes the discriminator's.
        lr_schedulers: learning-rate schedulers of both, if any; none that watches a metric.
        n_critic: training batches, and so steps of the discriminator, for each step of the net.
        scores: makes the metrics; None for the official ones of the data set.

    Attributes:
        can_be_won: whether the discriminator's loss is 0 where it tells all images apart.
    """

    can_be_won = True

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        discriminator: Callable[[int], nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        discriminator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        lr_schedulers: Sequence[LRSchedule] = (),
        n_critic: int = 1,
        scores: Scores | None = None,
    ) -> None:
        super().__init__(num_classes, net, lr_schedulers, scores)
        if n_critic < 1:
            raise ValueError(f"n_critic must be at least 1, not {n_critic}")
        for schedule in lr_schedulers:
            if schedule.monitor is not None:
                raise ValueError(f"lr_schedulers: those of two players watch no metric such as {schedule.monitor}")
        self.automatic_optimization = False
        self.discriminator = discriminator(num_classes)
        self.make_optimizer, self.make_discriminator_optimizer = optimizer, discriminator_optimizer
        self.n_critic = n_critic
        self.random = torch.Generator()

    @abstractmethod
    def make(self, batch: Any) -> dict[str, Tensor]:
        """What the net makes for a training batch: images by name. Takes the only forward pass of the net in a training
        step.
        """

    @abstractmethod
    def discriminator_losses(self, batch: Any, made: dict[str, Tensor]) -> dict[str, Tensor]:
        """The scalars by name whose sum the discriminator minimises.

        Args:
            batch: the training batch.
            made: what :meth:`make` gave, detached.
        """

    @abstractmethod
    def generator_losses(self, batch: Any, made: dict[str, Tensor]) -> dict[str, Tensor]:
        """The scalars by name whose sum the net minimises; other names than those of the discriminator.

        Args:
            batch: the training batch.
            made: what :meth:`make` gave.
        """

    def setup(self, stage: str) -> None:
        super().setup(stage)
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):
            # each backward pass leaves the other player without gradients, which DDP otherwise takes for an error
            strategy._ddp_kwargs["find_unused_parameters"] = True
        elif not isinstance(strategy, SingleDeviceStrategy):
            raise ValueError(f"two players train on one device or by ddp, not by {type(strategy).__name__}")
        if self.random.device != self.device:
            self.random = torch.Generator(self.device)

    def configure_optimizers(self) -> Any:
        optimizers = [
            self.make_discriminator_optimizer(p for p in self.discriminator.parameters() if p.requires_grad),
            self.make_optimizer(p for p in self.net.parameters() if p.requires_grad),
        ]
        # Lightning leaves it to manual optimisation when they step: see training_step
        return optimizers, [{"scheduler": s.scheduler(o)} for s in self.lr_schedules for o in optimizers]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        step = self.global_step + 1
        state = np.random.SeedSequence([torch.initial_seed(), step, self.global_rank]).generate_state(1)
        self.random.manual_seed(int(state[0]))
        net_steps = step % self.n_critic == 0
        with torch.set_grad_enabled(net_steps):
            made = self.make(batch)
        losses = self.discriminator_losses(batch, {name: images.detach() for name, images in made.items()})
        self._descend(0, losses)
        if net_steps:
            # without gradients of its weights, the discriminator's backward pass takes two thirds of the time
            trained = [p for p in self.discriminator.parameters() if p.requires_grad]
            for parameter in trained:
                parameter.requires_grad_(False)
            of_net = self.generator_losses(batch, made)
            self._descend(1, of_net)
            for parameter in trained:
                parameter.requires_grad_(True)
            losses = {**losses, **of_net}
        self.note_losses(losses, step - 1)
        for config, schedule in zip(
            self.trainer.lr_scheduler_configs, (s for s in self.lr_schedules for _ in range(2)), strict=True
        ):
            if schedule.interval == "step" or self.trainer.is_last_batch:
                config.scheduler.step()  # type: ignore[call-arg]  # none is a ReduceLROnPlateau
        if step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log_losses(step)

    def _descend(self, player: int, losses: dict[str, Tensor]) -> None:
        """Take a step of the discriminator (0) or of the net (1).

        In manual optimisation Lightning counts each step of an optimizer as a training step, if it is taken through its
        wrapper: only the discriminator's are, so that ``global_step`` counts batches.
        """
        counted: Any = self.optimizers()
        optimizer = self.trainer.optimizers[player]
        optimizer.zero_grad()
        self.manual_backward(torch.stack(list(losses.values())).sum())
        if player == 0:
            counted[0].step()
        else:
            self.trainer.strategy.optimizer_step(optimizer, closure=_nothing)


def _nothing() -> None:
    """No closure: the gradients are there."""
