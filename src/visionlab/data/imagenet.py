"""ImageNet-1k (ILSVRC 2012; Russakovsky et al. 2015): 1.28 million photographs of 1,000 classes."""

import functools
from typing import Literal

from torchmetrics import Metric

from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule
from visionlab.data.layouts import imagenet
from visionlab.data.layouts.folder import FolderImages
from visionlab.data.layouts.imagenet_boxes import BoxedImages, open_boxes
from visionlab.metrics.classification import SingleLabel
from visionlab.metrics.localization import Localization


class _ImageNet(DiskDataModule):
    """What both tasks share: the classes, which are read from the folder when first asked for."""

    @functools.cached_property
    def label_map(self) -> list[dict[str, int | str]]:
        """One ``{id, index, name}`` a class; the id is WordNet's."""
        layout = imagenet.find(self.root)
        pairs = zip(imagenet.wnids(layout), imagenet.class_names(layout), strict=True)
        return [{"id": wnid, "index": i, "name": name} for i, (wnid, name) in enumerate(pairs)]

    @property
    def classes(self) -> list[str]:
        """The class names, by label: the first of WordNet's synonyms, or the WordNet id."""
        return [str(entry["name"]) for entry in self.label_map]


class ImageNet(_ImageNet):
    """ImageNet, to classify. Its arguments are those of :class:`visionlab.data.disk.DiskDataModule`.

    The root may hold folders by class, those with the development kit, or Kaggle's (see
    :mod:`visionlab.data.layouts.imagenet`). The labels of the official test images are not published: validation and
    test are both the 50,000 official validation images, as in the literature. So a test result of weights that were
    chosen by validation is that of the best epoch.
    """

    monitor = "single_label/top1"
    mode: Literal["max", "min"] = "max"
    train_collate = staticmethod(collate.classification)
    eval_collate = staticmethod(collate.classification)

    def records(self, split: Split) -> FolderImages:
        """Open one split; ``test`` is ``val``."""
        return imagenet.open_images(self.root, "train" if split == "train" else "val")

    def metrics(self) -> dict[str, Metric]:
        """New official metrics, by protocol."""
        return {"single_label": SingleLabel(self.num_classes)}


class ImageNetLocalization(_ImageNet):
    """ImageNet, to classify and to say where the object is. Its arguments are those of
    :class:`visionlab.data.disk.DiskDataModule`.

    An image has one label and all boxes of that class. Of the training images, those without boxes are left out
    (544,546 of 1,281,167 have some); validation and test are as in :class:`ImageNet`. Boxes are scored in the image as
    evaluation transforms it: the overlap is that of the challenge if the whole image is resized, to any shape, and not
    cropped.
    """

    monitor = "ilsvrc_loc/top1"
    mode: Literal["max", "min"] = "max"
    train_collate = staticmethod(collate.localization)
    eval_collate = staticmethod(collate.localization)

    def records(self, split: Split) -> BoxedImages:
        """Open one split; ``test`` is ``val``."""
        return open_boxes(self.root, "train" if split == "train" else "val")

    def prepare_data(self) -> None:
        """Read the annotations of all splits, so that what is wrong with them stops a run before it starts.

        Raises:
            FileNotFoundError: if a file is missing; the message says how to get it.
            ValueError: if a file is not what it should be, unless images are skipped for it; the message names it.
        """
        splits: tuple[Split, ...] = ("train", "val")
        for split in splits:
            problems = self.records(split).problems
            if problems and self.on_bad_sample == "raise":
                further = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
                raise ValueError(f"{problems[0]}{further}; on_bad_sample: skip leaves such images out")

    def metrics(self) -> dict[str, Metric]:
        """New official metrics, by protocol."""
        return {"ilsvrc_loc": Localization(self.num_classes)}
