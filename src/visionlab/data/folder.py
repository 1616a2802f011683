"""Any folder of images: your own classes, or images without labels."""

from typing import Literal

from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.augmentation import Transform
from visionlab.data.base import Split
from visionlab.data.disk import BadSample, DiskDataModule
from visionlab.data.layouts import folder
from visionlab.metrics.classification import SingleLabel


class ImageFolder(DiskDataModule):
    """Images in a folder for each class: ``root/{train,val,test}/<class>/``, or ``root/<class>/`` alone.

    Classes are numbered in alphabetical order. Without ``val``, validation images are held out of the others by a hash
    of their names: the same on every machine, and the same for an image when others are added. Without ``test``, the
    test split is that of validation, and the test results say nothing new.

    Args:
        root: the folder.
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        train_transform: what is done to training samples, if anything.
        eval_transform: what is done to samples that are evaluated or predicted, if anything.
        on_bad_sample: whether an image that cannot be read stops the run, or is left out, counted and logged.
        max_skipped: of how many images, in all splits together and on each process, that stops the run after all.
        val_fraction: the share of the images that is held out where there is no ``val``, in (0, 1).
    """

    monitor = "single_label/top1"
    mode: Literal["max", "min"] = "max"
    train_collate = staticmethod(collate.classification)
    eval_collate = staticmethod(collate.classification)

    def __init__(
        self,
        root: str,
        batch_size: int,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        train_transform: Transform | None = None,
        eval_transform: Transform | None = None,
        on_bad_sample: BadSample = "raise",
        max_skipped: int = 100,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(
            root, batch_size, eval_batch_size, num_workers, train_transform, eval_transform, on_bad_sample, max_skipped
        )
        self.val_fraction = _fraction(val_fraction)

    @property
    def classes(self) -> list[str]:
        """The names of the folders, by label."""
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


class Images(DiskDataModule):
    """Images without labels, at any depth below a folder: for generation.

    Validation images are held out by a hash of their names: the same on every machine, and the same for an image when
    others are added. The test split is that of validation. There are no metrics of images without labels here: the
    checkpoint with the lowest validation loss is the best.

    Args:
        root: the folder.
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        train_transform: what is done to training samples, if anything.
        eval_transform: what is done to samples that are evaluated or predicted, if anything.
        on_bad_sample: whether an image that cannot be read stops the run, or is left out, counted and logged.
        max_skipped: of how many images, in all splits together and on each process, that stops the run after all.
        val_fraction: the share of the images that is held out, in (0, 1).
    """

    classes = ()
    monitor = "loss"
    mode: Literal["max", "min"] = "min"
    test_has_labels = False
    train_collate = staticmethod(collate.images_only)
    eval_collate = staticmethod(collate.images_only)

    def __init__(
        self,
        root: str,
        batch_size: int,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        train_transform: Transform | None = None,
        eval_transform: Transform | None = None,
        on_bad_sample: BadSample = "raise",
        max_skipped: int = 100,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(
            root, batch_size, eval_batch_size, num_workers, train_transform, eval_transform, on_bad_sample, max_skipped
        )
        self.val_fraction = _fraction(val_fraction)

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


def _fraction(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1, not {value}")
    return value
