"""How fast detection samples are augmented, against torchvision's transforms v2 on tensors.

A 640 x 480 image with 7 boxes is resized to 320 x 320 and flipped half of the time: without antialiasing, then with
colour jitter besides, then antialiased (by averaging over areas here, by a triangle filter there); both keep boxes as
they should be (clipped, none empty). Then what the machinery around
albumentations costs where a sample is an image and a label only. Takes CPU time of one thread; the pipelines take
turns, and the ratio is taken within each round.

Usage: python benchmarks/detection_input.py [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable

import albumentations
import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from visionlab.data.sample import Sample
from visionlab.data.transforms import SampleAlbumentations

IMAGES = 64
WIDTH, HEIGHT, BOXES, SIZE = 640, 480, 7, 320
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    made: list[Sample] = []
    for _ in range(8):
        corners = rng.uniform(0, 1, (BOXES, 2, 2)) * (WIDTH, HEIGHT)
        boxes = np.concatenate([corners.min(1), corners.max(1) + 2], axis=1)
        noise = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        image = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        made.append({"image": image, "objects": {"boxes": boxes, "labels": rng.integers(0, 80, BOXES)}})
    return made


def ours(jitter: bool = False, antialias: bool = False) -> Callable[[Sample, int], object]:
    interpolation = cv2.INTER_AREA if antialias else cv2.INTER_LINEAR
    steps = [albumentations.Resize(SIZE, SIZE, interpolation=interpolation), albumentations.HorizontalFlip(p=0.5)]
    return SampleAlbumentations(steps + [albumentations.ColorJitter(**JITTER, p=1)] * jitter)


def theirs(jitter: bool = False, antialias: bool = False) -> Callable[[Sample, int], object]:
    steps = [v2.Resize((SIZE, SIZE), antialias=antialias), v2.RandomHorizontalFlip()]
    pipeline = v2.Compose(
        [*steps, *[v2.ColorJitter(**JITTER)] * jitter, v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes()]
    )

    def run(sample: Sample, seed: int) -> object:
        objects = sample["objects"]
        image = tv_tensors.Image(torch.from_numpy(sample["image"]).permute(2, 0, 1))
        boxes = tv_tensors.BoundingBoxes(objects["boxes"], format="XYXY", canvas_size=(HEIGHT, WIDTH))
        return pipeline({"image": image, "boxes": boxes, "labels": torch.from_numpy(objects["labels"])})

    return run


def bare() -> Callable[[Sample, int], object]:
    """The pipeline itself, on the image alone."""
    pipeline = albumentations.Compose([albumentations.Resize(SIZE, SIZE), albumentations.HorizontalFlip(p=0.5)])
    return lambda sample, seed: pipeline(image=sample["image"])


def image_only() -> Callable[[Sample, int], object]:
    transform = ours()
    return lambda sample, seed: transform({"image": sample["image"], "label": 0}, seed)


def seconds(run: Callable[[Sample, int], object], given: list[Sample]) -> float:
    """The CPU time of one image."""
    start = time.process_time()
    for seed in range(IMAGES):
        run(given[seed % len(given)], seed)
    return (time.process_time() - start) / IMAGES


def main(rounds: int) -> None:
    """Measure, and print milliseconds an image and the median ratio, with its least and greatest."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    given = samples()
    for title, reference, mine in [
        ("boxes", ("torchvision v2", theirs()), ("visionlab", ours())),
        ("boxes, colour jitter", ("torchvision v2", theirs(jitter=True)), ("visionlab", ours(jitter=True))),
        ("boxes, antialiased", ("torchvision v2", theirs(antialias=True)), ("visionlab", ours(antialias=True))),
        ("image alone", ("albumentations", bare()), ("visionlab", image_only())),
    ]:
        times: list[list[float]] = [[], []]
        for turn in range(rounds + 1):
            taken = [seconds(run, given) for _, run in (reference, mine)]
            if turn > 0:  # the first warms up
                for kept, value in zip(times, taken, strict=True):
                    kept.append(value)
        ratios = [slow / fast for slow, fast in zip(*times, strict=True)]
        rates = [
            f"{name} {1000 * statistics.median(t):.3f} ms"
            for (name, _), t in zip((reference, mine), times, strict=True)
        ]
        spread = f"[{min(ratios):.2f}, {max(ratios):.2f}]"
        print(f"{title:22} {', '.join(rates)}: {statistics.median(ratios):.2f} x  {spread}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
