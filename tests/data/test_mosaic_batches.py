"""Mosaics in the batches of a data set."""

import pickle
import warnings
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from test_presets import CORNERS, white_rectangle

from visionlab.batch import PADDING
from visionlab.data import collate
from visionlab.data.augmentation import MEAN_COLOUR
from visionlab.data.base import DataModule, Split
from visionlab.data.coco import COCODetection
from visionlab.data.disk import DiskDataModule, DiskDataset
from visionlab.data.mosaic import Mosaic
from visionlab.data.sample import Annotations
from visionlab.data.sampling import Keys
from visionlab.data.transforms import SampleAlbumentations


def assert_same_batch(one, other):
    assert torch.equal(one["ids"], other["ids"])
    for left, right in zip(one["images"], other["images"], strict=True):
        assert torch.equal(left, right)
    for left, right in zip(one["targets"], other["targets"], strict=True):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


class Rectangles:
    """Nine images of a colour each, ten times their number, and an object of that label."""

    def __len__(self) -> int:
        return 9

    def path(self, index: int) -> Path:
        return Path(f"{index}.png")

    def name(self, index: int) -> str:
        return f"number {index}"

    def annotations(self, index: int) -> Annotations:
        objects = white_rectangle(30 + index, 40, 8, 6 + index, 40, 30)["objects"]
        return {"objects": {**objects, "labels": np.array([index])}}


class RectanglesData(DiskDataModule):
    classes = tuple("abcdefghi")
    train_collate = eval_collate = staticmethod(collate.detection)

    def records(self, split: Split) -> Rectangles:
        return Rectangles()

    def metrics(self):
        return {}


@pytest.fixture
def rectangles() -> Rectangles:
    for i in range(9):
        cv2.imwrite(f"{i}.png", np.full((30 + i, 40, 3), 10 * i, dtype=np.uint8))
    return Rectangles()


def keys(*indices: int, epoch: int = 0) -> Keys:
    return Keys(epoch, np.array(indices))


def together(image: torch.Tensor) -> list[int]:
    """Which images are on a canvas, by their colours; the mean colour is none of those."""
    return [colour // 10 for colour in image[0].unique().tolist() if colour != MEAN_COLOUR[0]]


def test_a_mosaic_is_a_function_of_seed_epoch_and_index(rectangles):
    mosaic = Mosaic(48)
    dataset = DiskDataset(rectangles, collate.detection, seed=3, mosaic=mosaic)
    one, other = dataset.__getitems__(keys(4, 1)), dataset.__getitems__(keys(1, 5, 4))
    again = pickle.loads(pickle.dumps(dataset)).__getitems__(keys(4, 1))
    assert_same_batch(one, again)
    for here, there in ((0, 2), (1, 0)):
        assert torch.equal(one["images"][here], other["images"][there])
        assert torch.equal(one["targets"][here]["boxes"], other["targets"][there]["boxes"])
    groups = [together(dataset.__getitems__(keys(4, epoch=epoch))["images"][0]) for epoch in range(10)]
    assert all(4 in group and len(group) == 4 for group in groups)
    assert len(set(map(tuple, groups))) > 6
    elsewhere = DiskDataset(rectangles, collate.detection, seed=4, mosaic=mosaic)
    assert not torch.equal(elsewhere.__getitems__(keys(4))["images"][0], one["images"][0])


@pytest.mark.usefixtures("rectangles")
def test_a_loaders_processes_give_what_one_process_gives():
    def batches(workers: int) -> list:
        data = RectanglesData(".", 4, num_workers=workers, mosaic=Mosaic(48, p=0.7))
        data.setup("fit")
        return list(data.train_dataloader())

    for one, other in zip(batches(0), batches(2), strict=True):
        assert_same_batch(one, other)


@pytest.mark.usefixtures("rectangles")
def test_only_training_images_that_are_augmented_are_put_together():
    data, plain = RectanglesData(".", 4, mosaic=Mosaic(48)), RectanglesData(".", 4)
    assert data.dataset("train").__getitems__(keys(3))["images"][0].shape == (3, 48, 48)
    for split, augmented in (("train", False), ("val", True), ("test", True)):
        sets = [module.dataset(split, augmented).__getitems__(keys(3, 5)) for module in (data, plain)]
        assert_same_batch(*sets)
    never = RectanglesData(".", 4, mosaic=Mosaic(48, p=0))
    assert_same_batch(*(module.dataset("train").__getitems__(keys(3, 5)) for module in (never, plain)))


def test_a_flip_after_it_exchanges_left_and_right(rectangles):
    flip = SampleAlbumentations([A.HorizontalFlip(p=1)], CORNERS)
    plain, flipped = (
        DiskDataset(rectangles, collate.detection, transform, mosaic=Mosaic(48)).__getitems__(keys(*range(9)))
        for transform in (None, flip)
    )
    for one, other, was, now in zip(
        plain["images"], flipped["images"], plain["targets"], flipped["targets"], strict=True
    ):
        assert torch.equal(one.flip(2), other)
        assert torch.equal(was["masks"].flip(2), now["masks"])
        points = was["keypoints"][:, [1, 0, 3, 2]]
        points[..., 0] = torch.where(points[..., 2] > 0, 48 - points[..., 0], points[..., 0])
        torch.testing.assert_close(now["keypoints"], points, atol=1e-3, rtol=0)


def test_a_partner_that_cannot_be_read_is_an_error_that_names_it(rectangles):
    bad = Mosaic(48).others(4, 9, 0)[0]
    dataset = DiskDataset(rectangles, collate.detection, mosaic=Mosaic(48))
    Path(f"{bad}.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=rf"{bad}\.png"):
        [dataset.__getitems__(keys(4, epoch=epoch)) for epoch in range(20)]


@pytest.mark.filterwarnings("ignore:skipped")
def test_or_it_is_skipped_and_the_next_good_one_takes_its_place(rectangles):
    Path("7.png").write_bytes(b"nothing")
    dataset = DiskDataset(rectangles, collate.detection, on_bad_sample="skip", mosaic=Mosaic(48))
    met = 0
    for epoch in range(20):
        batch = dataset.__getitems__(keys(4, epoch=epoch))
        group = together(batch["images"][0])
        assert batch["ids"].tolist() == [4]
        assert 7 not in group
        if len(batch["skipped"]):
            assert batch["skipped"].tolist() == [7]
            assert {4, 8} <= set(group)
            met += 1
    assert 2 < met < 18
    with pytest.warns(UserWarning, match=r"number 7.*7\.png"):
        batch = dataset.__getitems__(keys(4, 7))
    assert batch["ids"].tolist() == [4, PADDING]
    assert 8 in together(batch["images"][1])


def test_square_images_are_not_grouped_by_aspect_ratio():
    with pytest.raises(ValueError, match=r"mosaic.*square.*group_by_aspect_ratio"):
        COCODetection("data/coco", 4, group_by_aspect_ratio=True, mosaic=Mosaic(64))


def test_a_recipe_names_it_and_survives_its_dump(twins, tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"""
    data:
      class_path: visionlab.data.coco.COCOInstances
      init_args:
        root: {twins("coco")}
        batch_size: 2
        mosaic: {{class_path: visionlab.data.mosaic.Mosaic, init_args: {{size: 96, scale: [0.4, 1.2]}}}}
        train_transform: {{class_path: visionlab.data.presets.detection_train}}
    """)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(DataModule, "data")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*a tuple is serialized as list")
        dumped = parser.dump(parser.parse_args(["--config", "recipe.yaml"]))
        (tmp_path / "again.yaml").write_text(dumped)
        again = parser.parse_args(["--config", "again.yaml"])
        assert parser.dump(again) == dumped
    data = parser.instantiate(again).data
    assert vars(data.mosaic) == {"size": 96, "p": 1.0, "scale": (0.4, 1.2)}
    data.setup("fit")
    for batch in data.train_dataloader():
        assert [image.shape for image in batch["images"]] == [(3, 96, 96)] * 2
        assert all(target["masks"].shape[1:] == (96, 96) for target in batch["targets"])
