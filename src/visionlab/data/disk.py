"""Data sets whose images are files: read one by one, transformed, and put together into batches."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from visionlab.batch import PADDING
from visionlab.data.augmentation import Transform
from visionlab.data.base import DataModule, Split, run_seed
from visionlab.data.images import read_image
from visionlab.data.mosaic import Mosaic
from visionlab.data.prepared import Prepared
from visionlab.data.sample import Records, Sample, SizedRecords
from visionlab.data.sampling import Keys, sample_seeds

Collate = Callable[[Sequence[Sample], npt.NDArray[np.int64]], Any]
"""Makes a batch of samples and their ids: one of :mod:`visionlab.data.collate`."""

BadSample = Literal["raise", "skip"]

GROUPS_AN_OCTAVE = 8
"""Aspect ratios of one group differ by 9 % at most. Batches of 8 images of COCO's sizes have 1.5 % more pixels than the
images; with torchvision's 3 (``--aspect-ratio-group-factor``) 6 %, and mixed ones 57 %."""


class DiskDataset:
    """One split of a data set on disk.

    Args:
        records: where the images are, and what is known about them.
        collate: makes batches in the form that the task wants.
        transform: what is done to each sample, if anything.
        seed: of the transform and the mosaic.
        on_bad_sample: what becomes of an image that cannot be read, or whose annotations cannot: an error, or the next
            good image of the split takes its place in the batch, under the id of padding, so that there are as many
            batches as there would be. A batch then has an entry ``skipped``, ``(n,)`` ``int64``: the positions of the
            images that were left out.
        prepared: the images, made smaller, to be used in place of their files, which are then not read.
        group_by_aspect_ratio: whether training batches are to be of images of alike aspect ratios.
        mosaic: puts each sample together with three others, before the transform, if anything does.

    Raises:
        ValueError: if images are to be grouped, and the records do not know their sizes.
    """

    def __init__(
        self,
        records: Records,
        collate: Collate,
        transform: Transform | None = None,
        seed: int = 0,
        on_bad_sample: BadSample = "raise",
        prepared: Prepared | None = None,
        group_by_aspect_ratio: bool = False,
        mosaic: Mosaic | None = None,
    ) -> None:
        self.records, self.collate, self.transform = records, collate, transform
        self.seed, self.on_bad_sample, self.prepared = seed, on_bad_sample, prepared
        self.group_by_aspect_ratio, self.mosaic = group_by_aspect_ratio, mosaic
        if group_by_aspect_ratio and not isinstance(records, SizedRecords):
            raise ValueError(
                f"group_by_aspect_ratio: the sizes of the images in {records.path(0).parent} are not known before each "
                "is opened; leave it out"
            )

    @property
    def groups(self) -> npt.NDArray[np.int64] | None:
        """The aspect ratio of each image, ``(N,)``, in steps of 2**(1/8); None if batches are to be of any images."""
        if not self.group_by_aspect_ratio:
            return None
        assert isinstance(self.records, SizedRecords)  # else refused
        height, width = self.records.sizes().T
        groups: npt.NDArray[np.int64] = np.rint(GROUPS_AN_OCTAVE * np.log2(height / width)).astype(np.int64)
        return groups

    def __len__(self) -> int:
        return len(self.records)

    def __getitems__(self, keys: Keys) -> Any:
        """The batch of ``keys``, its samples transformed.

        Raises:
            ValueError: if an image or its annotations cannot be read, unless such are skipped; the message names the
                file.
        """
        ids = keys.indices.copy()
        ids[len(ids) - keys.padded :] = PADDING
        seeds = sample_seeds(self.seed, keys).tolist()
        skipped: list[int] = []
        samples = [
            self._augmented(index, seed, skipped) for index, seed in zip(keys.indices.tolist(), seeds, strict=True)
        ]
        ids[np.isin(keys.indices, skipped)] = PADDING
        batch = self.collate(samples, ids)
        return (
            batch if self.on_bad_sample == "raise" else {**batch, "skipped": torch.tensor(skipped, dtype=torch.int64)}
        )

    def sample(self, index: int) -> Sample:
        """The image at ``index`` as it is stored, with its annotations.

        Raises:
            ValueError: if a file is not what it should be; the message names it.
            OSError: if a file is missing.
        """
        sample = cast(Sample, {"image": self.image(index), **self.records.annotations(index)})
        shape = sample["image"].shape[:2]
        masks = [sample["mask"]] if "mask" in sample else sample.get("objects", {}).get("masks", ())
        for mask in masks:
            if mask.shape != shape:
                raise ValueError(f"{self.records.path(index)} is {_size(shape)}, but its mask {_size(mask.shape)}")
        return sample

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """The image at ``index`` as it is stored, ``(H, W, 3)``."""
        if self.prepared is not None:
            return self.prepared.image(index)
        return read_image(self.records.path(index), 3)

    def name(self, index: int) -> str:
        """What the data set itself calls the image at ``index``."""
        return self.records.name(index)

    def _augmented(self, index: int, seed: int, skipped: list[int]) -> Sample:
        """The sample at ``index``, transformed. Positions that cannot be read are added to ``skipped``."""
        sample = self._readable(index, skipped)
        if self.mosaic is not None and (others := self.mosaic.others(index, len(self), seed)):
            sample = self.mosaic([sample, *(self._readable(other, skipped) for other in others)], seed)
        return sample if self.transform is None else self.transform(sample, seed)

    def _readable(self, index: int, skipped: list[int]) -> Sample:
        """The sample at ``index``; if that cannot be read and may be skipped, the next good one."""
        try:
            return self.sample(index)
        except (ValueError, OSError) as error:
            if self.on_bad_sample == "raise":
                raise
            warnings.warn(f"skipped {self.name(index)}: {error}", stacklevel=2)
        skipped.append(index)
        for further in range(1, len(self)):
            try:
                return self.sample((index + further) % len(self))
            except (ValueError, OSError):
                continue
        raise ValueError(f"no image of the split can be read; the first is {self.records.path(0)}")


def has_places(records: Records) -> bool:
    """Whether something is known about places in the images, boxes or masks, which an image made smaller would not fit:
    as of the first image, for it is the same of all.
    """
    return len(records) > 0 and not {"objects", "mask"}.isdisjoint(records.annotations(0))


class DiskDataModule(DataModule):
    """A data set whose images are files. A subclass gives ``classes``, ``metrics``, ``records`` and how samples make
    batches.

    Args:
        root: the folder of the data set, in its publisher's layout.
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        train_transform: what is done to training samples, if anything.
        eval_transform: what is done to samples that are evaluated or predicted, if anything.
        on_bad_sample: whether an image that cannot be read stops the run, or is left out, counted and logged.
        max_skipped: of how many images, in all splits together and on each process, that stops the run after all.
        prepared: the folder that ``visionlab data prepare`` wrote, for data without boxes and masks; None reads the
            files themselves.
        group_by_aspect_ratio: whether training batches are of images of alike aspect ratios, which detectors pad less;
            for data sets that know the sizes of their images.
        mosaic: puts each training image together with three others, before ``train_transform``, if anything does; for
            data without labels of whole images.

    Raises:
        ValueError: if images are to be grouped by aspect ratio and put together, after which all are square.
    """

    train_collate: Collate
    eval_collate: Collate

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
        prepared: str | None = None,
        group_by_aspect_ratio: bool = False,
        mosaic: Mosaic | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers)
        self.root = Path(root)
        self.train_transform, self.eval_transform = train_transform, eval_transform
        self.on_bad_sample: BadSample = on_bad_sample
        self.max_skipped = max_skipped
        self.prepared = None if prepared is None else Path(prepared)
        if group_by_aspect_ratio and mosaic is not None:
            raise ValueError("mosaic makes images square: leave group_by_aspect_ratio out, or mosaic")
        self.group_by_aspect_ratio, self.mosaic = group_by_aspect_ratio, mosaic

    @abstractmethod
    def records(self, split: Split) -> Records:
        """Open one split.

        Raises:
            FileNotFoundError: if a file is missing; the message names it and says how to get it.
            ValueError: if a file is not what it should be; the message names it.
        """

    def dataset(self, split: Split, augmented: bool = True) -> DiskDataset:
        """Open one split, with its transform.

        Raises:
            ValueError: as :meth:`records`, or if there are boxes or masks, and prepared images to be used for them.
        """
        train, records = augmented and split == "train", self.records(split)
        if self.prepared is not None and has_places(records):
            raise ValueError(
                f"prepared images, as in {self.prepared}, are smaller than their files: boxes and masks do not fit"
            )
        return DiskDataset(
            records,
            type(self).train_collate if train else type(self).eval_collate,
            self.train_transform if train else self.eval_transform,
            run_seed(),
            self.on_bad_sample,
            None if self.prepared is None else Prepared(self.prepared / split, records),
            train and self.group_by_aspect_ratio,
            self.mosaic if train else None,
        )

    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        """Read any image file, as evaluation transforms it, ``(H, W, 3)``."""
        image = read_image(path, 3)
        return image if self.eval_transform is None else self.eval_transform({"image": image}, 0)["image"]

    def prepare_data(self) -> None:
        """Read the annotations of all splits that have some, so that what is wrong with them stops a run before it
        starts.
        """
        splits: tuple[Split, ...] = ("train", "val", "test")
        for split in splits[: 3 if self.test_has_labels else 2]:
            self.records(split)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Take the note of skipped images out of a batch.

        Raises:
            ValueError: if there are more of them than ``max_skipped``.
        """
        return note_skipped(batch, self, self.root, self.max_skipped)


def note_skipped(batch: Any, data: DataModule, root: Path, max_skipped: int) -> Any:
    """Take the note of skipped images out of a batch, and keep it in ``data.skipped``.

    Raises:
        ValueError: if there are more of them than ``max_skipped``.
    """
    if "skipped" not in batch:
        return batch
    assert data.trainer is not None  # which calls the hook of the data
    split: Split = "train" if data.trainer.training else "test" if data.trainer.testing else "val"
    data.skipped[split].update(batch["skipped"].tolist())
    total = sum(map(len, data.skipped.values()))
    if total > max_skipped:
        raise ValueError(
            f"{total} images could not be read, more than max_skipped = {max_skipped}: "
            f"`visionlab data check` says what is wrong with the files in {root}"
        )
    return {name: value for name, value in batch.items() if name != "skipped"}


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"
