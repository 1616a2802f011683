"""What exactness costs: epochs with and without it, and a safe checkpoint against Lightning's own.

With: visionlab's sampler and loader, its random states and windows of losses, the check for signals, and safe saving
at the end of each epoch. Without: torch's shuffling sampler and loader over the same data, and Lightning's
ModelCheckpoint. Both train the same task, ResNet-20 on the digits at 32 x 32 pixels. CPU time of one thread; the
variants take turns, and the ratio is taken within each round. A checkpoint is that of ResNet-50 with momentum; the time
is the wall's too, for a safe one waits until the disk has it.

Usage: python benchmarks/exactness.py [rounds]
"""

import contextlib
import io
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import torchvision
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from visionlab.callbacks.checkpoints import AtomicCheckpointIO, Checkpoints
from visionlab.callbacks.resume import ExactResume
from visionlab.callbacks.stop import StopOnSignal
from visionlab.data.digits import Digits
from visionlab.data.sampling import Keys
from visionlab.loggers import MetricsTable
from visionlab.nets.resnet_cifar import ResNetCIFAR
from visionlab.signals import StopRequest
from visionlab.tasks.classification import Classification

EPOCHS, BATCH = 2, 32


def make_net(num_classes: int) -> nn.Module:
    return ResNetCIFAR(num_classes, depth=20, in_channels=1, mean=[0.3], std=[0.4])


def train(folder: Path, data: Digits, *, exact: bool) -> None:
    torch.manual_seed(0)
    task = Classification(10, make_net, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9))
    keep = Checkpoints(folder, "val/single_label/top1", "max")
    usual = ModelCheckpoint(folder, save_last=True)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        limit_val_batches=0,
        callbacks=[keep, ExactResume(), StopOnSignal(keep, StopRequest())] if exact else [usual],
        plugins=[AtomicCheckpointIO()] if exact else [],
        logger=MetricsTable(folder / "metrics.csv"),
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    if exact:
        trainer.fit(task, datamodule=data)
        return
    dataset = data.datasets["train"]
    batches = BatchSampler(RandomSampler(dataset), BATCH, drop_last=True)  # type: ignore[arg-type]
    loader = DataLoader(
        range(len(dataset)),  # type: ignore[arg-type]  # has a length and items
        batch_sampler=batches,
        collate_fn=lambda indices: dataset.__getitems__(Keys(0, np.array(indices))),
    )
    trainer.fit(task, loader)


def checkpoint() -> dict[str, Any]:
    """102 MB of weights and as much of momenta."""
    net = torchvision.models.resnet50()
    momenta = {i: {"momentum_buffer": torch.rand_like(p)} for i, p in enumerate(net.parameters())}
    return {"state_dict": net.state_dict(), "optimizer_states": [{"state": momenta, "param_groups": []}]}


def seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """CPU time and the wall's."""
    processor, wall = time.process_time(), time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        run()
    return time.process_time() - processor, time.monotonic() - wall


def say(what: str, with_it: list[float], without: list[float]) -> None:
    ratios = [a / b for a, b in zip(with_it, without, strict=True)]
    print(
        f"{what}: {statistics.median(with_it):.3f} s over {statistics.median(without):.3f} s, ratio "
        f"{statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}], {len(ratios)} rounds",
        flush=True,
    )


def main(rounds: int) -> None:
    """Print seconds and ratios."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    content, data = checkpoint(), Digits(batch_size=BATCH, image_size=32)
    data.setup("fit")
    with tempfile.TemporaryDirectory() as name:
        trained, saved = [], []
        for number in range(rounds + 1):
            folder = Path(name) / str(number)
            for kind in ("exact", "usual"):
                (folder / kind).mkdir(parents=True)
            took = {}
            for exact in (True, False) if number % 2 else (False, True):
                run = partial(train, folder / ("exact" if exact else "usual"), data, exact=exact)
                took[exact] = seconds(run)
            trained.append((took[True], took[False]))
        for _ in range(rounds + 1):
            target = Path(name) / "saved.ckpt"
            writers = [AtomicCheckpointIO(), TorchCheckpointIO()]
            safe, usual = (seconds(partial(writer.save_checkpoint, content, target)) for writer in writers)
            saved.append((safe, usual))
    for what, times in ((f"{EPOCHS} epochs", trained), ("a checkpoint of 205 MB", saved)):
        for kind, at in (("CPU", 0), ("wall", 1)):
            # the first round warms up
            say(f"{what}, {kind}", [own[at] for own, _ in times[1:]], [other[at] for _, other in times[1:]])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
