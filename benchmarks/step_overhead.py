"""What a training step costs beside the net: a task of visionlab against the usual LightningModule, over a bare loop.

The net is one linear layer, so that nearly all of a step is overhead. Each of the two logs its loss (the usual one its
accuracy too), has a progress bar and keeps checkpoints. Takes CPU time of one thread; the variants take turns, and the
ratio is taken within each round.

Usage: python benchmarks/step_overhead.py [rounds]
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
import torch
import torchmetrics
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from visionlab.callbacks.checkpoints import AtomicCheckpointIO, Checkpoints
from visionlab.callbacks.progress import Progress
from visionlab.callbacks.resume import ExactResume
from visionlab.callbacks.stop import StopOnSignal
from visionlab.loggers import MetricsTable
from visionlab.signals import StopRequest
from visionlab.tasks.classification import Classification

STEPS = 500


def make_net(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))


def make_optimizer(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.01)


class Usual(lightning.LightningModule):
    """What tutorials teach."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_net(10)
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(10)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        logits = self.net(batch["images"])
        loss = F.cross_entropy(logits, batch["labels"])
        self.accuracy(logits, batch["labels"])
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/accuracy", self.accuracy, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.parameters())


def loader() -> DataLoader[Any]:
    batch = {"images": torch.rand(16, 3, 2, 2), "labels": torch.randint(10, (16,)), "ids": torch.arange(16)}
    return DataLoader([batch] * STEPS, batch_size=None)  # type: ignore[arg-type]  # a list of batches is a data set


def bare() -> None:
    net = make_net(10)
    optimizer = make_optimizer(net.parameters())
    for batch in loader():
        loss = F.cross_entropy(net(batch["images"]), batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train(module: lightning.LightningModule, callbacks: list[Any], logger: Any, folder: Path, **arguments: Any) -> None:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=callbacks,
        logger=logger,
        default_root_dir=folder,
        enable_model_summary=False,
        **arguments,
    )
    trainer.fit(module, loader())


def usual(folder: Path) -> None:
    callbacks = [TQDMProgressBar(), ModelCheckpoint(folder), LearningRateMonitor()]
    train(Usual(), callbacks, CSVLogger(folder), folder)


def ours(folder: Path) -> None:
    task = Classification(10, make_net, make_optimizer)
    keep = Checkpoints(folder, "val/single_label/top1", "max")
    callbacks = [Progress(), keep, ExactResume(), StopOnSignal(keep, StopRequest())]
    train(task, callbacks, MetricsTable(folder / "metrics.csv"), folder, plugins=[AtomicCheckpointIO()])


def seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        run()
    return time.process_time() - start


def main(rounds: int) -> None:
    """Print microseconds per step over the bare loop, and the ratio."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds + 1):
            theirs, mine = (Path(name) / f"{number}{kind}" for kind in ("usual", "ours"))
            mine.mkdir()
            rows.append((seconds(bare), seconds(partial(usual, theirs)), seconds(partial(ours, mine))))
    added = [((u - b) / STEPS * 1e6, (o - b) / STEPS * 1e6) for b, u, o in rows[1:]]  # the first round warms up
    ratios = [o / u for u, o in added]
    print(f"bare {statistics.median(b for b, _, _ in rows[1:]) / STEPS * 1e6:.0f} us a step")
    theirs, ours_added = (statistics.median(column) for column in zip(*added, strict=True))
    print(f"usual +{theirs:.0f} us, visionlab +{ours_added:.0f} us")
    print(f"ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}], {rounds} rounds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
