"""Twins of data sets for translation: textured shapes before natural backgrounds, and maps of what is where.

The texture and the hue of a thing are those of its class, so that a map says most of what its picture shows.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.data.twins.drawing import SHAPES, TEXTURES, FloatArray, natural_noise
from visionlab.data.twins.files import voc_colours, write_jpeg
from visionlab.data.twins.plan import refuse_to_overwrite

SIDE = 64
"""Pixels on each side of an image."""

FEWEST = 4

MATERIALS: tuple[tuple[int, tuple[int, int, int]], ...] = (
    (9, (90, 120, 150)),
    (4, (190, 90, 70)),
    (6, (90, 170, 90)),
    (1, (190, 170, 80)),
)
"""The texture and the colour of the background and of three classes of things."""

UInt8Array = npt.NDArray[np.uint8]


def make_pairs(root: Path, images: int, seed: int) -> None:
    """Write a twin in pix2pix's layout: as in its facades, the picture is A, at the left, and the map is B.

    Args:
        root: the folder in which ``train``, ``val`` and ``test`` appear.
        images: for training; a quarter as many, and at least 4, for validation and for testing each.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a split is there already.
        ValueError: if there are fewer than 4 images.
    """
    few = _few(images)
    refuse_to_overwrite(root / split for split in ("train", "val", "test"))
    rng = np.random.default_rng(seed)
    for split, count in (("train", images), ("val", few), ("test", few)):
        (root / split).mkdir(parents=True)
        for number in range(1, count + 1):
            write_jpeg(root / split / f"{number}.jpg", np.concatenate(draw(rng), axis=1))


def make_collections(root: Path, images: int, seed: int) -> None:
    """Write a twin in CycleGAN's layout: A are pictures, and B are maps of others.

    Args:
        root: the folder in which ``trainA``, ``trainB``, ``testA`` and ``testB`` appear.
        images: for training, of A, and one more of B; a quarter as many, and at least 4, for testing each.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a folder is there already.
        ValueError: if there are fewer than 4 images.
    """
    few = _few(images)
    counts = {"trainA": images, "trainB": images + 1, "testA": few, "testB": few}
    refuse_to_overwrite(root / folder for folder in counts)
    rng = np.random.default_rng(seed)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(1, count + 1):
            write_jpeg(root / folder / f"{number:06}.jpg", draw(rng)[0 if folder.endswith("A") else 1])


def draw(rng: np.random.Generator) -> tuple[UInt8Array, UInt8Array]:
    """A picture of one to three things, which may hide parts of each other, and its map, in VOC's colours.

    Returns:
        ``(64, 64, 3)`` each.
    """
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    classes = np.zeros((SIDE, SIDE), np.intp)
    for _ in range(rng.integers(1, 4)):
        radius = SIDE * rng.uniform(0.15, 0.3)
        left, top = rng.uniform(radius / 2, SIDE - radius / 2, 2)
        shape = SHAPES[rng.integers(len(SHAPES))]
        classes[shape((x - left) / radius, (y - top) / radius)] = rng.integers(1, len(MATERIALS))
    pixels: FloatArray = 12 * natural_noise(rng, SIDE, SIDE, 3)
    phase = rng.uniform(0, 6, 2)
    for label, (texture, colour) in enumerate(MATERIALS):
        stripes = TEXTURES[texture](0.5 * x + phase[0], 0.5 * y + phase[1])
        pixels += np.where((classes == label)[..., None], np.array(colour) + 45 * stripes[..., None], 0)
    return np.clip(pixels, 0, 255).astype(np.uint8), voc_colours()[classes]


def _few(images: int) -> int:
    if images < FEWEST:
        raise ValueError(f"{images} training images are too few: give at least {FEWEST}")
    return max(images // 4, FEWEST)
