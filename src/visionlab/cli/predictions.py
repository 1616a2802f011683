"""What tasks predict, as rows of a table and as pictures: a class an image, objects in it, its mask, another image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionlab.batch import DetectionPredictions, GenerationPredictions
from visionlab.metrics.by_objects import Part, Table, found_rows
from visionlab.metrics.openimages import with_size
from visionlab.pictures.detections import detected
from visionlab.pictures.grids import grid
from visionlab.pictures.masks import semantic

Row = Sequence[object]
Images = Sequence[npt.NDArray[np.uint8]]


class Form(Protocol):
    """A kind of predictions.

    Attributes:
        header: the columns of its table.
        per_sheet: how many images make a sheet.
    """

    @property
    def header(self) -> Sequence[str]: ...

    @property
    def per_sheet(self) -> int: ...

    def rows(self, paths: Sequence[Path], predictions: Any, classes: Sequence[str]) -> Iterator[Row]:
        """The rows of some images."""

    def sheet(self, images: Images, predictions: Any, classes: Sequence[str]) -> Image.Image:
        """A picture of some images with their predictions."""


class Classes:
    """The five best classes of each image. Predictions have ``scores``, ``(B, C)``."""

    header = ("image", "rank", "class", "score")
    per_sheet = 64

    def rows(self, paths: Sequence[Path], predictions: Any, classes: Sequence[str]) -> Iterator[Row]:
        best = predictions["scores"].topk(min(5, len(classes)))
        for path, values, labels in zip(paths, best.values.tolist(), best.indices.tolist(), strict=True):
            for rank, (score, label) in enumerate(zip(values, labels, strict=True), 1):
                yield path, rank, classes[label], f"{score:.6f}"

    def sheet(self, images: Images, predictions: Any, classes: Sequence[str]) -> Image.Image:
        best = predictions["scores"].max(dim=1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return grid(images, captions=[f"{classes[label]} {score:.0%}" for label, score in pairs])


class Objects:
    """All objects that were found in each image, by falling score, in its pixels; those with a score of a half are
    drawn. Predictions are one :class:`visionlab.batch.DetectionPredictions` an image.
    """

    header = ("image", "class", "score", "left", "top", "right", "bottom")
    per_sheet = 12

    def rows(self, paths: Sequence[Path], predictions: Any, classes: Sequence[str]) -> Iterator[Row]:
        for path, found in zip(paths, predictions, strict=True):
            for box, score, label in zip(
                found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True
            ):
                yield path, classes[label], f"{score:.6f}", *(f"{side:.2f}" for side in box)

    def sheet(self, images: Images, predictions: Any, classes: Sequence[str]) -> Image.Image:
        drawn = [detected(image, found, classes, side=CELL) for image, found in zip(images, predictions, strict=True)]
        return grid([np.asarray(one) for one in drawn], columns=4, cell=CELL)

    def tables(self, images: Images, predictions: Sequence[DetectionPredictions]) -> Iterator[Table]:
        """What was found in each image, for :meth:`visionlab.data.base.DataModule.write_predictions`."""
        for image, found in zip(images, predictions, strict=True):
            parts: list[Part] = ["xywh", *(part for part in BESIDE_BOXES if part in found)]
            yield with_size(found_rows(found, *parts), *image.shape[:2])


BESIDE_BOXES: tuple[Part, ...] = ("masks", "keypoints")


class Masks:
    """How many pixels of each image are of each class that is there. Predictions are one
    :class:`visionlab.batch.SegmentationPredictions` an image.
    """

    header = ("image", "class", "pixels", "share")
    per_sheet = 12

    def rows(self, paths: Sequence[Path], predictions: Any, classes: Sequence[str]) -> Iterator[Row]:
        for path, found in zip(paths, predictions, strict=True):
            counts = found["mask"].flatten().bincount()
            for label in counts.nonzero()[:, 0].tolist():
                yield path, classes[label], int(counts[label]), f"{int(counts[label]) / found['mask'].numel():.6f}"

    def sheet(self, images: Images, predictions: Any, classes: Sequence[str]) -> Image.Image:
        pairs = zip(images, predictions, strict=True)
        drawn = [semantic(image, found["mask"].cpu().numpy(), classes, side=CELL) for image, found in pairs]
        return grid([np.asarray(one) for one in drawn], columns=4, cell=max(max(one.size) for one in drawn))


class Translations:
    """The image that was made of each image, as a file beside the table. Predictions are one
    :class:`visionlab.batch.GenerationPredictions` an image, of that alone: images may differ in size.

    Args:
        folder: of the files, named as the images, with ``.png``.
    """

    header = ("image", "file")
    per_sheet = 16

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, paths: Sequence[Path], predictions: Any, classes: Sequence[str]) -> Iterator[Row]:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path, made in zip(paths, predictions, strict=True):
            file = self.folder / f"{path.stem}.png"
            pixels = _pixels(made)
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file)
            yield path, file.relative_to(self.folder.parent)

    def sheet(self, images: Images, predictions: Any, classes: Sequence[str]) -> Image.Image:
        pairs = zip(images, predictions, strict=True)
        return grid([one for image, made in pairs for one in (image, _pixels(made))])


def _pixels(made: GenerationPredictions) -> npt.NDArray[np.uint8]:
    """The one image that was made, ``(H, W, channels)``."""
    (image,) = made["images"]
    pixels: npt.NDArray[np.uint8] = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels


CELL = 384
"""Pixels on the longer side of an image whose objects or classes are drawn."""
