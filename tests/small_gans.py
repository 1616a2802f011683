"""Small generators, discriminators and kills for recipes of tests, by class path."""

import os
import signal
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning import Callback
from sklearn.datasets import load_digits
from torch import nn

from visionlab.data.memory import MemoryDataModule


class TinyGenerator(nn.Module):
    """8 x 8 pixels, with BatchNorm, which makes continuing a run hard."""

    def __init__(self, num_classes: int, latent: int = 4, channels: int = 1) -> None:
        super().__init__()
        self.latent, self.image_size, self.channels = latent, 8, channels
        self.layers = nn.Sequential(
            nn.Linear(latent, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 64 * channels), nn.Sigmoid()
        )

    def forward(self, noise):
        return self.layers(noise).view(-1, self.channels, 8, 8)


class TinyDiscriminator(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, images):
        return self.layers(images)[:, 0]


class KillBeforeStep(Callback):
    """Kills this process in the training step after a number of steps, before an optimizer steps: that of the
    discriminator (0) or of the net (1)."""

    def __init__(self, step: int, player: int = 0, rank: int = 0) -> None:
        self.step, self.player, self.rank = step, player, rank

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        # the discriminator's step has counted by the time that the net steps
        here = optimizer is trainer.optimizers[self.player] and trainer.global_rank == self.rank
        if here and trainer.global_step == self.step + self.player:
            os.kill(os.getpid(), signal.SIGKILL)


class Poison(Callback):
    """Makes all that a player gives NaN in the training step after a number of steps; the net's only when it trains."""

    def __init__(self, player: str, step: int) -> None:
        self.player, self.step = player, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            getattr(pl_module, self.player).register_forward_hook(lambda module, inputs, output: output * torch.nan)


class NoteSeeds(Callback):
    """Writes down what seeded the noise of each training step."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with Path(f"{self.path}.{trainer.global_rank}").open("a") as file:
            file.write(f"{pl_module.random.initial_seed()}\n")


class SmallDigits(MemoryDataModule):
    """160 digits to train and validate on, 40 to test, as they are."""

    classes = tuple("0123456789")
    image_shape = (8, 8, 1)

    def __init__(self, batch_size: int = 16, eval_batch_size: int | None = None, num_workers: int = 0) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, val_fraction=0.1)

    def arrays(self, split):
        digits = load_digits()
        images = (digits.images[:200, :, :, None] * 255 / 16).round().astype(np.uint8)
        part = slice(0, 160) if split == "train" else slice(160, 200)
        return images[part], digits.target[:200][part].astype(np.int64)


class DigitsByLoss(SmallDigits):
    """The same, whose best weights are those of the least or the greatest validation loss."""

    monitor = "loss"

    def __init__(self, mode: Literal["max", "min"], batch_size: int = 16) -> None:
        super().__init__(batch_size)
        self.mode = mode
