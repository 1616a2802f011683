"""What a training step of a GAN costs by the task and its trainer, over a bare loop.

DCGAN on the digits at 64 pixels, batches of 16, both players' steps: one batch of generated images for both, and the
discriminator without gradients while the generator learns. The task's run has a progress bar, checkpoints, exact
resumption and the table of metrics. Takes CPU time of one thread; both take turns, and the ratio is taken within each
round.

Usage: python benchmarks/gan_step.py [rounds] [steps]
"""

import contextlib
import io
import itertools
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.nn import functional as F

from visionlab.callbacks.checkpoints import AtomicCheckpointIO, Checkpoints
from visionlab.callbacks.progress import Progress
from visionlab.callbacks.resume import ExactResume
from visionlab.callbacks.stop import StopOnSignal
from visionlab.data.digits import Digits
from visionlab.loggers import MetricsTable
from visionlab.losses.adversarial import NonSaturating
from visionlab.nets.dcgan import DCGANDiscriminator, DCGANGenerator
from visionlab.signals import StopRequest
from visionlab.tasks.generation import Generation

BATCH = 16


def make_optimizer(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, 2e-4, (0.5, 0.999))


def make_net(num_classes: int) -> torch.nn.Module:
    return DCGANGenerator(num_classes, channels=1)


def make_discriminator(num_classes: int) -> torch.nn.Module:
    return DCGANDiscriminator(num_classes, channels=1)


def bare(steps: int) -> float:
    """Seconds of CPU time for all steps."""
    net, critic = make_net(10), make_discriminator(10)
    of_net, of_critic = make_optimizer(net.parameters()), make_optimizer(critic.parameters())
    data = Digits(BATCH, image_size=64)
    data.setup("fit")
    began = time.process_time()
    for batch in itertools.islice(data.train_dataloader(), steps):
        real = batch["images"].float() / 255
        fake = net(torch.randn(BATCH, 100))
        of_critic.zero_grad()
        loss = F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()
        loss.backward()
        of_critic.step()
        critic.requires_grad_(False)
        of_net.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        of_net.step()
        critic.requires_grad_(True)
    return time.process_time() - began


class Clock(lightning.Callback):
    """CPU time of the training steps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_start(self, *args: Any) -> None:
        self.seconds = -time.process_time()

    def on_train_epoch_end(self, *args: Any) -> None:
        self.seconds += time.process_time()


def ours(steps: int, folder: Path) -> float:
    """Seconds of CPU time for all steps."""
    task = Generation(10, make_net, make_discriminator, make_optimizer, make_optimizer, NonSaturating())
    keep, clock = Checkpoints(folder, None, "max"), Clock()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        callbacks=[clock, Progress(), ExactResume(), StopOnSignal(keep, StopRequest()), keep],
        logger=MetricsTable(folder / "metrics.csv"),
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        enable_model_summary=False,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.fit(task, datamodule=Digits(BATCH, image_size=64))
    return clock.seconds


def main(rounds: int, steps: int) -> None:
    """Print seconds a step and the ratio."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds + 1):
            folder = Path(name) / str(number)
            folder.mkdir()
            sides = [partial(bare, steps), partial(ours, steps, folder)]
            taken = [side() for side in (sides if number % 2 else sides[::-1])]
            rows.append(taken if number % 2 else taken[::-1])
    ratios = [mine / theirs for theirs, mine in rows[1:]]  # the first round warms up
    each, own = (statistics.median(column) / steps for column in zip(*rows[1:], strict=True))
    print(f"bare {1000 * each:.0f} ms a step, visionlab {1000 * own:.0f} ms")
    print(f"ratio {statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}], {rounds} rounds")


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    main(*words, *(5, 20)[len(words) :])
