"""How fast CIFAR-10 training batches are made, against PIL and torchvision's first transforms in a DataLoader.

Pads by 4, crops, flips, and gives batches of 128 images as (B, 3, 32, 32), in the training process. Takes CPU time of
one thread; the pipelines take turns, and the ratio is taken within each round.

Usage: python benchmarks/cifar_input.py [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from visionlab.data.augmentation import CropFlip
from visionlab.data.memory import MemoryDataset
from visionlab.data.sampling import Loader, TrainBatches

IMAGES, BATCH = 5_120, 128


class PilDataset(Dataset[Any]):
    """What torchvision.datasets.CIFAR10 does with each image."""

    def __init__(self, images: Any, labels: Any, as_float: bool) -> None:
        self.images, self.labels = images, labels
        last = transforms.ToTensor() if as_float else transforms.PILToTensor()
        self.transform = transforms.Compose(
            [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), last]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def seconds(loader: Iterable[Any]) -> float:
    """The CPU time of one epoch."""
    start = time.process_time()
    batches = sum(1 for _ in loader)
    assert batches == IMAGES // BATCH
    return time.process_time() - start


def main(rounds: int) -> None:
    """Measure, and print images per second and the median ratio, with its least and greatest."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, IMAGES)
    ours = MemoryDataset(images, labels, np.arange(IMAGES), CropFlip(), seed=0)
    plain = MemoryDataset(images, labels, np.arange(IMAGES), None, seed=0)
    pipelines: dict[str, Callable[[], Iterable[Any]]] = {
        "PIL, torchvision v1, float": lambda: DataLoader(PilDataset(images, labels, True), BATCH, shuffle=True),
        "PIL, torchvision v1, uint8": lambda: DataLoader(PilDataset(images, labels, False), BATCH, shuffle=True),
        "visionlab, CropFlip": lambda: Loader(ours, TrainBatches(IMAGES, BATCH, seed=0)),
        "visionlab, no augmentation": lambda: Loader(plain, TrainBatches(IMAGES, BATCH, seed=0)),
    }
    times: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(rounds):
        for name, make in pipelines.items():
            times[name].append(seconds(make()))
    base = times["PIL, torchvision v1, float"]
    for name, taken in times.items():
        ratios = [reference / mine for reference, mine in zip(base, taken, strict=True)]
        rate = IMAGES / statistics.median(taken)
        spread = f"[{min(ratios):.1f}, {max(ratios):.1f}]"
        print(f"{name:28} {rate:9,.0f} images/s  {statistics.median(ratios):6.1f} x  {spread}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
