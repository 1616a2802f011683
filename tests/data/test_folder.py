"""The data modules for any folder, and a run whose data is gone."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from visionlab.cli import main
from visionlab.data.folder import ImageFolder, Images
from visionlab.data.presets import classification_eval, classification_train
from visionlab.data.twins.folder import CLASSES
from visionlab.load import load


@pytest.fixture(scope="module")
def made(twins):
    return twins("folder", 40)


@pytest.mark.parametrize("family", [ImageFolder, Images])
def test_making_one_touches_no_disk(family):
    data = family("nowhere", batch_size=4)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        data.prepare_data()
    for fraction in (0, 1, -0.5):
        with pytest.raises(ValueError, match=f"val_fraction must lie between 0 and 1, not {fraction}"):
            family("nowhere", batch_size=4, val_fraction=fraction)


@pytest.mark.parametrize("workers", [0, 2])
def test_gives_batches_to_classify(made, workers):
    data = ImageFolder(
        str(made),
        8,
        num_workers=workers,
        train_transform=classification_train(32),
        eval_transform=classification_eval(32),
    )
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    assert data.classes == sorted(CLASSES)
    assert data.label_map[1] == {"id": 1, "index": 1, "name": "crescent"}
    batches = list(data.train_dataloader())
    assert [batch["images"].shape for batch in batches] == [(8, 3, 32, 32)] * 5
    assert sorted(torch.cat([batch["labels"] for batch in batches]).tolist()) == sorted(list(range(10)) * 4)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert torch.cat([batch["ids"] for batch in loader]).tolist() == list(range(10))
    assert data.test_has_labels
    assert set(data.metrics()) == {"single_label"}


def test_gives_images_without_labels(made):
    data = Images(
        str(made), 8, num_workers=0, train_transform=classification_train(32), eval_transform=classification_eval(32)
    )
    data.prepare_data()
    data.setup("fit")
    batches = [*data.train_dataloader(), *data.val_dataloader()]
    assert all(batch.keys() == {"images", "ids"} for batch in batches)
    assert len(data.datasets["train"]) + len(data.datasets["val"]) == 60
    assert (data.num_classes, data.metrics(), data.test_has_labels) == (0, {}, False)


def test_trains_on_prepared_images(made, capsys):
    assert main(["data", "prepare", "folder", "--root", str(made), "--output", "small", "--short_side", "48"]) == 0
    data = ImageFolder(str(made), 8, num_workers=0, prepared="small")
    for split, size in (("train", 40), ("val", 10), ("test", 10)):
        dataset = data.dataset(split)
        assert len(dataset) == size
        assert {min(dataset.image(i).shape[:2]) for i in range(size)} == {48}
        assert [dataset.name(i) for i in range(size)] == [data.records(split).name(i) for i in range(size)]


def test_the_doctor_counts_the_classes_that_are_there(made, capsys):
    for name in sorted(CLASSES)[:3]:
        shutil.copytree(made / "train" / name, Path("mine") / name)
    assert main(["data", "check", "folder", "--root", "mine"]) == 0
    assert "all: 12 images, 4 to 4 a class" in capsys.readouterr().out


RECIPE = """
model:
  class_path: visionlab.tasks.classification.Classification
  init_args:
    net: {class_path: stand_ins.TinyNet, init_args: {in_channels: 3}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
data:
  class_path: visionlab.data.folder.ImageFolder
  init_args:
    root: mine
    batch_size: 8
    num_workers: 0
    train_transform: {class_path: visionlab.data.presets.classification_train, init_args: {size: 32}}
    eval_transform: {class_path: visionlab.data.presets.classification_eval, init_args: {size: 32}}
trainer: {max_steps: 2, accelerator: cpu, logger: false, enable_progress_bar: false, enable_model_summary: false}
"""


def test_a_trained_run_predicts_when_its_data_is_gone(made):
    shutil.copytree(made, "mine")
    Path("mine.yaml").write_text(RECIPE)
    assert main(["fit", "--config", "mine.yaml"]) == 0
    Path("mine/val").rename("new")
    shutil.rmtree("mine")
    loaded = load("runs/mine/0")
    assert loaded.class_names == sorted(CLASSES)
    assert main(["predict", "runs/mine/0", "new"]) == 0
    with Path("runs/mine/0/predictions/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 10
    assert {row["class"] for row in rows} <= set(CLASSES)
