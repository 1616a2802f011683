"""A twin of a folder of one's own images: textured shapes, in folders named after the shapes, in many formats."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionlab.data.twins.files import write_cmyk_jpeg, write_jpeg, write_png
from visionlab.data.twins.plan import refuse_to_overwrite
from visionlab.data.twins.scenes import draw_object

CLASSES = ("disc", "ring", "square", "triangle", "plus", "cross", "star", "crescent", "bar", "eight")

Write = Callable[[Path, npt.NDArray[np.uint8]], None]

FORMATS: tuple[tuple[str, Write], ...] = (
    (".jpg", write_jpeg),
    (".JPEG", lambda path, image: write_jpeg(path, image, progressive=True)),
    (".png", write_png),
    (".bmp", lambda path, image: Image.fromarray(image).save(path, "BMP")),
    (".jpeg", lambda path, image: write_jpeg(path, image.mean(2).astype(np.uint8))),
    (".tif", lambda path, image: Image.fromarray(image).save(path, "TIFF")),
    (".jpg", write_cmyk_jpeg),
    (".webp", lambda path, image: Image.fromarray(image).save(path, "WEBP", lossless=True)),
    (".jpg", lambda path, image: write_jpeg(path, image, orientation=6)),
)
"""The end of a name, and how its image is written. There are as many as share no factor with the classes."""


def make(root: Path, images: int, seed: int) -> None:
    """Write the twin: ten classes, some of whose images lie a folder deeper, and a note that is no image.

    Args:
        root: the folder in which ``train``, ``val`` and ``test`` appear.
        images: for training; a quarter as many for each other split, and at least one of each class.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a split is there already.
        ValueError: if there are fewer than two training images for each class.
    """
    if images < 2 * len(CLASSES):
        raise ValueError(
            f"{images} training images are too few for {len(CLASSES)} classes: give at least {2 * len(CLASSES)}"
        )
    few = max(images // 4, len(CLASSES))
    refuse_to_overwrite(root / split for split in ("train", "val", "test"))
    rng = np.random.default_rng(seed)
    number = 0
    for split, count in (("train", images), ("val", few), ("test", few)):
        for i in range(count):
            label = i % len(CLASSES)
            suffix, write = FORMATS[number % len(FORMATS)]
            folder = root / split / CLASSES[label]
            if rng.uniform() < 0.3:
                folder /= "more"
            folder.mkdir(parents=True, exist_ok=True)
            height, width = (int(side) for side in rng.integers(96, 145, 2))
            write(folder / f"{number:05}{suffix}", draw_object(rng, height, width, label).image)
            number += 1
    (root / "train" / CLASSES[0] / "notes.txt").write_text("drawn, not photographed\n")
