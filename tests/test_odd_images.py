"""A run over images and boxes of the oddest sizes, with everything on the way: loading, augmentation, the net, the
metrics, the files and the pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import in_processes
from visionlab.cli import main

RECIPE = """
model:
  class_path: visionlab.tasks.detection.Detection
  init_args:
    net: {class_path: tiny_detectors.TinyDetector, init_args: {kind: KIND, score_thresh: 0.01}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.001}}
data:
  class_path: visionlab.data.coco_format.COCOFormatDetection
  init_args:
    root: odd
    batch_size: 2
    num_workers: 0
    train_transform: {class_path: visionlab.data.presets.detection_train}
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
"""

SIZES = [(1, 1), (1, 5000), (5000, 1), (60, 80), (60, 80), (60, 80), (60, 80), (40, 40)]
BOXES = {
    0: [[0, 0, 1, 1]],
    1: [[0, 0, 5000, 1], [17, 0, 1, 1]],
    2: [[0, 0, 1, 5000]],
    3: [[79, 59, 1, 1], [0, 0, 80, 60]],
    4: [[10, 10, 30, 0], [10, 10, 30, 30]],
}
"""Left, top, width and height, by image; the last three images, a batch and more, have none."""


@pytest.fixture
def odd():
    """A data set in COCO's format, the same images to train, validate and test on."""
    generator = np.random.default_rng(0)
    images, annotations = [], []
    for i, (height, width) in enumerate(SIZES):
        images.append({"id": i + 1, "file_name": f"{i}.png", "height": height, "width": width})
        for box in BOXES.get(i, []):
            one = {"id": len(annotations) + 1, "image_id": i + 1, "category_id": 1 + i % 2, "bbox": box, "iscrowd": 0}
            annotations.append({**one, "area": box[2] * box[3]})
        for split in ("train", "val"):
            Path("odd", split).mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 255, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(f"odd/{split}/{i}.png")
    categories = [{"id": 1, "name": "dot"}, {"id": 2, "name": "line"}]
    Path("odd/annotations").mkdir()
    for split in ("train", "val"):
        content = {"images": images, "annotations": annotations, "categories": categories}
        Path(f"odd/annotations/{split}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "kind", ["SSD", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("Faster R-CNN", "RetinaNet", "FCOS"))]
)
def test_odd_images_are_learnt_from_tested_and_drawn(odd, kind):
    Path("odd.yaml").write_text(RECIPE.replace("KIND", kind))
    assert main(["fit", "--config", "odd.yaml"]) == 0
    run = Path("runs/odd/0")
    results = json.loads((run / "results" / "test.json").read_text())
    assert torch.tensor([value for name, value in results.items() if name.count("/") == 1]).isfinite().all()
    assert 0 <= results["test/coco_box/AP"] <= 1
    found = json.loads((run / "predictions" / "test" / "bbox.json").read_text())
    assert found
    for row in found:
        left, top, width, height = row["bbox"]
        rows, columns = SIZES[row["image_id"] - 1]
        assert min(left, top, width, height) >= 0
        assert left + width <= columns + 1e-3
        assert top + height <= rows + 1e-3
    assert {"train_samples", "test_worst"} <= {path.stem for path in (run / "pictures").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Faster R-CNN", "RetinaNet"])
def test_two_processes_learn_together_though_one_sees_no_object(odd, kind):
    Path("odd.yaml").write_text(RECIPE.replace("KIND", kind).replace("max_epochs: 1", "max_epochs: 2"))
    both = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.init_args.batch_size", "1"]
    assert in_processes(lambda: main(["fit", "--config", "odd.yaml", *both]), 2) == [0, 0]
    weights = torch.load("runs/odd/0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in weights.values())


def test_an_unknown_category_is_told_before_the_run(odd, capsys):
    path = Path("odd/annotations/val.json")
    content = json.loads(path.read_text())
    content["annotations"][3]["category_id"] = 7
    path.write_text(json.dumps(content))
    Path("odd.yaml").write_text(RECIPE.replace("KIND", "SSD"))
    assert main(["fit", "--config", "odd.yaml"]) == 2
    assert "7" in capsys.readouterr().err
    assert list(Path("runs").glob("*/*")) == []
