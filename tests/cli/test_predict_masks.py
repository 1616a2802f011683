"""A run that segments, from its recipe to masks in files and pictures; and what can be wrong with masks."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import in_child, wait_for
from visionlab.cli import main
from visionlab.data.camvid import CamVidSegmentation
from visionlab.data.mask_files import read_masks
from visionlab.load import load
from visionlab.metrics.segmentation import Confusion

RECIPE = """
model:
  class_path: visionlab.tasks.segmentation.Segmentation
  init_args:
    net: {class_path: tiny_segmenters.TinySegmenter, init_args: {heads: 1}}
    losses:
      cross_entropy:
        class_path: visionlab.losses.segmentation.CrossEntropy
        init_args: {class_weights: [1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1]}
      lovasz: {class_path: visionlab.losses.segmentation.LovaszSoftmax, init_args: {weight: 0.5}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
    lr_schedulers:
    - {scheduler: {class_path: torch.optim.lr_scheduler.PolynomialLR, init_args: {total_iters: 6}}, interval: step}
data:
  class_path: visionlab.data.camvid.CamVidSegmentation
  init_args:
    root: ROOT
    batch_size: 4
    num_workers: 0
    train_transform: {class_path: visionlab.data.presets.dense_train, init_args: {size: 48}}
trainer:
  max_epochs: 2
  accelerator: cpu
  logger: false
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
"""


def fit(root, folder=Path(), *more):
    (folder / "masks.yaml").write_text(RECIPE.replace("ROOT", str(root)))
    return main(["fit", "--config", str(folder / "masks.yaml"), "--runs", str(folder), *more])


@pytest.fixture(scope="module")
def trained(twins, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    assert fit(twins("camvid", 12), folder) == 0
    return folder / "masks" / "0"


@pytest.fixture
def run(trained):
    shutil.copytree(trained, "run")
    return Path("run")


def test_predicted_masks_have_the_score_of_the_test(run, twins, capsys):
    root = twins("camvid", 12)
    assert main(["predict", str(run), str(root / "CamVid" / "test"), "--output", "out"]) == 0
    data = CamVidSegmentation(str(root), 1)
    split = data.dataset("test")
    assert f"{len(split)} of {len(split)} images predicted into out" in capsys.readouterr().out
    metric = Confusion(11)
    names = [Path(split.name(i)).stem for i in range(len(split))]
    for i, (_, found) in enumerate(read_masks(Path("out/masks"), names, data.label_map)):
        truth = torch.from_numpy(split.sample(i)["mask"])
        metric.update([found], {"masks": [truth], "ids": torch.tensor([i])})
    results = json.loads((run / "results" / "test.json").read_text())
    assert results["test/camvid11/mIoU"] == metric.compute()["mIoU"]
    assert {"test/boundary/F", "test/camvid11/absent_classes", "test/cross_entropy", "test/lovasz"} < results.keys()
    with Path("out/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pixels = {Path(row["image"]).stem: 0 for row in rows}
    for row in rows:
        pixels[Path(row["image"]).stem] += int(row["pixels"])
        assert row["class"] in data.classes
    assert pixels == dict.fromkeys(names, 90 * 120)
    assert Image.open("out/predictions_0.png").width > 384


def test_images_of_any_size_are_predicted_and_two_of_one_name_are_refused(run, capsys):
    folder = Path("images")
    (folder / "more").mkdir(parents=True)
    for name, size in {"a.png": (1, 1), "b.png": (7, 300), "more/c.png": (90, 31)}.items():
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(folder / name)
    assert main(["predict", str(run), str(folder), "--output", "out"]) == 0
    assert {p.stem: Image.open(p).size for p in Path("out/masks").iterdir()} == {
        **{"a": (1, 1), "b": (300, 7), "c": (31, 90)}
    }
    shutil.copy(folder / "a.png", folder / "more" / "a.png")
    assert main(["predict", str(run), str(folder), "--output", "out"]) == 2
    assert "would have the same name: predict them apart" in capsys.readouterr().err


def test_a_run_leaves_pictures_of_masks(run):
    names = {path.stem for path in (run / "pictures").iterdir()}
    assert {"train_samples", "test_worst", "test_confusion", "val_worst"} <= names
    with Image.open(run / "pictures" / "test_worst.png") as sheet:
        assert sheet.width > 4 * 240  # 120 pixels twice as large
    with (run / "per_image" / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"mIoU", "pixel_accuracy", "boundary_F", "loss"} <= rows[0].keys()


def test_the_net_is_rebuilt_with_its_losses(run):
    loaded = load(run)
    assert {name: loss.weight for name, loss in loaded.task.criteria.items()} == {"cross_entropy": 1, "lovasz": 0.5}
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    (found,) = loaded.predict([image])
    with torch.inference_mode():
        logits = loaded.task.net(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    assert torch.equal(found["mask"], logits[0].argmax(0).byte())


@pytest.mark.slow
def test_weights_and_biases_gets_the_masks(twins):
    words = ["--trainer.logger", "true", "--trainer.max_epochs", "1"]
    assert wait_for(in_child(lambda: fit(twins("camvid", 12), Path(), *words)), 120) == 0
    kept = list(Path("masks/0/wandb").rglob("media/images/mask/**/*.mask.png"))
    assert len(kept) >= 4
    assert set(np.unique(np.asarray(Image.open(kept[0])))) <= {*range(11), 255}


BAD = {
    "colours": (Image.fromarray(np.zeros((90, 120, 3), np.uint8)), r"is of mode RGB with 8 bits"),
    "deep": (Image.fromarray(np.zeros((90, 120), np.uint16)), r"is of mode grey with 16 bits"),
    "label": (Image.fromarray(np.full((90, 120), 12, np.uint8)), r"has a pixel of 12"),
    "size": (Image.fromarray(np.zeros((80, 120), np.uint8)), "is 120 x 90 pixels, but its mask 120 x 80 pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_mask_stops_the_run_in_a_line_that_names_the_file(name, twins, capsys):
    shutil.copytree(twins("camvid", 12), "data")
    mask, message = BAD[name]
    path = sorted(Path("data/CamVid/trainannot").iterdir())[0]
    mask.save(path)
    assert fit(Path("data").resolve()) == 2
    error = capsys.readouterr().err
    assert path.name in error
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_void_masks_and_classes_that_are_never_seen_do_no_harm(twins):
    shutil.copytree(twins("camvid", 12), "data")
    for folder in ("trainannot", "valannot", "testannot"):
        for path in sorted(Path("data/CamVid", folder).iterdir()):
            mask = np.array(Image.open(path))
            mask[mask == 4] = 11
            Image.fromarray(mask).save(path)
        Image.fromarray(np.full_like(mask, 11)).save(path)
    assert fit(Path("data").resolve()) == 0
    results = json.loads(Path("masks/0/results/test.json").read_text())
    assert np.isfinite(list(results.values())).all()
    with Path("masks/0/results/test_per_class.csv").open(newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert rows["pavement"]["camvid11/accuracy_per_class"] == "nan"
