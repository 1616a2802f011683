"""Detections of other projects' tests, with the numbers that these projects expect."""

import json

import numpy as np
import pytest
import torch

from visionlab.metrics.coco import BoxAP
from visionlab.metrics.coco_evaluation import KEYPOINTS, Found, Truth, evaluate
from visionlab.metrics.keypoints import keypoint_overlap
from visionlab.metrics.precision_recall import monotone_area
from visionlab.metrics.voc import VOCAP


def tensors(boxes, labels, scores=None, **flags):
    """One image's objects."""
    one = {"boxes": torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4), "labels": torch.tensor(labels).long()}
    if scores is not None:
        one["scores"] = torch.tensor(scores, dtype=torch.float64)
    return {**one, **{name: torch.tensor(values, dtype=torch.bool) for name, values in flags.items()}}


def evaluated(metric, found, targets):
    metric.update(found, {"images": [], "targets": targets, "ids": torch.arange(len(targets))})
    return metric.compute()


@pytest.mark.parametrize("case", ["_inputs", "_inputs2", "_inputs3"])
def test_torchmetrics_inputs(shared_data, case):
    content = json.loads((shared_data / "vectors" / "torchmetrics" / "map_inputs.json").read_text())
    found, targets = (
        [tensors(**image) for images in content["inputs"][case][side] for image in images]
        for side in ("preds", "target")
    )
    metrics = evaluated(BoxAP(100), found, targets)
    for name, expected in content["computed_here_with_pycocotools_2"][case].items():
        value = float(metrics[name])
        assert (-1 if np.isnan(value) else value) == pytest.approx(expected, abs=1e-12), name


def test_tensorflows_evaluation_of_pascal(shared_data):
    file = shared_data / "vectors" / "openimages_eval" / "tf_object_detection_vectors.json"
    content = json.loads(file.read_text())
    case = content["cases"][3]
    found, targets = [], []
    boxes_of = {one["image"]: one for one in case["dt"]}
    for truth in case["gt"]:
        nothing = {"boxes": [], "classes": [], "scores": []}
        dt = boxes_of.get(truth["image"], nothing)
        found.append(tensors(dt["boxes"], [c - 1 for c in dt["classes"]], dt["scores"]))
        difficult = truth.get("difficult", [False] * len(truth["classes"]))
        targets.append(tensors(truth["boxes"], [c - 1 for c in truth["classes"]], difficult=difficult))
    metrics = evaluated(VOCAP(len(content["categories"]), monotone_area), found, targets)
    values = dict(zip(content["categories"].values(), metrics["average_precision_per_class"].tolist(), strict=True))
    for name, expected in case["expected"].items():
        mine = float(metrics["mAP"]) if name == "mAP" else values[name.removeprefix("AP/")]
        assert mine == pytest.approx(expected, abs=1e-7), name


def test_the_fourteen_keypoints_of_crowdpose(shared_data):
    """Its areas are 0.53 of the boxes (``cocoeval.py`` of CrowdPose's API), and all sizes count."""
    folder = shared_data / "vectors" / "keypoints_oks"
    truth = json.loads((folder / "example_crowdpose_val.json").read_text())
    rows = json.loads((folder / "example_crowdpose_preds.json").read_text())
    case = json.loads((folder / "expected.json").read_text())["cases"][1]
    objects = truth["annotations"]
    places = {image: i for i, image in enumerate(sorted(one["id"] for one in truth["images"]))}

    def columns(some):
        images = np.array([places[one["image_id"]] for one in some])
        return images, np.zeros(len(some), np.int64), np.array([one["keypoints"] for one in some], float)

    images, labels, keypoints = columns(objects)
    found_images, found_labels, found_keypoints = columns(rows)
    boxes = np.array([one["bbox"] for one in objects], float)
    areas = boxes[:, 2:].prod(axis=1) * 0.53
    crowd = np.array([bool(one["iscrowd"]) for one in objects])
    keypoints, found_keypoints = keypoints.reshape(-1, 14, 3), found_keypoints.reshape(-1, 14, 3)
    scores = np.array([row["score"] for row in rows])
    evaluation = evaluate(
        Found(found_images, found_labels, scores, np.full(len(rows), 1e4)),
        Truth(images, labels, areas, crowd, crowd | ~(keypoints[..., 2] > 0).any(axis=1)),
        keypoint_overlap(found_keypoints, keypoints, areas, boxes, np.array(case["sigmas_times_10"]) / 10),
        1,
        KEYPOINTS,
    )
    metrics = evaluation.official()
    for name, theirs in {"AP": "AP_all", "AP50": "AP_50", "AP75": "AP_75", "AR": "AR_all", "AR75": "AR_75"}.items():
        assert metrics[name] == pytest.approx(case["expected"][theirs], abs=1e-12), name
