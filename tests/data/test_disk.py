from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from visionlab.batch import PADDING
from visionlab.data import collate
from visionlab.data.augmentation import Transform
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule, DiskDataset
from visionlab.data.prepared import prepare
from visionlab.data.sample import Annotations
from visionlab.data.sampling import EvalBatches, Keys, Loader
from visionlab.metrics.classification import SingleLabel


class Numbered:
    """Images of which all pixels are ten times their number, and whose label it is, modulo three."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return self.count

    def path(self, index: int) -> Path:
        return self.folder / f"{index}.png"

    def name(self, index: int) -> str:
        return f"number {index}"

    def annotations(self, index: int) -> Annotations:
        return {"label": index % 3}


class AddSeed(Transform):
    def __call__(self, sample, seed):
        return {**sample, "image": sample["image"] + np.uint8(seed % 7)}


class NumberedData(DiskDataModule):
    classes = ("a", "b", "c")
    monitor = "single_label/top1"
    mode: Literal["max", "min"] = "max"
    train_collate = collate.classification
    eval_collate = collate.classification

    def records(self, split: Split) -> Numbered:
        return Numbered(self.root, 6)

    def metrics(self):
        return {"single_label": SingleLabel(3)}


@pytest.fixture
def folder() -> Path:
    for i in range(6):
        cv2.imwrite(f"{i}.png", np.full((4, 5, 3), 10 * i, dtype=np.uint8))
    return Path()


def keys(*indices: int, epoch: int = 0, padded: int = 0) -> Keys:
    return Keys(epoch, np.array(indices), padded)


def test_gives_whole_batches(folder):
    batch = DiskDataset(Numbered(folder, 6), collate.classification).__getitems__(keys(4, 1, 0, padded=1))
    assert batch["images"].shape == (3, 3, 4, 5)
    assert batch["images"].dtype == torch.uint8
    assert batch["images"][:, 0, 0, 0].tolist() == [40, 10, 0]
    assert batch["labels"].tolist() == [1, 1, 0]
    assert batch["ids"].tolist() == [4, 1, PADDING]
    assert "skipped" not in batch


def test_a_sample_is_transformed_by_its_seed_epoch_and_index_alone(folder):
    dataset = DiskDataset(Numbered(folder, 6), collate.classification, AddSeed(), seed=3)
    one, other = dataset.__getitems__(keys(4, 1)), dataset.__getitems__(keys(1, 5, 4))
    assert torch.equal(one["images"][0], other["images"][2])
    assert torch.equal(one["images"][1], other["images"][0])
    epochs = [dataset.__getitems__(keys(4, epoch=epoch))["images"][0, 0, 0, 0].item() for epoch in range(20)]
    assert len(set(epochs)) > 3


def test_an_unreadable_image_is_an_error_that_names_it(folder):
    (folder / "4.png").write_bytes(b"nothing")
    (folder / "5.png").unlink()
    dataset = DiskDataset(Numbered(folder, 6), collate.classification)
    with pytest.raises(ValueError, match=r"4\.png"):
        dataset.__getitems__(keys(3, 4))
    with pytest.raises(OSError, match=r"5\.png"):
        dataset.__getitems__(keys(5))


def test_or_it_is_skipped_and_the_next_good_one_takes_its_place(folder):
    (folder / "4.png").write_bytes(b"nothing")
    (folder / "5.png").unlink()
    dataset = DiskDataset(Numbered(folder, 6), collate.classification, on_bad_sample="skip")
    with pytest.warns(UserWarning, match=r"number 4.*4\.png"):
        batch = dataset.__getitems__(keys(3, 4, 1))
    assert batch["images"][:, 0, 0, 0].tolist() == [30, 0, 10]
    assert batch["ids"].tolist() == [3, PADDING, 1]
    assert batch["skipped"].tolist() == [4]
    assert dataset.__getitems__(keys(3))["skipped"].tolist() == []


def test_a_split_without_one_good_image_is_an_error(folder):
    for path in folder.glob("*.png"):
        path.unlink()
    dataset = DiskDataset(Numbered(folder, 6), collate.classification, on_bad_sample="skip")
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(ValueError, match="no image of the split can be read"),
    ):
        dataset.__getitems__(keys(3))


def test_images_of_several_sizes_need_a_transform(folder):
    cv2.imwrite("2.png", np.zeros((9, 9, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="4 x 5, 9 x 9"):
        DiskDataset(Numbered(folder, 6), collate.classification).__getitems__(keys(1, 2))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:skipped")
def test_skipping_changes_no_number_of_batches_and_is_counted(folder, workers):
    (folder / "1.png").write_bytes(b"nothing")
    data = NumberedData(str(folder), batch_size=2, num_workers=workers, on_bad_sample="skip")
    data.trainer = Trainer(logger=False, accelerator="cpu")
    data.trainer.testing = True
    data.setup("test")
    batches = [data.on_before_batch_transfer(batch, 0) for batch in data.test_dataloader()]
    assert [batch["ids"].tolist() for batch in batches] == [[0, PADDING], [2, 3], [4, 5]]
    assert data.skipped == {"train": set(), "val": set(), "test": {1}}
    assert all("skipped" not in batch for batch in batches)


@pytest.mark.filterwarnings("ignore:skipped")
def test_too_many_skipped_images_stop_the_run(folder):
    for i in (1, 3, 5):
        (folder / f"{i}.png").unlink()
    data = NumberedData(str(folder), batch_size=2, num_workers=0, on_bad_sample="skip", max_skipped=2)
    data.trainer = Trainer(logger=False, accelerator="cpu")
    data.setup("validate")
    with pytest.raises(ValueError, match="3 images could not be read, more than max_skipped = 2"):
        [data.on_before_batch_transfer(batch, 0) for batch in data.val_dataloader()]


def test_objects_travel_under_torchvisions_names():
    objects = {
        "boxes": np.array([[0.0, 1.0, 2.5, 3.0]]),
        "labels": np.array([7]),
        "crowd": np.array([True]),
        "difficult": np.array([False]),
        "area": np.array([1 / 3]),
        "masks": np.ones((1, 4, 5), dtype=np.uint8),
        "keypoints": np.array([[[1.0, 2.0, 2.0]]]),
    }
    none = {name: value[:0] for name, value in objects.items()}
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    batch = collate.detection(
        [{"image": image, "objects": objects}, {"image": image[:2], "objects": none}], np.array([3, 9])
    )
    assert [image.shape for image in batch["images"]] == [(3, 4, 5), (3, 2, 5)]
    one, empty = batch["targets"]
    assert {name: value.dtype for name, value in one.items()} == {
        "boxes": torch.float32,
        "labels": torch.int64,
        "iscrowd": torch.bool,
        "difficult": torch.bool,
        "area": torch.float64,
        "masks": torch.uint8,
        "keypoints": torch.float32,
    }
    assert one["area"].item() == 1 / 3
    assert {name: tuple(value.shape) for name, value in empty.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "iscrowd": (0,),
        "difficult": (0,),
        "area": (0,),
        "masks": (0, 4, 5),
        "keypoints": (0, 1, 3),
    }


def test_masks_are_stacked_to_train_on_and_kept_apart_to_evaluate():
    samples = [{"image": np.zeros((4, 5, 3), np.uint8), "mask": np.full((4, 5), i, np.uint8)} for i in (0, 255)]
    trained = collate.segmentation(samples, np.array([0, 1]))
    evaluated = collate.ragged_segmentation(samples, np.array([0, 1]))
    assert trained["masks"].shape == (2, 4, 5)
    assert [mask.unique().tolist() for mask in evaluated["masks"]] == [[0], [255]]


def test_a_loaders_processes_give_what_one_process_gives(folder):
    dataset = DiskDataset(Numbered(folder, 6), collate.classification, AddSeed())
    loaders = [Loader(dataset, EvalBatches(6, 4), num_workers=workers) for workers in (0, 2)]
    assert all(isinstance(loader, DataLoader) for loader in loaders)
    for one, other in zip(*loaders, strict=True):
        assert torch.equal(one["images"], other["images"])
        assert torch.equal(one["ids"], other["ids"])


def test_prepared_images_take_the_place_of_files(folder):
    files = NumberedData(str(folder), batch_size=2)
    prepare(files.records("train"), Path("small/train"), short_side=2)
    data = NumberedData(str(folder), batch_size=2, prepared="small")
    for path in folder.glob("*.png"):
        path.unlink()
    batch = data.dataset("train").__getitems__(keys(4, 1))
    assert batch["images"].shape == (2, 3, 2, 2)
    assert batch["images"][:, 0, 0, 0].tolist() == [40, 10]
    with pytest.raises(FileNotFoundError, match="small/val"):
        data.dataset("val")


def test_prepared_images_do_not_serve_boxes(folder):
    class Boxed(Numbered):
        def annotations(self, index):
            return {"objects": {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, np.int64)}}

    class BoxedData(NumberedData):
        def records(self, split):
            return Boxed(folder, 6)

    data = BoxedData(str(folder), batch_size=2, prepared="small")
    prepare(data.records("train"), Path("small/train"), short_side=2)
    with pytest.raises(ValueError, match="boxes and masks do not fit"):
        data.setup("fit")
