"""Pictures of objects: the worst images first, and in W&B with boxes and masks of their own."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import in_child, wait_for
from visionlab.callbacks.object_pictures import IMAGES, worst_first
from visionlab.cli import main
from visionlab.data.coco import COCOInstances
from wandb_files import history

RECIPE = """
model:
  class_path: visionlab.tasks.detection.Detection
  init_args:
    net: {class_path: tiny_detectors.NearTruth}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.001}}
data:
  class_path: visionlab.data.coco.COCOInstances
  init_args: {root: ROOT, batch_size: 3, num_workers: 0}
trainer:
  max_steps: 1
  limit_val_batches: 1
  accelerator: cpu
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
"""


def test_the_worst_are_those_of_the_least_score_then_of_the_largest_loss():
    loss = torch.tensor([1.0, 2, 3, 4, 5, 6])
    box = torch.tensor([0.5, 0, 0, torch.nan, torch.nan, 0.1], dtype=torch.float64)
    mask = torch.tensor([0.1, 0, 0, torch.nan, torch.nan, 0.3], dtype=torch.float64)
    assert worst_first({"loss": loss, "box_score": box}).tolist() == [2, 1, 5, 0, 4, 3]
    assert worst_first({"loss": loss, "box_score": box, "mask_score": mask}).tolist() == [2, 1, 5, 0, 4, 3]
    assert worst_first({"loss": loss, "mask_score": mask}).tolist() == [2, 1, 0, 5, 4, 3]
    assert worst_first({"loss": loss}).tolist() == [5, 4, 3, 2, 1, 0]


@pytest.fixture
def run(twins):
    """A run that W&B recorded, in a process of its own."""
    Path("boxes.yaml").write_text(RECIPE.replace("ROOT", str(twins("coco"))))
    assert wait_for(in_child(lambda: main(["fit", "--config", "boxes.yaml"])), 120) == 0
    return Path("runs/boxes/0")


def test_wandb_gets_the_worst_images_with_the_boxes_and_masks_that_are_true_and_found(run, twins):
    (row,) = [row for row in history(run) if any(name.startswith("pictures/test_worst_objects") for name in row)]
    sent = {name.removeprefix("pictures/test_worst_objects."): value for name, value in row.items()}
    with (run / "per_image" / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    both = {one["id"]: (float(one["box_score"]) + float(one["mask_score"])) / 2 for one in rows}
    worst = sorted(both, key=lambda name: (np.isnan(both[name]), both[name]))[:IMAGES]
    assert sent["_type"] == "images/separated"
    assert sent["count"] == len(worst) == len(sent["all_boxes"]) == len(sent["all_masks"])

    (files,) = run.glob("wandb/*run-*/files")
    data = COCOInstances(str(twins("coco")), 1, num_workers=0)
    split = data.dataset("test")
    found = json.loads((run / "predictions" / "test" / "bbox.json").read_text())
    label_of = {entry["id"]: entry["index"] for entry in data.label_map}
    index = {split.name(i): i for i in range(len(split))}
    for name, boxes, masks, image in zip(worst, sent["all_boxes"], sent["all_masks"], sent["filenames"], strict=True):
        sample = split.sample(index[name])
        np.testing.assert_array_equal(np.asarray(Image.open(files / image)), sample["image"])
        truth = boxes_in(files / boxes["truth"]["path"])
        np.testing.assert_array_equal(truth[:, :4], sample["objects"]["boxes"].astype(np.float32))
        assert truth[:, 4].tolist() == sample["objects"]["labels"].tolist()
        mine = [one for one in found if str(one["image_id"]) == name]
        drawn = boxes_in(files / boxes["found"]["path"])
        expected = np.array([one["bbox"] for one in mine]).reshape(-1, 4)
        expected[:, 2:] += expected[:, :2]
        np.testing.assert_allclose(drawn[:, :4], expected, rtol=1e-6)
        assert drawn[:, 4].tolist() == [label_of[one["category_id"]] for one in mine]
        assert drawn[:, 5].tolist() == [one["score"] for one in mine]
        mask = np.asarray(Image.open(files / masks["truth"]["path"]))
        inside = sample["objects"]["masks"].any(axis=0) if len(truth) else np.zeros(mask.shape, bool)
        np.testing.assert_array_equal(mask > 0, inside)


def boxes_in(path):
    """``(n, 6)``: the sides, the label and the score, or 0, of each box in a file of W&B."""
    rows = []
    for one in json.loads(path.read_text())["box_data"]:
        assert one["domain"] == "pixel"
        sides = [one["position"][side] for side in ("minX", "minY", "maxX", "maxY")]
        rows.append([*sides, one["class_id"], one.get("scores", {"score": 0})["score"]])
    return np.array(rows, dtype=float).reshape(-1, 6)
