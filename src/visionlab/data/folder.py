"""Any folder of images: your own classes, or images without labels."""

import functools
from typing import Any, Literal

from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule
from visionlab.data.layouts import folder
from visionlab.metrics.classification import SingleLabel


class FolderDataModule(DiskDataModule):
    """Images below a folder. Where there is no ``val``, validation images are held out by a hash of their names: the
    same on every machine, and the same for an image when others are added.

    Args:
        root: the folder.
        batch_size: images per process and training step.
        val_fraction: the share of the images that is held out, in (0, 1).
        arguments: those of :class:`visionlab.data.disk.DiskDataModule`.
    """

    def __init__(self, root: str, batch_size: int, val_fraction: float = 0.1, **arguments: Any) -> None:
        super().__init__(root, batch_size, **arguments)
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must lie between 0 and 1, not {val_fraction}")
        self.val_fraction = val_fraction


class ImageFolder(FolderDataModule):
    """Images in a folder for each class: ``root/{train,val,test}/<class>/``, or ``root/<class>/`` alone. Its arguments
    are those of :class:`FolderDataModule`.

    Classes are numbered in alphabetical order. Without ``test``, the test split is that of validation, and the test
    results say nothing new.
    """

    monitor = "single_label/top1"
    mode: Literal["max", "min"] = "max"
    train_collate = staticmethod(collate.classification)
    eval_collate = staticmethod(collate.classification)

    @functools.cached_property
    def classes(self) -> list[str]:
        """The names of the folders, by label, which are read when first asked for."""
        return folder.class_names(self.root)

    def records(self, split: Split) -> folder.FolderImages:
        """Open one split.

        Raises:
            FileNotFoundError: if there is no folder, or none in it; the message says what was expected.
            ValueError: if a class has no training images, another split has other classes, or a split is empty.
        """
        return folder.open_classes(self.root, split, self.val_fraction)

    def metrics(self) -> dict[str, Metric]:
        """New official metrics, by protocol."""
        return {"single_label": SingleLabel(self.num_classes)}


class Images(FolderDataModule):
    """Images without labels, at any depth below a folder: for generation. Its arguments are those of
    :class:`FolderDataModule`.

    The test split is that of validation. There are no metrics of images without labels here: the checkpoint with the
    lowest validation loss is the best.
    """

    classes = ()
    monitor = "loss"
    mode: Literal["max", "min"] = "min"
    test_has_labels = False
    train_collate = staticmethod(collate.images_only)
    eval_collate = staticmethod(collate.images_only)

    def records(self, split: Split) -> folder.FolderImages:
        """Open one split.

        Raises:
            FileNotFoundError: if there is no such folder.
            ValueError: if a split is empty.
        """
        return folder.open_images(self.root, split, self.val_fraction)

    def metrics(self) -> dict[str, Metric]:
        """None."""
        return {}
