"""Segmentation against what one would write by hand: a training step, the metric, and memory on a large image.

- The time of a training step of a narrow U-Net, as the task takes it, over a bare loop with torch's cross-entropy.
- Updating the confusion matrix over torchmetrics' JaccardIndex, with void pixels: from classes, and from logits;
  whether both matrices are equal.
- The most memory that predicting an image of 4096 x 4096 takes by windows and by tiles, beside the image.

CPU time of one thread; both sides take turns, and the ratio is taken within each round.

Usage: python benchmarks/segmentation.py [rounds]
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torchmetrics.classification import MulticlassJaccardIndex

from visionlab.batch import SegmentationBatch
from visionlab.metrics.segmentation import Confusion
from visionlab.nets.unet import UNet
from visionlab.tasks.inference import Inference, OverlapTile, SlidingWindow, classes_of
from visionlab.tasks.segmentation import Segmentation

CLASSES, IMAGES, SIDE = 21, 8, 256


def make_net(num_classes: int) -> UNet:
    torch.manual_seed(0)
    return UNet(num_classes, width=16)


def make_optimizer(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.01)


def drawn() -> SegmentationBatch:
    """A batch with void pixels."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(CLASSES, (IMAGES, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    masks[torch.rand(masks.shape, generator=generator) < 0.05] = 255
    images = torch.rand(IMAGES, 3, SIDE, SIDE, generator=generator)
    return {"images": images, "masks": masks, "ids": torch.arange(IMAGES)}


def steps(batch: SegmentationBatch) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step by the task, and one by hand."""
    task = Segmentation(CLASSES, make_net, make_optimizer)
    net = make_net(CLASSES)
    ours, theirs = make_optimizer(task.parameters()), make_optimizer(net.parameters())

    def by_task() -> None:
        loss = task.step(batch).losses["cross_entropy"].mean()
        ours.zero_grad()
        loss.backward()
        ours.step()

    def by_hand() -> None:
        masks = batch["masks"]
        assert isinstance(masks, torch.Tensor)
        loss = F.cross_entropy(net(batch["images"]), masks.long(), ignore_index=255)
        theirs.zero_grad()
        loss.backward()
        theirs.step()

    return by_task, by_hand


def updates(batch: SegmentationBatch) -> tuple[dict[str, tuple[Callable[[], None], Callable[[], None]]], bool]:
    """Updates of the two metrics, by what they are given; and whether their matrices are equal."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(IMAGES, CLASSES, SIDE, SIDE, generator=generator)
    masks = batch["masks"]
    assert isinstance(masks, torch.Tensor)
    found, truth = logits.argmax(1), masks.long()
    narrow = [{"mask": one} for one in found.byte()]
    ours, theirs = Confusion(CLASSES), MulticlassJaccardIndex(CLASSES, ignore_index=255)

    def from_logits() -> None:
        ours.update([{"mask": classes_of(one)} for one in logits], batch)

    pairs = {
        "from classes": (lambda: ours.update(narrow, batch), lambda: theirs.update(found, truth)),
        "from logits": (from_logits, lambda: theirs.update(logits, truth)),
    }
    mine, reference = Confusion(CLASSES), MulticlassJaccardIndex(CLASSES, ignore_index=255)
    mine.update([{"mask": classes_of(one)} for one in logits], batch)
    reference.update(logits, truth)
    return pairs, torch.equal(mine.compute()["confusion"], reference.confmat)


def seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(name: str, first: Callable[[], None], second: Callable[[], None], rounds: int) -> None:
    """Print how many times as long the second takes."""
    rows = [(seconds(first), seconds(second)) for _ in range(rounds + 1)][1:]  # the first round warms up
    ratios = [b / a for a, b in rows]
    ours, theirs = (statistics.median(column) * 1e3 for column in zip(*rows, strict=True))
    print(
        f"{name}: {ours:.1f} ms against {theirs:.1f} ms, "
        f"ratio {statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}]"
    )


def memory(way: str, side: int) -> None:
    """Print the megabytes that predicting an image adds at most."""
    torch.set_num_threads(1)
    net = UNet(CLASSES, width=4).eval()
    image = torch.rand(3, side, side)
    ways: dict[str, Inference] = {
        "window": SlidingWindow(512, 0.5),
        "tile": OverlapTile(512, 0, 16),  # a net with padding, whose tiles have no margin: only memory counts here
    }
    with torch.inference_mode():
        net(image[None, :, :512, :512])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        ways[way](net, image)
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{way}, {side} x {side}: {added:.0f} MiB added, {time.process_time() - start:.0f} s")


def main(rounds: int) -> None:
    """Print all three."""
    torch.set_num_threads(1)
    batch = drawn()
    pairs, equal = updates(batch)
    for name, (ours, theirs) in pairs.items():
        compare(f"metric {name}", ours, theirs, 3 * rounds)
    print(f"equal matrices: {equal}")
    compare("training step", *steps(batch), rounds)
    for way, side in (("window", 2048), ("window", 4096), ("tile", 4096)):
        subprocess.run([sys.executable, __file__, "--memory", way, str(side)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        memory(sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
