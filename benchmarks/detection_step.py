"""What a training step of Faster R-CNN takes as ``visionlab fit`` trains, against torchvision's reference loop.

Both train the same net from the same weights on the same images, two a step: here by a recipe, with the task, trainer
and callbacks that the command line makes; there by ``train_one_epoch`` of torchvision's references/detection/engine.py,
whose images are floats already. The two take turns step by step, within one run: the loader that feeds the trainer
takes the reference's step before it gives a batch away. CPU time of one thread; the ratio is taken step by step.

Usage: python benchmarks/detection_step.py ROOT_OF_VOC [--steps 20] [--net fasterrcnn_resnet50_fpn] [--short_side 224]
"""

import argparse
import contextlib
import copy
import io
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visionlab.experiment import Experiment
from visionlab.run import Run

RECIPE = Path(__file__).parents[1] / "experiments" / "detection" / "voc_faster_rcnn.yaml"
DETECTOR = "visionlab.nets.torchvision_detection.Detector"


class Reference:
    """``train_one_epoch``, a step at a time."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, 0.02, momentum=0.9, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.LinearLR(self.optimizer, 0.001, total_iters=1000)

    def step(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> float:
        losses: Any = sum(self.model(images, targets).values())
        value: float = losses.item()
        assert value < float("inf")
        self.optimizer.zero_grad()
        losses.backward()
        self.optimizer.step()
        self.schedule.step()
        return value


class Turns:
    """Feeds the trainer, and takes the reference's step before each batch.

    Attributes:
        theirs: the seconds of the reference's steps.
        ours: the seconds between giving a batch and being asked for the next.
    """

    def __init__(self, batches: list[Any], reference: Reference, steps: int) -> None:
        self.batches, self.reference, self.steps = batches, reference, steps
        self.theirs: list[float] = []
        self.ours: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        for at in range(self.steps):
            batch = self.batches[at % len(self.batches)]
            images = [image / 255 for image in batch["images"]]
            targets = [{"boxes": one["boxes"], "labels": one["labels"] + 1} for one in batch["targets"]]
            start = time.process_time()
            self.reference.step(images, targets)
            given = time.process_time()
            yield batch
            self.ours.append(time.process_time() - given)
            self.theirs.append(given - start)


def main(root: str, steps: int, net: str, short_side: int) -> None:
    """Print the seconds of a step of each, and the ratio."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    sizes = {"min_size": short_side, "max_size": short_side * 5 // 3}
    detector = {"class_path": DETECTOR, "init_args": {"name": net, "weights_backbone": None, **sizes}}
    overrides = {
        "data.init_args.root": root,
        "data.init_args.train_sets": "[2012/train]",
        "data.init_args.val_set": "2012/val",
        "data.init_args.test_set": "2012/val",
        "data.init_args.num_workers": 0,
        "model.init_args.net": json.dumps(detector),
        "trainer.max_steps": steps + 2,
        "trainer.limit_val_batches": 0,
        "trainer.logger": "false",
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
    }
    args = ["--config", str(RECIPE), *(f"--{key}={value}" for key, value in overrides.items())]
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(args)
        data, task = experiment.datamodule, experiment.model
        data.setup("fit")
        batches = [batch for batch, _ in zip(data.train_dataloader(), range(5), strict=False)]
        model: Any = task.net.net
        turns = Turns(batches, Reference(copy.deepcopy(model)), steps + 2)
        data.train_dataloader = lambda: turns  # type: ignore[method-assign,assignment,return-value]
        with contextlib.redirect_stdout(io.StringIO()):
            trainer = experiment.start(Run.create(Path(folder), experiment.recipe), record=True)
            trainer.fit(task, datamodule=data)
    theirs, ours = turns.theirs[1:], turns.ours[1:]  # the first step warms up, and nothing is asked for after the last
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"torchvision {statistics.median(theirs):.3f} s a step, visionlab {statistics.median(ours):.3f} s")
    print(f"ratio {statistics.median(ratios):.3f} [{min(ratios):.2f}-{max(ratios):.2f}], {len(ratios)} steps")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--net", default="fasterrcnn_resnet50_fpn")
    parser.add_argument("--short_side", type=int, default=224)
    main(**vars(parser.parse_args()))
