"""Any images with boxes in COCO's format (https://cocodataset.org/#format-data)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule
from visionlab.data.layouts.coco import ObjectRecords, open_folder
from visionlab.data.packed import Arrays
from visionlab.data.predictions import LabelMap, write_coco
from visionlab.data.sample import Records
from visionlab.metrics.by_objects import Table
from visionlab.metrics.coco import BoxAP

LOOKED_FOR = 100
"""Images, before a run starts: if none of them is there, their folder is not the one that was meant."""


class COCOFormatDetection(DiskDataModule):
    """Boxes in COCO's format around any images: in each file of annotations ``images`` (``id``, ``file_name``,
    ``height``, ``width``), ``annotations`` (``id``, ``image_id``, ``category_id``, ``bbox``; ``area`` and ``iscrowd``
    are optional) and ``categories`` (``id``, ``name``), the same in all.

    Scored as COCO is: ``coco_box/AP``.

    Args:
        root: the folder that the others are in.
        batch_size: images per process and training step.
        train_images: the folder of images to train on.
        train_annotations: their file.
        val_images: the folder of images to validate on.
        val_annotations: their file.
        test_images: the folder of images to test on; ``val_images`` if None.
        test_annotations: their file; ``val_annotations`` if None.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    monitor = "coco_box/AP"
    mode = "max"
    train_collate = staticmethod(collate.detection)
    eval_collate = staticmethod(collate.detection)

    def __init__(
        self,
        root: str,
        batch_size: int,
        train_images: str = "train",
        train_annotations: str = "annotations/train.json",
        val_images: str = "val",
        val_annotations: str = "annotations/val.json",
        test_images: str | None = None,
        test_annotations: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, **arguments)
        if (test_images is None) != (test_annotations is None):
            raise ValueError("test_images and test_annotations belong together: give both or none")
        val = (val_images, val_annotations)
        self._places: dict[Split, tuple[str, str]] = {
            "train": (train_images, train_annotations),
            "val": val,
            "test": val if test_images is None or test_annotations is None else (test_images, test_annotations),
        }

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the categories that the training annotations list, in the order of their ids."""
        return tuple(str(entry["name"]) for entry in self.label_map)

    @property
    def label_map(self) -> list[dict[str, int | str]]:
        """One ``{id, index, name}`` a class: the category's id, our label, and the name."""
        return _label_map(self._open("train")[0])

    def metrics(self) -> dict[str, Metric]:
        """COCO's average precision of boxes."""
        return {"coco_box": BoxAP(self.num_classes)}

    def write_predictions(
        self, folder: Path, split: Split, found: Sequence[Table], names: Sequence[str], label_map: LabelMap
    ) -> None:
        """Write COCO's results, ``bbox.json``."""
        write_coco(folder, found, names, label_map)

    def records(self, split: Split) -> Records:
        """Open one split.

        Raises:
            FileNotFoundError: if a file is missing, or all of the first :data:`LOOKED_FOR` images.
            ValueError: if a file is not what it should be, or has other categories than the training annotations.
        """
        index, folder = self._open(split)
        if (given := _label_map(index)) != self.label_map:
            raise ValueError(
                f"{self.root / self._places[split][1]} has {len(given)} categories, not the same as the "
                f"{self.num_classes} of {self.root / self._places['train'][1]}"
            )
        records = ObjectRecords(index, folder, np.arange(len(given)))
        first = [records.path(i) for i in range(min(len(records), LOOKED_FOR))]
        if first and not any(path.is_file() for path in first):
            raise FileNotFoundError(
                f"{first[0]} is missing, as are all of the first {len(first)} images that "
                f"{self.root / self._places[split][1]} names: expected them below {folder}"
            )
        return records

    def _open(self, split: Split) -> tuple[Arrays, Path]:
        images, annotations = self._places[split]
        return open_folder(self.root / annotations, self.root / images), self.root / images


def _label_map(index: Arrays) -> list[dict[str, int | str]]:
    names = index.texts("category_names")
    return [{"id": id, "index": i, "name": names[i]} for i, id in enumerate(index["category_ids"].tolist())]
