"""``visionlab predict`` and the pictures of a run that detects objects."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionlab.cli import main
from visionlab.load import load

RECIPE = """
model:
  class_path: visionlab.tasks.detection.Detection
  init_args:
    net: {class_path: tiny_detectors.TinyDetector, init_args: {score_thresh: 0.01}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.001}}
data:
  class_path: visionlab.data.voc.VOCDetection
  init_args:
    root: ROOT
    batch_size: 2
    num_workers: 0
    train_transform: {class_path: visionlab.data.presets.detection_train}
trainer:
  max_steps: 2
  accelerator: cpu
  logger: false
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
"""


@pytest.fixture(scope="module")
def trained(twins, tmp_path_factory):
    folder = tmp_path_factory.mktemp("detected")
    (folder / "boxes.yaml").write_text(RECIPE.replace("ROOT", str(twins("voc"))))
    assert main(["fit", "--config", str(folder / "boxes.yaml"), "--runs", str(folder)]) == 0
    return folder / "boxes" / "0"


@pytest.fixture
def run(trained):
    shutil.copytree(trained, "run")
    return Path("run")


@pytest.fixture
def images():
    """Pictures of three sizes."""
    rng = np.random.default_rng(0)
    folder = Path("images")
    folder.mkdir()
    for name, size in {"a": (40, 60), "b": (90, 30), "c": (1, 200)}.items():
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(folder / f"{name}.png")
    return folder


def rows(folder):
    with (Path(folder) / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_writes_the_boxes_of_the_net_itself_in_the_pixels_of_each_image(run, images, capsys):
    assert main(["predict", str(run), str(images), "--output", "out"]) == 0
    assert "3 of 3 images predicted into out" in capsys.readouterr().out
    loaded, table = load(run), rows("out")
    total = 0
    for path in sorted(images.iterdir()):
        pixels = torch.from_numpy(np.array(Image.open(path)))
        with torch.no_grad():
            (found,) = loaded.task.net([pixels.permute(2, 0, 1) / 255])[1]()
        mine = [row for row in table if row["image"] == str(path)]
        total += len(mine)
        assert [row["class"] for row in mine] == [loaded.class_names[label] for label in found["labels"]]
        scores = [float(row["score"]) for row in mine]
        assert scores == pytest.approx(found["scores"].tolist(), abs=2e-6)
        assert scores == sorted(scores, reverse=True)
        boxes = [[float(row[side]) for side in ("left", "top", "right", "bottom")] for row in mine]
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), found["boxes"], atol=0.006)
    assert total == len(table) > 0
    assert Image.open("out/predictions_0.png").width > 384


def test_a_bad_file_is_reported_after_the_others_were_predicted(run, images, capsys):
    (images / "b2.png").write_bytes(b"no picture")
    assert main(["predict", str(run), str(images), "--output", "out"]) == 2
    assert "b2.png" in capsys.readouterr().err
    assert {Path(row["image"]).name for row in rows("out")} <= {"a.png", "b.png", "c.png"}


def test_a_run_leaves_pictures_of_its_worst_images_and_of_what_it_trained_on(run):
    names = {path.stem for path in (run / "pictures").iterdir()}
    assert {"train_samples", "test_worst"} <= names
    with (run / "per_image" / "test.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) > 0
