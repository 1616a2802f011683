"""Open Images v4 to v7 (Kuznetsova et al. 2020): boxes, masks, and image labels that people verified."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule
from visionlab.data.layouts.openimages import OpenImages, Vocabulary
from visionlab.data.layouts.openimages_classes import Classes
from visionlab.data.layouts.openimages_records import Boxes, ImageLabels, Masks, MissingImages
from visionlab.data.predictions import LabelMap, write_openimages
from visionlab.metrics.by_objects import Table
from visionlab.metrics.classification import MultiLabel
from visionlab.metrics.openimages import OpenImagesAP


class OpenImagesObjects(DiskDataModule):
    """What the tasks share: some classes of a vocabulary, and what becomes of missing images.

    Args:
        root: the folder of the data set: see :mod:`visionlab.data.layouts.openimages`.
        batch_size: images per process and training step.
        classes: names or ids (``/m/01g317``) of the classes, in the order of the labels; None for all 601.
            Training then keeps the images that show one of them; evaluation keeps all, for false positives count.
        missing_images: whether images of which the file is missing stop the run before it starts, or are left out with
            a warning that says how many. Most have a part of the 1.7 million training images.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    vocabulary: Vocabulary = "boxable"

    def __init__(
        self,
        root: str,
        batch_size: int,
        classes: list[str] | None = None,
        missing_images: MissingImages = "raise",
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, **arguments)
        if classes is not None and not classes:
            raise ValueError("classes is empty: name at least one, or leave it out for all")
        if missing_images not in ("raise", "leave_out"):
            raise ValueError(f"missing_images must be raise or leave_out, not {missing_images!r}")
        self.wanted, self.missing_images = classes, missing_images
        self.layout = OpenImages(self.root)

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, by label, read from the folder when first asked for."""
        return self._chosen_classes.names

    @property
    def label_map(self) -> list[dict[str, int | str]]:
        """One ``{id, index, name}`` a class; the id is the data set's own, ``/m/01g317``."""
        pairs = zip(*self._chosen_classes, strict=True)
        return [{"id": one, "index": i, "name": name} for i, (one, name) in enumerate(pairs)]

    def write_predictions(
        self, folder: Path, split: Split, found: Sequence[Table], names: Sequence[str], label_map: LabelMap
    ) -> None:
        """Write the tables that the challenges read, ``boxes.csv`` and ``masks.csv``."""
        write_openimages(folder, found, names, label_map)

    @functools.cached_property
    def _chosen_classes(self) -> Classes:
        return self.layout.classes(self.vocabulary, self.wanted)


class OpenImagesDetection(OpenImagesObjects):
    """Objects in images: ``iscrowd`` marks groups of more than five objects (``IsGroupOf``).

    Boxes are the file's own numbers times the size of the image. The other flags of a box (occluded, truncated,
    depiction, inside) are kept in the index.
    """

    monitor = "v2/mAP"
    mode: Literal["max", "min"] = "max"
    train_collate = staticmethod(collate.detection)
    eval_collate = staticmethod(collate.detection)

    def records(self, split: Split) -> Boxes:
        """Open one split: the images in the publisher's list, or those with a box where there is no list."""
        return self.layout.boxes(split, self.wanted, self.missing_images)

    def metrics(self) -> dict[str, Metric]:
        """The average precision of V2, and that of the challenge where the folder has the labels that people verified.

        Raises:
            FileNotFoundError: if the hierarchy is missing.
        """
        ancestors = self.layout.ancestors(self._chosen_classes.ids)
        metrics: dict[str, Metric] = {"v2": OpenImagesAP(ancestors, "v2")}
        if all(self.layout.find_table("boxable labels", split) is not None for split in ("val", "test")):
            metrics["challenge"] = OpenImagesAP(ancestors, "challenge")
        return metrics


class OpenImagesInstances(OpenImagesObjects):
    """Objects with masks, in the images that have any; objects with a box alone are not among them, nor are groups.

    Masks are brought to the size of the image. The boxes that the challenge of instance segmentation also knows, of
    objects without masks and of groups, are not among its objects here.
    """

    monitor = "challenge_masks/mAP"
    mode: Literal["max", "min"] = "max"
    train_collate = staticmethod(collate.detection)
    eval_collate = staticmethod(collate.detection)

    def records(self, split: Split) -> Masks:
        """Open one split."""
        return self.layout.masks(split, self.wanted, self.missing_images)

    def metrics(self) -> dict[str, Metric]:
        """The average precision of the challenge of instance segmentation.

        Raises:
            FileNotFoundError: if the hierarchy is missing.
        """
        ancestors = self.layout.ancestors(self._chosen_classes.ids)
        return {"challenge_masks": OpenImagesAP(ancestors, "challenge", "masks")}


class OpenImagesMultiLabel(OpenImagesObjects):
    """The classes that people verified to be in an image (1) or not to be (0); of the others nothing is known (NaN).

    Images without any verified label are not in the tables.

    Args:
        root: the folder of the data set: see :mod:`visionlab.data.layouts.openimages`.
        batch_size: images per process and training step.
        classes: names or ids (``/m/01g317``) of classes, in the order of the labels; None for all of the vocabulary.
            Images of which none of them was verified are left out then.
        missing_images: whether images of which the file is missing stop the run before it starts, or are left out with
            a warning that says how many. Most have a part of the 1.7 million training images.
        vocabulary: all classes of image labels, about 20,000, or the 601 that also have boxes; each has a table of its
            own.
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    monitor = "multi_label/mAP"
    mode: Literal["max", "min"] = "max"
    train_collate = staticmethod(collate.classification)
    eval_collate = staticmethod(collate.classification)

    def __init__(
        self,
        root: str,
        batch_size: int,
        classes: list[str] | None = None,
        missing_images: MissingImages = "raise",
        vocabulary: Vocabulary = "all",
        **arguments: Any,
    ) -> None:
        super().__init__(root, batch_size, classes, missing_images, **arguments)
        if vocabulary not in ("all", "boxable"):
            raise ValueError(f"vocabulary must be all or boxable, not {vocabulary!r}")
        self.vocabulary = vocabulary

    def records(self, split: Split) -> ImageLabels:
        """Open one split."""
        return self.layout.labels(split, self.vocabulary, self.wanted, self.missing_images)

    def metrics(self) -> dict[str, Metric]:
        """The average precision of each class over the images of which it was verified (Kuznetsova et al. 2020)."""
        return {"multi_label": MultiLabel(self.num_classes)}
