"""CamVid (Brostow, Fauqueur and Cipolla 2009): streets of Cambridge from a car, each pixel labelled."""

from typing import Literal

from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import Collate, DiskDataModule
from visionlab.data.layouts import camvid


class CamVidSegmentation(DiskDataModule):
    """CamVid in SegNet's 11 classes and splits. Its arguments are those of :class:`DiskDataModule`.

    Unlabelled pixels count nowhere. There are no metrics of segmentation yet: the checkpoint with the lowest validation
    loss is the best.
    """

    classes = camvid.CLASSES
    monitor = "loss"
    mode: Literal["max", "min"] = "min"
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
        """None."""
        return {}
