"""MS COCO (Lin et al. 2014, https://cocodataset.org).

What is tested is COCO's validation split, as in most papers: the labels of its test images are not published.
Detection, instances and keypoints are scored by COCO's average precision; the others have no official metrics yet, and
the weights of the least validation loss are the best.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule
from visionlab.data.layouts.coco import (
    CLASSES,
    CLASSES91,
    FLIP_PAIRS,
    IDS,
    KEYPOINTS,
    VOC_CLASSES,
    ImageRecords,
    ObjectRecords,
    SegmentationRecords,
    Year,
    open_split,
)
from visionlab.data.predictions import LabelMap, write_coco
from visionlab.data.sample import Records
from visionlab.metrics.by_objects import Table
from visionlab.metrics.coco import PCK, BoxAP, KeypointAP, MaskAP


class COCO(DiskDataModule):
    """What the tasks on COCO have in common.

    Args:
        root: the folder with ``annotations``, and with the folders of images, themselves or below ``images``.
        batch_size: images per process and training step.
        year: 2017, or 2014, which divides the same images otherwise.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    monitor = "loss"
    mode: Literal["max", "min"] = "min"

    def __init__(
        self,
        root: str,
        batch_size: int,
        year: Year = 2017,
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, **arguments)
        if year not in (2014, 2017):
            raise ValueError(f"year must be 2014 or 2017, not {year}")
        self.year: Year = year

    def metrics(self) -> dict[str, Metric]:
        """None yet."""
        return {}

    def write_predictions(
        self, folder: Path, split: Split, found: Sequence[Table], names: Sequence[str], label_map: LabelMap
    ) -> None:
        """Write COCO's results, ``bbox.json``, ``segm.json`` and ``keypoints.json``."""
        write_coco(folder, found, names, label_map)


class COCOObjects(COCO):
    """What detection and instance segmentation have in common: 80 classes, and images that may have no object.

    Args:
        root: the folder with ``annotations``, and with the folders of images, themselves or below ``images``.
        batch_size: images per process and training step.
        year: 2017, or 2014, which divides the same images otherwise.
        coco91: whether labels are category ids less 1, in 0..89, ten of which no object has, rather than 0..79: the
            labels of torchvision's weights, whose first output is the background.
        keep_empty: whether training images without a box of more than a pixel are kept; torchvision's references leave
            them out.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    train_collate = staticmethod(collate.detection)
    eval_collate = staticmethod(collate.detection)

    def __init__(
        self,
        root: str,
        batch_size: int,
        year: Year = 2017,
        coco91: bool = False,
        keep_empty: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, year, **arguments)
        self.coco91, self.keep_empty = coco91, keep_empty

    @property
    @abstractmethod
    def parts(self) -> tuple[Literal["masks"], ...]:
        """What objects have beside boxes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, by label."""
        return CLASSES91 if self.coco91 else CLASSES

    @property
    def label_map(self) -> list[dict[str, int | str]]:
        """One ``{id, index, name}`` a class: COCO's category id, our label, and the name."""
        ids = range(1, len(CLASSES91) + 1) if self.coco91 else IDS
        return [{"id": id, "index": i, "name": CLASSES91[id - 1]} for i, id in enumerate(ids)]

    def records(self, split: Split) -> Records:
        """Open one split; ``test`` is ``val``."""
        index, folder = open_split(self.root, "instances", split, self.year)
        label_of = np.array(IDS) - 1 if self.coco91 else np.arange(len(IDS))
        subset: Literal["all", "with_boxes"] = "all" if self.keep_empty or split != "train" else "with_boxes"
        return ObjectRecords(index, folder, label_of, subset, self.parts)


class COCODetection(COCOObjects):
    """The boxes of COCO's 80 categories, crowds marked. Its arguments are those of :class:`COCOObjects`."""

    parts = ()
    monitor = "coco_box/AP"
    mode = "max"

    def metrics(self) -> dict[str, Metric]:
        """COCO's average precision of boxes."""
        return {"coco_box": BoxAP(self.num_classes)}


class COCOInstances(COCOObjects):
    """The boxes and masks of COCO's 80 categories, crowds marked. Its arguments are those of :class:`COCOObjects`."""

    parts = ("masks",)
    monitor = "coco_mask/AP"
    mode = "max"

    def metrics(self) -> dict[str, Metric]:
        """COCO's average precision of boxes and of masks."""
        return {"coco_box": BoxAP(self.num_classes), "coco_mask": MaskAP(self.num_classes)}


class COCOKeypoints(COCO):
    """People, with boxes and 17 keypoints each, all (0, 0, 0) where nobody labelled them.

    Keypoints are the file's own: whole numbers, the column and row of a pixel, as torchvision and mmpose take them, so
    that the middle of that pixel is half a pixel further.

    Args:
        root: the folder with ``annotations``, and with the folders of images, themselves or below ``images``.
        batch_size: images per process and training step.
        year: 2017, or 2014, which divides the same images otherwise.
        keep_empty: whether training images with fewer than ten labelled keypoints are kept, which most images are;
            torchvision's references leave them out.

    Attributes:
        keypoints: their names.
        flip_pairs: those that a mirror exchanges, as transforms want them.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    classes = ("person",)
    label_map = [{"id": 1, "index": 0, "name": "person"}]  # noqa: RUF012
    keypoints = KEYPOINTS
    flip_pairs = FLIP_PAIRS
    monitor = "coco_keypoint/AP"
    mode = "max"
    train_collate = staticmethod(collate.detection)
    eval_collate = staticmethod(collate.detection)

    def __init__(
        self,
        root: str,
        batch_size: int,
        year: Year = 2017,
        keep_empty: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, year, **arguments)
        self.keep_empty = keep_empty

    def metrics(self) -> dict[str, Metric]:
        """COCO's average precision of keypoints, and the share of correct keypoints."""
        return {"coco_keypoint": KeypointAP(1), "pck": PCK(1)}

    def records(self, split: Split) -> Records:
        """Open one split; ``test`` is ``val``."""
        index, folder = open_split(self.root, "person_keypoints", split, self.year)
        subset: Literal["all", "with_keypoints"] = "all" if self.keep_empty or split != "train" else "with_keypoints"
        return ObjectRecords(index, folder, np.zeros(1, np.int64), subset, ("keypoints",))


class COCOSegmentation(COCO):
    """The class of each pixel, from the masks of instances: 0 where there is none, 255 (void) in crowds.

    Where objects overlap, the smaller one, by the file's own areas, is in front, so that what lies on a table is not
    hidden by it. (``references/segmentation`` of torchvision makes such pixels void, and takes crowds for objects.)

    Args:
        root: the folder with ``annotations``, and with the folders of images, themselves or below ``images``.
        batch_size: images per process and training step.
        year: 2017, or 2014, which divides the same images otherwise.
        voc_classes: whether the classes are the 20 of PASCAL VOC and all else is background, as for the weights of
            torchvision's segmentation nets, rather than the 80 categories.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    train_collate = staticmethod(collate.segmentation)
    eval_collate = staticmethod(collate.ragged_segmentation)

    def __init__(
        self,
        root: str,
        batch_size: int,
        year: Year = 2017,
        voc_classes: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, year, **arguments)
        self.voc_classes = voc_classes

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, by label; the background is the first."""
        return ("background", *(VOC_CLASSES if self.voc_classes else CLASSES))

    @property
    def label_map(self) -> list[dict[str, int | str]]:
        """One ``{id, index, name}`` a class: COCO's category id, or 0 for the background, our label, and the name."""
        ids = (0, *(VOC_CLASSES.values() if self.voc_classes else IDS))
        return [
            {"id": id, "index": i, "name": name} for i, (id, name) in enumerate(zip(ids, self.classes, strict=True))
        ]

    def records(self, split: Split) -> Records:
        """Open one split; ``test`` is ``val``."""
        index, folder = open_split(self.root, "instances", split, self.year)
        labels = {int(entry["id"]): int(entry["index"]) for entry in self.label_map}
        return SegmentationRecords(index, folder, np.array([labels.get(id, 0) for id in IDS]))


class COCOImages(COCO):
    """Images alone, to generate such or to predict. Its arguments are those of :class:`COCO`."""

    classes = ()
    train_collate = staticmethod(collate.images_only)
    eval_collate = staticmethod(collate.images_only)

    def records(self, split: Split) -> Records:
        """Open one split; ``test`` is ``val``."""
        return ImageRecords(*open_split(self.root, "instances", split, self.year))
