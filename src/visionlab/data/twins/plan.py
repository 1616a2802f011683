"""How many images of which class a twin has, and where it must not be written."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt


def labels_by_split(rng: np.random.Generator, images: int, classes: int) -> dict[str, npt.NDArray[np.int64]]:
    """The labels of a twin, in random order, with each class equally often or once more than another.

    Args:
        rng: orders them.
        images: of the training split; the test split has a quarter as many, and at least one of each class.
        classes: of the data set.

    Raises:
        ValueError: if there are too few images for one of each class to train on and one to validate on.
    """
    if images < 2 * classes:
        raise ValueError(f"{images} training images are too few for {classes} classes: give at least {2 * classes}")
    sizes = {"train": images, "test": max(images // 4, classes)}
    return {split: rng.permutation(np.arange(size, dtype=np.int64) % classes) for split, size in sizes.items()}


def refuse_to_overwrite(paths: Iterable[Path]) -> None:
    """Make sure that a twin replaces nothing.

    Raises:
        FileExistsError: if one of the files is there; the message names it.
    """
    for path in paths:
        if path.exists():
            raise FileExistsError(f"{path} is there already: move it away, or give another root")
