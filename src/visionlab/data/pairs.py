"""Data sets for image-to-image translation: pairs of images, and two collections without pairs."""

from abc import ABC
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics import Metric

from visionlab.batch import PADDING, UnpairedBatch
from visionlab.data import collate
from visionlab.data.augmentation import Transform
from visionlab.data.base import DataModule, Split, run_seed
from visionlab.data.disk import BadSample, DiskDataset, note_skipped
from visionlab.data.images import read_image
from visionlab.data.layouts.pairs import Pairs, halves, open_folder
from visionlab.data.sample import Sample
from visionlab.data.sampling import Keys, mix, sample_seeds
from visionlab.metrics.reconstruction import Paired

UInt8Array = npt.NDArray[np.uint8]


class TranslationDataModule(DataModule, ABC):
    """What data sets for translation share: there are no classes, and any image can be translated.

    Args:
        root: the folder of the data set.
        batch_size: images, or pairs, per process and training step.
        eval_batch_size: likewise, per evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        train_transform: what is done to training images, if anything. Of colours nothing, where there are pairs: both
            images of one are transformed together, as one of six channels.
        eval_transform: what is done to images that are evaluated or predicted, if anything.
        on_bad_sample: whether an image that cannot be read, or is no pair, stops the run, or is left out, counted and
            logged.
        max_skipped: of how many images, in all splits together and on each process, that stops the run after all.
    """

    classes = ()

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
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers)
        self.root = Path(root)
        self.train_transform, self.eval_transform = train_transform, eval_transform
        self.on_bad_sample: BadSample = on_bad_sample
        self.max_skipped = max_skipped

    def transform(self, split: Split, augmented: bool) -> Transform | None:
        """What is done to the images of a split."""
        return self.train_transform if augmented and split == "train" else self.eval_transform

    def read(self, path: Path) -> UInt8Array:
        """Read any image file to translate, as evaluation transforms it, ``(H, W, 3)``: one image, not a pair."""
        image = read_image(path, 3)
        return image if self.eval_transform is None else self.eval_transform({"image": image}, 0)["image"]

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Take the note of skipped images out of a batch.

        Raises:
            ValueError: if there are more of them than ``max_skipped``.
        """
        return note_skipped(batch, self, self.root, self.max_skipped)


class PairedImages(TranslationDataModule):
    """Pairs of images side by side, in pix2pix's layout: ``root/{train,val,test}/*.jpg``.

    Scored by how far the pixels are from those of the true image, ``paired/L1``.

    Args:
        root: the folder of the data set.
        batch_size: pairs per process and training step.
        direction: whether the image at the right is to be made from that at the left, or the other way round.
        arguments: those of :class:`TranslationDataModule`.
    """

    monitor = "paired/L1"
    mode: Literal["max", "min"] = "min"

    def __init__(
        self, root: str, batch_size: int, direction: Literal["AtoB", "BtoA"] = "AtoB", **arguments: Any
    ) -> None:
        super().__init__(root, batch_size, **arguments)
        if direction not in ("AtoB", "BtoA"):
            raise ValueError(f"direction must be AtoB or BtoA, not {direction!r}")
        self.direction = direction

    def dataset(self, split: Split, augmented: bool = True) -> DiskDataset:
        """Open one split.

        Raises:
            FileNotFoundError: if its folder is missing.
            ValueError: if there are no images in it.
        """
        records = Pairs(open_folder(self.root / split))
        together = Together(self.transform(split, augmented), reverse=self.direction == "BtoA")
        return DiskDataset(records, collate.paired, together, run_seed(), self.on_bad_sample)

    def metrics(self) -> dict[str, Metric]:
        """The distances to the true images."""
        return {"paired": Paired()}


class UnpairedImages(TranslationDataModule):
    """Two collections of images, in CycleGAN's layout: ``root/{trainA,trainB,testA,testB}``. Its arguments are those of
    :class:`TranslationDataModule`.

    An epoch has as many batches as the larger of the two asks for; each image of A comes with one of B, drawn anew in
    each epoch. The test images serve validation too, for there are no others, and nothing is chosen by them. There are
    no metrics of translation without pairs.
    """

    monitor = "loss"
    mode: Literal["max", "min"] = "min"
    test_has_labels = False

    def dataset(self, split: Split, augmented: bool = True) -> "UnpairedDataset":
        """Open one split; ``val`` is ``test``.

        Raises:
            FileNotFoundError: if one of its folders is missing.
            ValueError: if there are no images in one.
        """
        folder, seed = "train" if split == "train" else "test", run_seed()
        transform = self.transform(split, augmented)
        one, other = (
            DiskDataset(
                open_folder(self.root / f"{folder}{domain}"), collate.images_only, transform, s, self.on_bad_sample
            )
            for domain, s in (("A", seed), ("B", seed + 1))
        )
        return UnpairedDataset(one, other, seed, shuffled=split == "train")

    def metrics(self) -> dict[str, Metric]:
        """None."""
        return {}


class Together(Transform):
    """Cuts a picture of two into its halves, transforms them together, and gives them as one image of six channels, the
    input's first.

    Args:
        transform: what is done to them, if anything.
        reverse: whether the right half is the input.
    """

    def __init__(self, transform: Transform | None, reverse: bool) -> None:
        self.transform, self.reverse = transform, reverse

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Transform ``(H, 2 W, 3)`` into ``(h, w, 6)``."""
        left, right = halves(sample["image"])
        pair = (right, left) if self.reverse else (left, right)
        stacked: Sample = {"image": np.concatenate(pair, axis=2)}
        return stacked if self.transform is None else self.transform(stacked, seed)


class UnpairedDataset:
    """One split of two collections. It is as long as the longer one; the other starts again. Images of B that are
    skipped are noted behind those of A.

    Args:
        images: those of A.
        others: those of B.
        seed: draws which of B comes with an image of A.
        shuffled: whether to draw; otherwise image i of B comes with image i of A.
    """

    groups = None

    def __init__(self, images: DiskDataset, others: DiskDataset, seed: int, shuffled: bool) -> None:
        self.images, self.others, self.seed, self.shuffled = images, others, seed, shuffled

    def __len__(self) -> int:
        return max(len(self.images), len(self.others))

    def __getitems__(self, keys: Keys) -> Any:
        """The batch of ``keys``, with the entry ``skipped`` of :class:`DiskDataset`."""
        ids = torch.from_numpy(keys.indices.copy())
        chosen = keys.indices
        if self.shuffled:
            chosen = (mix(sample_seeds(self.seed, keys)) % np.uint64(len(self.others))).astype(np.int64)
        one = self.images.__getitems__(keys._replace(indices=keys.indices % len(self.images)))
        other = self.others.__getitems__(keys._replace(indices=chosen % len(self.others)))
        ids[one["ids"] == PADDING] = PADDING  # at the end, and where another image took the place of one of A
        batch: UnpairedBatch = {"images": one["images"], "other_images": other["images"], "ids": ids}
        if "skipped" not in one:
            return batch
        return {**batch, "skipped": torch.cat([one["skipped"], len(self.images) + other["skipped"]])}

    def image(self, index: int) -> UInt8Array:
        """The image of A at ``index`` as it is stored, ``(H, W, 3)``."""
        return self.images.image(index % len(self.images))

    def sample(self, index: int) -> Sample:
        """The image of A at ``index`` as it is stored."""
        return self.images.sample(index % len(self.images))

    def name(self, index: int) -> str:
        """The file of the image of A at ``index``."""
        return self.images.name(index % len(self.images))
