"""Files of predicted masks, as PASCAL VOC's evaluation reads them: a PNG an image, whose pixels are indices of VOC's
palette. What is read back is what was written, to the pixel.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from visionlab.batch import SegmentationPredictions
from visionlab.data.images import read_mask
from visionlab.data.predictions import LabelMap


def voc_folder(year: int, set_name: str, competition: int = 6) -> Path:
    """Where VOC's server wants the masks of a set, in the archive that is uploaded (development kit of 2012, section
    8.3): ``results/VOC2012/Segmentation/comp6_test_cls``.

    Args:
        year: of the data set.
        set_name: ``test``, ``val``, ...
        competition: 5 if only VOC's images were trained on, else 6.
    """
    if competition not in (5, 6):
        raise ValueError(f"VOC's competitions of segmentation are 5 and 6, not {competition}")
    return Path("results") / f"VOC{year}" / "Segmentation" / f"comp{competition}_{set_name}_cls"


def write_masks(folder: Path, predictions: Iterable[tuple[str, SegmentationPredictions]], label_map: LabelMap) -> None:
    """Write ``<name>.png`` of each image, with the data set's own ids as pixels.

    Args:
        folder: of the files, which is made.
        predictions: with the names of the images; one at a time, so that a set need not be in memory.
        label_map: of the data set; its ids lie in 0..255.

    Raises:
        ValueError: if a name leads out of the folder, or an id does not fit into a byte.
    """
    ids = _ids(label_map)
    for name, found in predictions:
        path = folder / f"{name}.png"
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"a mask of {name!r} would lie outside {folder}")
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(ids[found["mask"].cpu().numpy()])
        image.putpalette(PALETTE)
        image.save(path)


def read_masks(
    folder: Path, names: Iterable[str], label_map: LabelMap
) -> Iterator[tuple[str, SegmentationPredictions]]:
    """Read what :func:`write_masks` writes, image by image.

    Raises:
        FileNotFoundError: if an image has no file.
        ValueError: if a file is no mask, or has a pixel of no class; the message names it.
    """
    ids = _ids(label_map)
    labels = np.full(256, 255, np.uint8)
    labels[ids] = np.arange(len(ids))
    for name in names:
        path = folder / f"{name}.png"
        raw = read_mask(path)
        unknown = ~np.isin(raw, ids)
        if unknown.any():
            raise ValueError(f"{path} has a pixel of {raw[unknown][0]}, which is no class's id")
        yield name, {"mask": torch.from_numpy(labels[raw])}


def _ids(label_map: LabelMap) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The data set's own id of each label."""
    ids = [int(entry["id"]) for entry in sorted(label_map, key=lambda entry: entry["index"])]
    if not all(0 <= one <= 255 for one in ids):
        raise ValueError(f"ids of classes must lie in 0..255 to be pixels, not {min(ids)}..{max(ids)}")
    return np.array(ids, np.uint8)


def _palette() -> bytes:
    """VOC's colours (``VOClabelcolormap.m``): the bits of an index, dealt out to red, green and blue."""
    colours = bytearray()
    for index in range(256):
        for channel in range(3):
            colours.append(sum((index >> 3 * place + channel & 1) << 7 - place for place in range(3)))
    return bytes(colours)


PALETTE = _palette()
