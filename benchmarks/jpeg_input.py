"""How fast training images come out of JPEGs, against PIL and torchvision's first transforms.

Each pipeline reads 500 x 375 files (1/f noise, quality 92, as large as VOC's of that size), takes a random resized
crop of 224, flips half of the images and gives batches of 32: as float, normalised image by image, as torchvision
does; as ``uint8``, as ours travel to the device that normalises them; or as those, normalised here. The prepared images
have a short side of 256. All files are in the page cache. Takes CPU time of one thread; the pipelines take turns, and
the ratio is taken within each round.

Usage: python benchmarks/jpeg_input.py [rounds]
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations
import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from visionlab.data.images import read_image
from visionlab.data.prepared import Prepared, prepare

IMAGES, BATCH, HEIGHT, WIDTH, SIDE, SHORT = 96, 32, 375, 500, 224, 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = (0.08, 1.0)
BASE = "PIL, torchvision v1, float"


class Files:
    """The records of a folder of numbered JPEGs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return IMAGES

    def path(self, index: int) -> Path:
        return self.folder / f"{index}.jpg"

    def name(self, index: int) -> str:
        return str(index)

    def annotations(self, index: int) -> Any:
        return {}


def draw(folder: Path) -> int:
    """Write the files; returns their mean size in bytes."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None] * HEIGHT, np.fft.rfftfreq(WIDTH) * WIDTH)
    shape = (3, *frequency.shape)
    for index in range(IMAGES):
        spectrum = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.maximum(frequency, 1) ** 1.3
        spectrum[1:] = 0.3 * spectrum[1:] + spectrum[0]  # the channels of photographs are alike
        waves = np.fft.irfft2(spectrum, (HEIGHT, WIDTH)).transpose(1, 2, 0)
        pixels = np.clip(118 + 60 * waves / waves.std(), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=92)
    return sum(path.stat().st_size for path in folder.iterdir()) // IMAGES


def collated(images: list[np.ndarray[Any, Any]]) -> torch.Tensor:
    """A batch: (B, 3, H, W)."""
    batch = np.empty((len(images), 3, SIDE, SIDE), np.uint8)
    for planes, image in zip(batch, images, strict=True):
        cv2.split(image, list(planes))
    return torch.from_numpy(batch)


def normalised(batch: torch.Tensor) -> torch.Tensor:
    """What the device and the net do to a batch."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return batch.to(torch.float32).sub_(255 * mean).div_(255 * std)


def direct(image: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A random resized crop by OpenCV alone."""
    height, width = image.shape[:2]
    area = height * width * rng.uniform(*SCALE)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    h, w = min(height, round((area / aspect) ** 0.5)), min(width, round((area * aspect) ** 0.5))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    crop = cv2.resize(image[top : top + h, left : left + w], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return cv2.flip(crop, 1) if rng.random() < 0.5 else crop


def pipelines(files: Files, prepared: Prepared) -> dict[str, Callable[[], object]]:
    """By name, what reads and augments all images once."""
    crop_flip = [transforms.RandomResizedCrop(SIDE, scale=SCALE), transforms.RandomHorizontalFlip()]
    as_float = transforms.Compose([*crop_flip, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    as_bytes = transforms.Compose([*crop_flip, transforms.PILToTensor()])
    ours = albumentations.Compose(
        [albumentations.RandomResizedCrop((SIDE, SIDE), scale=SCALE), albumentations.HorizontalFlip(p=0.5)]
    )
    rng = np.random.default_rng(0)

    def by_batch(image: Callable[[int], Any], collate: Callable[[list[Any]], Any]) -> Callable[[], None]:
        def run() -> None:
            for at in range(0, IMAGES, BATCH):
                collate([image(index) for index in range(at, at + BATCH)])

        return run

    def pil(index: int) -> Image.Image:
        return Image.open(files.path(index)).convert("RGB")

    def read(index: int) -> Any:
        return read_image(files.path(index), 3)

    def by_albumentations(image: Any) -> Any:
        return ours(image=image)["image"]

    return {
        BASE: by_batch(lambda i: as_float(pil(i)), torch.stack),
        "PIL, torchvision v1, uint8": by_batch(lambda i: as_bytes(pil(i)), torch.stack),
        "read_image, albumentations, uint8": by_batch(lambda i: by_albumentations(read(i)), collated),
        "read_image, albumentations, float": by_batch(
            lambda i: by_albumentations(read(i)), lambda images: normalised(collated(images))
        ),
        "read_image, OpenCV, uint8": by_batch(lambda i: direct(read(i), rng), collated),
        "prepared, albumentations, uint8": by_batch(lambda i: by_albumentations(prepared.image(i)), collated),
        "prepared, albumentations, float": by_batch(
            lambda i: by_albumentations(prepared.image(i)), lambda images: normalised(collated(images))
        ),
        "prepared, OpenCV, uint8": by_batch(lambda i: direct(prepared.image(i), rng), collated),
        "decoding alone, PIL": by_batch(lambda i: np.asarray(pil(i)), len),
        "decoding alone, read_image": by_batch(read, len),
        "prepared image alone, copied": by_batch(lambda i: prepared.image(i).copy(), len),
    }


def difference(files: Files, scale: tuple[float, float]) -> tuple[float, float]:
    """The mean absolute difference of the resamplers at the same crops, in grey levels: of OpenCV's bilinear from
    Pillow's, which antialiases; and of Pillow's bicubic from its bilinear, to compare with.
    """
    rng = np.random.default_rng(0)
    found = []
    for index in range(IMAGES):
        image = read_image(files.path(index), 3)
        h, w = (round(side * rng.uniform(*scale) ** 0.5) for side in (HEIGHT, WIDTH))
        top, left = rng.integers(HEIGHT - h + 1), rng.integers(WIDTH - w + 1)
        crop = image[top : top + h, left : left + w]
        smooth = np.asarray(Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=float)
        cubic = np.asarray(Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=float)
        linear = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(float)
        found.append((np.abs(linear - smooth).mean(), np.abs(cubic - smooth).mean()))
    ours, bicubic = np.mean(found, axis=0)
    return float(ours), float(bicubic)


def main(rounds: int) -> None:
    """Measure, and print images per second and the median ratio, with its least and greatest."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        print(f"{IMAGES} JPEGs of {WIDTH} x {HEIGHT}, {draw(files.folder) / 1000:.0f} KB each\n")
        prepare(files, files.folder / "prepared", SHORT)
        prepared = Prepared(files.folder / "prepared", files)
        run = pipelines(files, prepared)
        times: dict[str, list[float]] = {name: [] for name in run}
        for _ in range(rounds + 1):  # the first warms up
            for name, pipeline in run.items():
                start = time.process_time()
                pipeline()
                times[name].append(time.process_time() - start)
        base = times[BASE][1:]
        for name, (_, *taken) in times.items():
            ratios = [reference / mine for reference, mine in zip(base, taken, strict=True)]
            rate = IMAGES / statistics.median(taken)
            spread = f"[{min(ratios):.2f}, {max(ratios):.2f}]"
            print(f"{name:34} {rate:9,.0f} images/s  {statistics.median(ratios):6.2f} x  {spread}")
        print("\ngrey levels between the resamplers at the same crops (bicubic from bilinear, to compare)")
        for low, high in ((0.08, 0.35), (0.35, 1.0), SCALE):
            ours, bicubic = difference(files, (low, high))
            print(f"crops of {low:.0%} to {high:.0%} of the area: {ours:.2f} ({bicubic:.2f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
