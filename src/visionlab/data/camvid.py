"""CamVid (Brostow, Fauqueur and Cipolla 2009): streets of Cambridge from a car, each pixel labelled."""

from typing import Literal

from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import Collate, DiskDataModule
from visionlab.data.layouts import camvid
from visionlab.metrics.boundaries import BoundaryF
from visionlab.metrics.segmentation import Confusion


class CamVidSegmentation(DiskDataModule):
    """CamVid in SegNet's 11 classes and splits. Its arguments are those of :class:`DiskDataModule`.

    Unlabelled pixels count nowhere. Scored by the mean IoU of the 11 classes, ``camvid11/mIoU``.
    """

    classes = camvid.CLASSES
    monitor = "camvid11/mIoU"
    mode: Literal["max", "min"] = "max"
    train_collate: Collate = collate.segmentation
    eval_collate: Collate = collate.ragged_segmentation

    def records(self, split: Split) -> camvid.CamVidImages:
        """Open one split.

        Raises:
            FileNotFoundError: if a list or a file of labels is missing; the message names it and says how to get it.
            ValueError: if one of them is not what it should be; the message names the file, and the line.
        """
        return camvid.open_split(self.root, split)

    def metrics(self) -> dict[str, Metric]:
        """The overlaps of the 11 classes, and how well their outlines are followed."""
        return {"camvid11": Confusion(len(self.classes)), "boundary": BoundaryF(len(self.classes))}
