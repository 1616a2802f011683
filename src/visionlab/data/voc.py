"""PASCAL VOC 2007 to 2012 (Everingham et al. 2010; http://host.robots.ox.ac.uk/pascal/VOC/) for classification,
detection, instances and segmentation.

Each module is told which sets it trains, validates and tests on, as ``YEAR/NAME``. The protocols of 2007 have no images
for validation beside those that papers train on: they train on ``trainval`` and test on the test set of 2007. So that
the best weights can be chosen by images that are neither, the defaults leave ``2007/val`` out of training; each module
says how to train on everything.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule
from visionlab.data.layouts.voc import CLASSES, SEGMENTATION_CLASSES, ImageSet
from visionlab.data.layouts.voc_records import open_boxes, open_images, open_instances, open_labels, open_masks
from visionlab.data.predictions import LabelMap, write_voc
from visionlab.data.sample import Records
from visionlab.metrics.by_objects import Table
from visionlab.metrics.classification import MultiLabel
from visionlab.metrics.precision_recall import eleven_point_area, monotone_area
from visionlab.metrics.voc import VOCAP


class _Voc(DiskDataModule):
    """What the tasks share. A subclass says in which folder of ``ImageSets`` its sets are, and how they are opened."""

    names: tuple[str, ...] = CLASSES
    lists: Literal["Main", "Segmentation"]
    open_sets: Callable[[Path, Sequence[ImageSet]], Records]

    def _choose(self, train_sets: Sequence[str], val_set: str, test_set: str) -> None:
        """Keep the sets of each split, which the constructors are given."""
        if isinstance(train_sets, str) or not train_sets:
            raise ValueError(f"train_sets is a list of sets, such as [2007/trainval], not {train_sets!r}")
        self.sets: dict[Split, list[ImageSet]] = {
            "train": [ImageSet.parse(text) for text in train_sets],
            "val": [ImageSet.parse(val_set)],
            "test": [ImageSet.parse(test_set)],
        }
        for one in (*self.sets["train"], *self.sets["val"]):
            if not one.labelled:
                raise ValueError(f"what is in the images of {one} was never published: only test_set can be it")
        self.test_has_labels = self.sets["test"][0].labelled

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, by label."""
        return type(self).names

    @property
    def label_map(self) -> list[dict[str, int | str]]:
        """One ``{id, index, name}`` a class. VOC's ids are those of its palette: 0 for background, 1 to 20."""
        return [{"id": SEGMENTATION_CLASSES.index(name), "index": i, "name": name} for i, name in enumerate(self.names)]

    def records(self, split: Split) -> Records:
        if split == "test" and not self.test_has_labels:
            return open_images(self.root, self.sets["test"][0], self.lists)
        return type(self).open_sets(self.root, self.sets[split])


class VOCClassification(_Voc):
    """Which of the 20 classes are in an image: any number; unknown (NaN) where all objects of a class are difficult.

    Scored by the average precision of VOC 2007, ``voc07_11pt/mAP``, and by that of VOC 2010 and later,
    ``voc10_area/mAP``. The labels are those of ``ImageSets/Main/<class>_<set>.txt``, or are made from the objects in
    ``Annotations`` where those files are absent. Images are of many sizes: both transforms must make them one.

    Args:
        root: the folder of ``VOCdevkit``, or ``VOCdevkit`` itself, or the folder of one year.
        batch_size: images per process and training step.
        train_sets: of ``ImageSets/Main``. Papers train on ``[2007/trainval]``, which includes the default ``val_set``:
            report the last weights then, for nothing tells the best.
        val_set: of ``ImageSets/Main``.
        test_set: of ``ImageSets/Main``. Those of 2008 and later have no labels.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    monitor = "voc07_11pt/mAP"
    mode: Literal["max", "min"] = "max"
    lists: Literal["Main", "Segmentation"] = "Main"
    open_sets = staticmethod(open_labels)
    train_collate = staticmethod(collate.classification)
    eval_collate = staticmethod(collate.classification)

    def __init__(
        self,
        root: str,
        batch_size: int,
        train_sets: Sequence[str] = ("2007/train",),
        val_set: str = "2007/val",
        test_set: str = "2007/test",
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, **arguments)
        self._choose(train_sets, val_set, test_set)

    def metrics(self) -> dict[str, Metric]:
        """The average precision of VOC 2007, and that of VOC 2010 and later."""
        return {
            "voc07_11pt": MultiLabel(len(CLASSES), eleven_point_area),
            "voc10_area": MultiLabel(len(CLASSES), monotone_area),
        }


class VOCDetection(_Voc):
    """Boxes around the objects of 20 classes; some are ``difficult``.

    Scored by the average precision of VOC 2007, ``voc07_11pt/mAP``, and by that of VOC 2010 and later,
    ``voc10_area/mAP``, at an overlap of 0.5; difficult objects do not count.

    Args:
        root: the folder of ``VOCdevkit``, or ``VOCdevkit`` itself, or the folder of one year.
        batch_size: images per process and training step.
        train_sets: of ``ImageSets/Main``. "07+12" in papers is ``[2007/trainval, 2012/trainval]``, 16,551 images, which
            include those of the default ``val_set``: report the last weights then, for nothing tells the best. The
            default is 07+12 without them, 14,041 images.
        val_set: of ``ImageSets/Main``.
        test_set: of ``ImageSets/Main``. Those of 2008 and later have no labels.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    monitor = "voc07_11pt/mAP"
    mode: Literal["max", "min"] = "max"
    lists: Literal["Main", "Segmentation"] = "Main"
    open_sets = staticmethod(open_boxes)
    train_collate = staticmethod(collate.detection)
    eval_collate = staticmethod(collate.detection)

    def __init__(
        self,
        root: str,
        batch_size: int,
        train_sets: Sequence[str] = ("2007/train", "2012/trainval"),
        val_set: str = "2007/val",
        test_set: str = "2007/test",
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, **arguments)
        self._choose(train_sets, val_set, test_set)

    def metrics(self) -> dict[str, Metric]:
        """The average precision of VOC 2007, and that of VOC 2010 and later."""
        return {
            "voc07_11pt": VOCAP(len(CLASSES), eleven_point_area),
            "voc10_area": VOCAP(len(CLASSES), monotone_area),
        }

    def write_predictions(
        self, folder: Path, split: Split, found: Sequence[Table], names: Sequence[str], label_map: LabelMap
    ) -> None:
        """Write VOC's results, ``comp4_det_<set>_<class>.txt``."""
        write_voc(folder, found[0], names, label_map, self.sets[split][0].name)


class VOCInstances(_Voc):
    """Boxes and masks of the objects of 20 classes, in the images of ``ImageSets/Segmentation``.

    The number of an object in ``SegmentationObject`` is its place in ``Annotations``, from 1; void pixels are in no
    mask. Scored by the average precision of VOC 2010 and later of masks, ``voc10_area/mAP``, at an overlap of 0.5
    (Hariharan et al. 2014, section 6: AP^r).

    Args:
        root: the folder of ``VOCdevkit``, or ``VOCdevkit`` itself, or the folder of one year.
        batch_size: images per process and training step.
        train_sets: of ``ImageSets/Segmentation``. The images of 2007 are also in the sets of 2012, with other names.
        val_set: of ``ImageSets/Segmentation``.
        test_set: of ``ImageSets/Segmentation``. The default has no labels, and is only read to predict.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    monitor = "voc10_area/mAP"
    mode: Literal["max", "min"] = "max"
    lists: Literal["Main", "Segmentation"] = "Segmentation"
    open_sets = staticmethod(open_instances)
    train_collate = staticmethod(collate.detection)
    eval_collate = staticmethod(collate.detection)

    def __init__(
        self,
        root: str,
        batch_size: int,
        train_sets: Sequence[str] = ("2012/train",),
        val_set: str = "2012/val",
        test_set: str = "2012/test",
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, **arguments)
        self._choose(train_sets, val_set, test_set)

    def metrics(self) -> dict[str, Metric]:
        """The average precision of masks."""
        return {"voc10_area": VOCAP(len(CLASSES), monotone_area, "masks")}


class VOCSegmentation(_Voc):
    """The class of each pixel: background, one of 20 classes, or void (255).

    The official metric is not there yet, so the least validation loss tells the best weights.

    Args:
        root: the folder of ``VOCdevkit``, or ``VOCdevkit`` itself, or the folder of one year.
        batch_size: images per process and training step.
        train_sets: of ``ImageSets/Segmentation``. ``[2012/trainaug]`` are the 10,582 images of VOC and SBD, where
            ``trainaug.txt`` and the masks in ``SegmentationClassAug`` have been put: ``visionlab data info voc``.
        val_set: of ``ImageSets/Segmentation``.
        test_set: of ``ImageSets/Segmentation``. The default has no labels, and is only read to predict.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    monitor = "loss"
    mode: Literal["max", "min"] = "min"
    names = SEGMENTATION_CLASSES
    lists: Literal["Main", "Segmentation"] = "Segmentation"
    open_sets = staticmethod(open_masks)
    train_collate = staticmethod(collate.segmentation)
    eval_collate = staticmethod(collate.ragged_segmentation)

    def __init__(
        self,
        root: str,
        batch_size: int,
        train_sets: Sequence[str] = ("2012/train",),
        val_set: str = "2012/val",
        test_set: str = "2012/test",
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, **arguments)
        self._choose(train_sets, val_set, test_set)

    def metrics(self) -> dict[str, Metric]:
        """None yet."""
        return {}
