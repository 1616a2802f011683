"""Small parts that tests put into recipes by class path."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning import Callback
from sklearn.datasets import load_digits
from torch import nn

from visionlab.data.augmentation import Augmentation
from visionlab.data.memory import MemoryDataModule
from visionlab.tasks.classification import Classification


class TinyNet(nn.Module):
    """All that makes continuing a run hard: BatchNorm's statistics and Dropout's randomness."""

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, num_classes))

    def forward(self, images):
        return self.head(self.features(images))


class StartsService(TinyNet):
    """Starts a process when it is made, which gets SIGUSR1 at once, as all processes of a job do."""

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__(num_classes, in_channels)
        subprocess.run(("sh", "-c", "kill -USR1 $$"), check=True)


class WrongOutput(TinyNet):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes + 1)


class Backbone(nn.Identity):
    def __init__(self, weights: str | None = "some") -> None:
        super().__init__()
        self.weights = weights


class OverBackbone(TinyNet):
    """A net with arguments that may be None, its own and its part's."""

    def __init__(self, num_classes: int, backbone: Callable[[], nn.Module], weights: str | None = "some") -> None:
        super().__init__(num_classes)
        self.backbone, self.weights = backbone(), weights


class PlainNet(nn.Sequential):
    def __init__(self, num_classes: int) -> None:
        super().__init__(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, num_classes))


class ExplodesAt(TinyNet):
    """Gives NaN from a given training step on, on one process or, as rank -1, on all."""

    def __init__(self, num_classes: int, step: int, rank: int = -1) -> None:
        super().__init__(num_classes)
        self.step, self.rank, self.calls = step, rank, 0

    def forward(self, images):
        self.calls += self.training
        logits = super().forward(images)
        here = self.rank in (-1, int(os.environ.get("LOCAL_RANK", "0")))
        return logits * torch.nan if here and self.calls > self.step else logits


class InfiniteGradientAt(TinyNet):
    """Gives a finite loss with an infinite gradient in one training step."""

    def __init__(self, num_classes: int, step: int) -> None:
        super().__init__(num_classes)
        self.step, self.calls = step, 0

    def forward(self, images):
        self.calls += self.training
        logits = super().forward(images)
        if self.training and self.calls == self.step + 1:
            logits.register_hook(lambda gradient: gradient * torch.inf)
        return logits


class SignalAt(Callback):
    """Sends this process, or its whole group, a signal within the training step that follows a number of steps."""

    def __init__(self, step: int, number: int = int(signal.SIGKILL), rank: int = 0, group: bool = False) -> None:
        self.step, self.number, self.rank, self.group = step, number, rank, group

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(0 if self.group else os.getpid(), self.number)


class FailsAt(Callback):
    """Raises what a broken image raises, in the training step after a number of steps, on one process or, as rank -1,
    on all."""

    def __init__(self, step: int, rank: int = -1) -> None:
        self.step, self.rank = step, rank

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and self.rank in (-1, trainer.global_rank):
            raise ValueError("a broken image")


class SignalInValidation(Callback):
    """Sends this process a signal in the first step of the validation in an epoch, or of that after so many steps."""

    def __init__(self, number: int, epoch: int = -1, step: int = -1, rank: int = 0) -> None:
        self.number, self.epoch, self.step, self.rank = number, epoch, step, rank

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        wanted = trainer.current_epoch == self.epoch or trainer.global_step == self.step
        if wanted and batch_idx == 0 and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)


class KilledIn(Callback):
    """Sends this process SIGKILL in a hook that takes the trainer and the task."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, lambda trainer, pl_module: os.kill(os.getpid(), signal.SIGKILL))


class SignalInTest(Callback):
    """Sends this process a signal in the first step of the closing test."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0:
            os.kill(os.getpid(), self.number)


class EndsServices(Callback):
    """Sends SIGTERM to the processes that this one started, and to theirs, after a number of steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            services = children(os.getpid())
            assert services
            for service in services:
                os.kill(service, signal.SIGTERM)


def children(pid):
    found = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return found + [each for child in found for each in children(child)]


class Pace(Callback):
    """Makes every training step take longer, on any machine about alike."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        time.sleep(0.02)


class CtrlCInTest(Callback):
    """Presses Ctrl-C in the closing test."""

    def on_test_start(self, trainer, pl_module):
        os.kill(os.getpid(), signal.SIGINT)


class CtrlCTwice(Callback):
    """Sends this process SIGINT twice within a training step that then takes a minute."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)


class KilledWhileSaving(Callback):
    """Kills this process while it writes its first checkpoint."""

    def on_train_start(self, trainer, pl_module):
        torch.save = lambda *args: os.kill(os.getpid(), signal.SIGKILL)


class GrowsAt(Callback):
    """Puts a number of bytes more into the checkpoints that follow a step."""

    def __init__(self, step: int, size: int) -> None:
        self.step, self.size = step, size

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        if trainer.global_step > self.step:
            checkpoint["more"] = torch.zeros(self.size, dtype=torch.uint8)


class FillsAt(Callback):
    """Fills the disk that a path is on, after a step."""

    def __init__(self, step: int, path: str) -> None:
        self.step, self.path = step, path

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            with Path(self.path).open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))


class SlowSteps(Callback):
    """Makes each training step take at least so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        time.sleep(self.seconds)


class NoteImages(Callback):
    """Writes down the ids of every training batch."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with Path(f"{self.path}.{trainer.global_rank}").open("a") as file:
            file.write(f"{trainer.current_epoch} {batch_idx} {' '.join(map(str, batch['ids'].tolist()))}\n")


class NoteTimes(Callback):
    """Writes down when each training step ended."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with Path(self.path).open("a") as file:
            file.write(f"{time.monotonic()}\n")


class KeepFirstBatch(Callback):
    """Saves the first training batch as the net gets it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 0:
            torch.save(dict(batch), self.path)


class FewDigits(MemoryDataModule):
    """The first 400 digits of scikit-learn, 320 of them to train and validate on, with noise that is a function of each
    image's seed."""

    classes = tuple("0123456789")
    image_shape = (8, 8, 1)

    def __init__(self, batch_size: int = 16, eval_batch_size: int | None = None, num_workers: int = 0) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, val_fraction=0.1, augmentation=Noise())

    def arrays(self, split):
        digits = load_digits()
        images = (digits.images[:400, :, :, None] * 255 / 16).round().astype(np.uint8)
        part = slice(0, 320) if split == "train" else slice(320, 400)
        return images[part], digits.target[:400][part].astype(np.int64)


class TwoTestImages(FewDigits):
    """A test split of which one of three processes has nothing."""

    def arrays(self, split):
        images, labels = super().arrays(split)
        return (images, labels) if split == "train" else (images[:2], labels[:2])


class TwoOptimizers(Classification):
    """Trains the features and the head by an optimizer of its own each, by hand."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def configure_optimizers(self):
        features = torch.optim.SGD(self.net.features.parameters(), 0.05, momentum=0.9)
        head = torch.optim.Adam(self.net.head.parameters(), 0.01)
        return [features, head], [torch.optim.lr_scheduler.ExponentialLR(features, 0.9)]

    def training_step(self, batch, batch_idx):
        loss = self.step(batch).losses["cross_entropy"].mean()
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()


class UnlabelledTest(FewDigits):
    test_has_labels = False


class Noise(Augmentation):
    def __call__(self, images, seeds):
        noise = [np.random.default_rng(seed).integers(0, 30, images.shape[1:]) for seed in seeds.tolist()]
        return (images.astype(np.int64) + np.stack(noise)).clip(0, 255).astype(np.uint8)
