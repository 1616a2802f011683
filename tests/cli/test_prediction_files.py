"""The files of detections that a run leaves have its metrics, by the official code or read back, at any number of
processes."""

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from conftest import in_processes
from visionlab.cli import main
from visionlab.data import predictions as files
from visionlab.data.openimages import OpenImagesDetection
from visionlab.data.voc import VOCDetection

RECIPE = """
model:
  class_path: visionlab.tasks.detection.Detection
  init_args:
    net: {class_path: tiny_detectors.NearTruth}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.001}}
data:
  class_path: visionlab.data.DATA
  init_args: {root: ROOT, batch_size: 3, num_workers: 0}
trainer:
  max_steps: 1
  limit_val_batches: 1
  accelerator: cpu
  devices: 1
  logger: false
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
"""


@pytest.fixture
def fit(twins):
    """Train for a step and test; gives the run folder and the root of its data."""

    def run(data, twin):
        root = twins(twin)
        Path("boxes.yaml").write_text(RECIPE.replace("DATA", data).replace("ROOT", str(root)))
        assert main(["fit", "--config", "boxes.yaml"]) == 0
        return Path("runs/boxes/0"), root

    return run


def results(run, stage="test"):
    return json.loads((run / "results" / f"{stage}.json").read_text())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def official(annotations, path, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        evaluation = COCOeval(truth, truth.loadRes(str(path)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def scored(data, found):
    """The metrics of what was read back, on the test split."""
    metrics = data.metrics()
    data.setup("test")
    dataset = data.datasets["test"]
    for batch in data.test_dataloader():
        some = [found.get(dataset.name(i), files.nothing_found()) for i in batch["ids"].tolist()]
        for metric in metrics.values():
            metric.update(some, batch)
    every = {f"test/{p}/{name}": value for p, metric in metrics.items() for name, value in metric.compute().items()}
    return {name: float(value) for name, value in every.items() if value.ndim == 0}


@pytest.mark.parametrize(
    ("data", "annotations", "kinds"),
    [
        ("coco.COCODetection", "instances", {"bbox": "coco_box"}),
        ("coco.COCOInstances", "instances", {"bbox": "coco_box", "segm": "coco_mask"}),
        ("coco.COCOKeypoints", "person_keypoints", {"keypoints": "coco_keypoint"}),
    ],
)
def test_pycocotools_gives_a_cocos_run_its_numbers(fit, data, annotations, kinds):
    run, root = fit(data, "coco")
    numbers = results(run)
    for kind, protocol in kinds.items():
        mine = [-1 if v is None else v for name, v in numbers.items() if name.startswith(f"test/{protocol}/")]
        stats = official(
            root / "annotations" / f"{annotations}_val2017.json", run / f"predictions/test/{kind}.json", kind
        )
        np.testing.assert_allclose(mine[: len(stats)], stats, rtol=0, atol=1e-12)
        assert 0.1 < mine[0] < 1


def test_vocs_files_read_back_have_the_numbers_of_the_run(fit):
    run, root = fit("voc.VOCDetection", "voc")
    data = VOCDetection(str(root), batch_size=5, num_workers=0)
    found = files.read_voc(run / "predictions" / "test", data.label_map, "test")
    numbers = results(run)
    assert scored(data, found).items() <= numbers.items()
    assert 0.1 < numbers["test/voc07_11pt/mAP"] < 1


def test_open_images_files_read_back_have_the_numbers_of_the_run(fit):
    run, root = fit("openimages.OpenImagesDetection", "openimages")
    data = OpenImagesDetection(str(root), batch_size=5, num_workers=0)
    data.setup("test")
    dataset = data.datasets["test"]
    sizes = {dataset.name(i): dataset.image(i).shape[:2] for i in range(len(dataset))}
    found = files.read_openimages(run / "predictions" / "test" / "boxes.csv", data.label_map, sizes)
    numbers = results(run)
    assert scored(data, found).items() <= numbers.items()
    assert 0.1 < numbers["test/v2/mAP"] < 1


def test_files_are_written_by_test_and_validate_and_not_while_training(fit):
    run, _ = fit("coco.COCOInstances", "coco")
    before = contents(run / "predictions" / "test")
    assert before.keys() == {"bbox.json", "segm.json"}
    assert {path.name for path in (run / "predictions").iterdir()} == {"test"}
    shutil.rmtree(run / "predictions")
    numbers = results(run)
    assert main(["test", str(run)]) == 0
    assert contents(run / "predictions" / "test") == before
    assert results(run) == numbers
    assert main(["validate", str(run), "--trainer.limit_val_batches", "1.0"]) == 0
    assert contents(run / "predictions" / "val").keys() == before.keys()


@pytest.mark.parametrize("world", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_any_number_of_processes_writes_the_same_files(fit, world):
    run, _ = fit("coco.COCOInstances", "coco")
    before, numbers = contents(run / "predictions" / "test"), results(run)
    shutil.rmtree(run / "predictions")
    shared = ["--trainer.devices", str(world), "--trainer.strategy", "ddp", "--data.init_args.batch_size", "2"]
    assert in_processes(lambda: main(["test", str(run), *shared]), world) == [0] * world
    assert contents(run / "predictions" / "test") == before
    after = results(run)
    assert {name: value for name, value in after.items() if "coco" in name} == {
        name: value for name, value in numbers.items() if "coco" in name
    }


def test_prediction_writes_them_by_the_names_of_files_without_the_data_set(twins):
    shutil.copytree(twins("openimages"), "there")
    text = RECIPE.replace("DATA", "openimages.OpenImagesDetection").replace("ROOT", "there")
    net = "{class_path: tiny_detectors.TinyDetector, init_args: {score_thresh: 0.01}}"
    Path("boxes.yaml").write_text(text.replace("{class_path: tiny_detectors.NearTruth}", net))
    assert main(["fit", "--config", "boxes.yaml"]) == 0
    shutil.rmtree("there")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save("000a1249af2bc5f0.png")
    assert main(["predict", "runs/boxes/0", "000a1249af2bc5f0.png", "--output", "out"]) == 0
    with Path("out/predictions.csv").open(newline="") as table, Path("out/boxes.csv").open(newline="") as boxes:
        mine, official_rows = list(csv.DictReader(table)), list(csv.DictReader(boxes))
    assert {row["ImageID"] for row in official_rows} == {"000a1249af2bc5f0"}
    assert len(mine) == len(official_rows) > 0
    for one, other in zip(mine, official_rows, strict=True):
        assert float(one["left"]) == pytest.approx(float(other["XMin"]) * 60, abs=0.006)
        assert float(one["bottom"]) == pytest.approx(float(other["YMax"]) * 40, abs=0.006)
        assert other["LabelName"].startswith("/m/")
