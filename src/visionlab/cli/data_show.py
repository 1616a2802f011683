"""``visionlab data show``: a sheet of images of a data set, with their annotations drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.cli.data_module import open_module
from visionlab.data.base import Split
from visionlab.data.sample import VOID, Objects, Sample
from visionlab.pictures.grids import fit, grid
from visionlab.pictures.masks import semantic
from visionlab.pictures.objects import objects
from visionlab.pictures.palette import class_colour

SIDE = 480  # pixels of the longer side of an image that is drawn on; a tag takes 14 of height
PLAIN_SIDE = 160
COLUMNS = 4


def show(
    name: str,
    root: Path,
    split: Split,
    images: int,
    output: Path | None,
    ending: str | None,
    settings: Mapping[str, str],
) -> Path:
    """Draw images that are evenly spaced over a split, as they are stored, and write the sheet.

    Args:
        name: of the data set's card.
        root: the folder of the data set.
        split: which images.
        images: how many, at least 1; all if the split has fewer.
        output: a PNG file to write; ``NAME_SPLIT.png`` if None.
        ending: of the name of the data module, in any case, such as ``detection``; the card's first if None.
        settings: further arguments of the data module.

    Returns:
        The file that was written.

    Raises:
        ValueError: if there is no such data set or data module, or a file of it is not what it should be.
        OSError: if a file cannot be read or written; the message names it.
    """
    if images < 1:
        raise ValueError(f"--images must be at least 1, not {images}")
    path = Path(f"{name}_{split}.png") if output is None else output
    if path.suffix.lower() != ".png":
        raise ValueError(f"--output must be a file that ends in .png, not {path}")
    data = open_module(name, root, ending, settings)
    dataset = data.dataset(split)
    if len(dataset) == 0:
        raise ValueError(f"the {split} split of {name} in {root} has no images")
    pictures, captions = [], []
    for index in np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round().astype(int).tolist():
        sample = dataset.sample(index)
        pictures.append(draw(sample, data.classes))
        captions.append("\n".join([dataset.name(index), *_labels(sample, data.classes)]))
    # a legend makes a picture larger; it would be reduced together with its text
    cell = max(max(picture.shape[:2]) for picture in pictures)
    sheet = grid(pictures, captions, columns=COLUMNS, cell=cell, title=f"{name}, {split}")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def draw(sample: Sample, classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """A picture of an image with its mask or its objects; without either, the image alone, smaller."""
    if "mask" in sample:
        # what is no object stays as it is
        colours = [None if name == "background" else class_colour(label) for label, name in enumerate(classes)]
        return np.asarray(semantic(sample["image"], sample["mask"], classes, colours, VOID, SIDE))
    if "objects" in sample:
        return _draw_objects(sample["image"], sample["objects"], classes)
    return np.asarray(fit(sample["image"], PLAIN_SIDE))


def _draw_objects(image: npt.NDArray[np.uint8], shown: Objects, classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    labels = shown["labels"].tolist()
    picture = objects(
        image,
        shown["boxes"],
        captions=[classes[label] for label in labels],
        colours=[class_colour(label) for label in labels],
        masks=shown.get("masks"),
        keypoints=shown.get("keypoints"),
        dashed=shown.get("crowd"),
        thin=shown.get("difficult"),
        side=SIDE,
    )
    return np.asarray(picture)


def _labels(sample: Sample, classes: Sequence[str]) -> list[str]:
    """The label of a whole image, or its labels, in one line."""
    if "label" in sample:
        return [classes[sample["label"]]]
    if "labels" in sample:
        return [", ".join(classes[label] for label in np.flatnonzero(sample["labels"] == 1).tolist())]
    return []
