"""ImageNet's data modules."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from visionlab.batch import PADDING
from visionlab.cli import main
from visionlab.data.imagenet import ImageNet, ImageNetLocalization
from visionlab.data.images import read_image
from visionlab.data.presets import classification_eval, classification_train
from visionlab.data.twins.imagenet import CLASSES


@pytest.fixture(scope="module")
def root(twins):
    return twins("imagenet", 30)


@pytest.mark.parametrize("family", [ImageNet, ImageNetLocalization])
def test_making_one_touches_no_disk(family):
    data = family("nowhere", batch_size=4)
    with pytest.raises(FileNotFoundError, match="visionlab data info imagenet"):
        data.prepare_data()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.classes  # noqa: B018


@pytest.mark.parametrize("workers", [0, 2])
def test_gives_batches_to_classify(root, workers):
    data = ImageNet(
        str(root),
        6,
        num_workers=workers,
        train_transform=classification_train(32),
        eval_transform=classification_eval(32),
    )
    data.prepare_data()
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [batch["images"].shape for batch in batches] == [(6, 3, 32, 32)] * 5
    assert all(batch["images"].dtype == torch.uint8 for batch in batches)
    ids = torch.cat([batch["ids"] for batch in batches])
    labels = torch.cat([batch["labels"] for batch in batches])
    records = data.records("train")
    wnids = sorted(CLASSES)
    assert sorted(ids.tolist()) == list(range(30))
    for i, label in zip(ids.tolist(), labels.tolist(), strict=True):
        assert records.path(i).parent.name == wnids[label]
    assert sum(len(batch["ids"]) for batch in data.val_dataloader()) == 10


def test_labels_are_those_of_the_sorted_ids(root):
    data = ImageNet(str(root), 4)
    assert data.num_classes == 10
    assert data.label_map[3] == {"id": "n02105855", "index": 3, "name": "Shetland sheepdog"}
    assert [entry["name"] for entry in data.label_map] == list(data.classes)
    assert set(data.metrics()) == {"single_label"}
    assert len(data.records("test")) == len(data.records("val")) == 10


def test_gives_boxes_with_the_images(root):
    data = ImageNetLocalization(
        str(root), 5, num_workers=0, train_transform=classification_eval(64), eval_transform=classification_eval(64)
    )
    data.prepare_data()
    data.setup("fit")
    assert data.label_map == ImageNet(str(root), 4).label_map
    for loader, size in ((data.train_dataloader(), 20), (data.val_dataloader(), 10)):
        batches = list(loader)
        assert sum(len(batch["labels"]) for batch in batches) == size
        for batch in batches:
            assert batch["images"].shape == (5, 3, 64, 64)
            assert len(batch["boxes"]) == len(batch["labels"]) == 5
            assert all(boxes.dtype == torch.float32 and boxes.shape[1] == 4 for boxes in batch["boxes"])
            assert all(boxes.min() >= 0 and boxes.max() <= 64 for boxes in batch["boxes"] if len(boxes))


def test_an_image_whose_boxes_all_leave_it_is_in_the_batch(root):
    class Corner:
        def __call__(self, sample, seed):
            return {
                **sample,
                "image": sample["image"][:8, :8],
                "objects": {name: rows[:0] for name, rows in sample["objects"].items()},
            }

    data = ImageNetLocalization(str(root), 5, num_workers=0, eval_transform=Corner())
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    assert [boxes.shape for boxes in batch["boxes"]] == [(0, 4)] * 5


def test_wrong_boxes_stop_a_run_or_are_skipped(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "imagenet")
    first, other = sorted((copy / "ILSVRC/Annotations/CLS-LOC/train").rglob("*.xml"))[:2]
    for path in (first, other):
        text = path.read_text()
        path.write_text(text[: text.index("<xmin>")] + "<xmin>nan" + text[text.index("</xmin>") :])
    data = ImageNetLocalization(str(copy), 5)
    with pytest.raises(ValueError, match=r"not finite: nan.* \(and 1 more\); on_bad_sample: skip") as raised:
        data.prepare_data()
    assert str(first) in str(raised.value)
    data = ImageNetLocalization(
        str(copy), 5, num_workers=0, train_transform=classification_eval(32), on_bad_sample="skip"
    )
    data.prepare_data()
    data.setup("fit")
    with pytest.warns(UserWarning, match="skipped n01440764/"):
        batches = list(data.train_dataloader())
    skipped = torch.cat([batch["skipped"] for batch in batches]).tolist()
    assert {data.datasets["train"].name(i)[:-5] for i in skipped} == {
        f"n01440764/{path.stem}" for path in (first, other)
    }
    assert torch.cat([batch["ids"] for batch in batches]).tolist().count(PADDING) == 2


def test_odd_files_are_read_like_others(root):
    data = ImageNet(str(root), 4)
    dataset = data.dataset("train")
    names = [dataset.name(i) for i in range(len(dataset))]
    assert {"n01739381/n01739381_1309.JPEG", "n02105855/n02105855_2933.JPEG"} <= set(names)
    for i, name in enumerate(names):
        pixels = dataset.image(i)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        np.testing.assert_array_equal(pixels, data.read(data.records("train").path(i)))
        assert (pixels == read_image(data.records("train").path(i), 3)).all(), name


RECIPE = """
model:
  class_path: visionlab.tasks.localization.Localization
  init_args:
    net: {class_path: stand_ins.TinyNet, init_args: {in_channels: 3}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
data:
  class_path: visionlab.data.imagenet.ImageNetLocalization
  init_args:
    root: ROOT
    batch_size: 5
    num_workers: 0
    train_transform: &whole
      class_path: visionlab.data.transforms.SampleAlbumentations
      init_args: {transforms: [{class_path: albumentations.Resize, init_args: {height: 32, width: 32}}]}
    eval_transform: *whole
trainer: {max_steps: 2, accelerator: cpu, logger: false, enable_progress_bar: false, enable_model_summary: false}
"""


def test_localization_is_trained_and_scored(root):
    Path("boxes.yaml").write_text(RECIPE.replace("ROOT", str(root)))
    assert main(["fit", "--config", "boxes.yaml"]) == 0
    results = json.loads(Path("runs/boxes/0/results/test.json").read_text())
    assert 0 <= results["test/ilsvrc_loc/top1"] <= results["test/ilsvrc_loc/top1_class"] <= 1
    assert 0 < results["test/ilsvrc_loc/iou"] < 1


def test_records_are_small_and_travel(root):
    for family in (ImageNet, ImageNetLocalization):
        records = family(str(root), 4).records("train")
        packed = pickle.dumps(records)
        assert len(packed) < 1000
        again = pickle.loads(packed)
        assert [again.name(i) for i in range(len(again))] == [records.name(i) for i in range(len(records))]
