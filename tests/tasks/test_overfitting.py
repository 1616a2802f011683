"""Detectors learn a few images by heart, scored by COCO's own code from the files that are written of a run."""

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from small_detectors import SmallFasterRCNN, SmallKeypointRCNN, SmallMaskRCNN, SmallRetinaNet, SmallSSD
from visionlab.batch import to_unit
from visionlab.data import collate
from visionlab.data.coco import COCOInstances, COCOKeypoints
from visionlab.data.predictions import write_coco
from visionlab.data.voc import VOCDetection
from visionlab.metrics.coco import BoxAP, KeypointAP, MaskAP
from visionlab.tasks.detection import Detection


def learn(net, num_classes, batch, steps, rate=2e-3):
    """A task that has seen the batch so many times."""
    torch.manual_seed(0)
    task = Detection(num_classes, net, lambda parameters: torch.optim.AdamW(parameters, rate))
    optimizer = task.make_optimizer(task.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(task.step(batch).losses.values()).backward()
        nn.utils.clip_grad_norm_(task.parameters(), 10)
        optimizer.step()
        schedule.step()
    return task.eval()


def batch_of(split, places):
    batch = collate.detection([split.sample(i) for i in places], np.array(places))
    return {**batch, "images": [to_unit(image, torch.float32) for image in batch["images"]]}


def write_results(task, batch, data, split, metrics):
    """Write the files of what the task finds in a batch."""
    with torch.no_grad():
        found = task.step(batch).predict()
    for metric in metrics:
        metric.update(found, batch)
        metric.compute()
    write_coco(data.root, [metric.found for metric in metrics], [split.name(i) for i in batch["ids"]], data.label_map)


def ap50(truth, results, kind, names=()):
    scored = COCOeval(truth, truth.loadRes(str(results)), kind)
    if names:
        scored.params.imgIds = names
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return scored.stats[1]


def as_coco(split, data, places):
    """The boxes of some images in COCO's format."""
    ids = [entry["id"] for entry in data.label_map]
    rows = []
    for place in places:
        objects = split.records.annotations(place)["objects"]
        for (left, top, right, bottom), label in zip(
            objects["boxes"].tolist(), objects["labels"].tolist(), strict=True
        ):
            width, height = right - left, bottom - top
            row = {"id": len(rows) + 1, "image_id": split.name(place), "category_id": ids[label]}
            rows.append({**row, "bbox": [left, top, width, height], "area": width * height, "iscrowd": 0})
    truth = COCO()
    images = [{"id": split.name(place)} for place in places]
    truth.dataset = {"images": images, "categories": [{"id": one} for one in ids], "annotations": rows}
    truth.createIndex()
    return truth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "steps"), [(SmallFasterRCNN, 120), (SmallRetinaNet, 120), (SmallSSD, 120)], ids=["faster", "retina", "ssd"]
)
def test_boxes_of_eight_photographs(net, steps, shared_data, tmp_path):
    data = VOCDetection(str(shared_data / "voc"), 8, train_sets=["2012/train"])
    split = data.dataset("train")
    data.root = tmp_path
    batch = batch_of(split, range(8))
    task = learn(net, 20, batch, steps)
    write_results(task, batch, data, split, [BoxAP(20)])
    assert ap50(as_coco(split, data, range(8)), tmp_path / "bbox.json", "bbox") >= 0.9


def few_and_large(split):
    """The first four images of few objects, none of them small, and no crowd: what a small net at a small size can
    see.
    """
    chosen = []
    for place, (height, width) in enumerate(split.records.sizes().tolist()):
        objects = split.records.annotations(place)["objects"]
        labelled = (objects["keypoints"][..., 2] > 0).sum(1) if "keypoints" in objects else np.full(1, 17)
        if 1 <= len(objects["labels"]) <= 4 and objects["area"].min() > height * width / 50 and labelled.min() >= 5:
            chosen += [place] if not objects["crowd"].any() else []
    return chosen[:4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "net", "metrics", "kind", "steps"),
    [
        (COCOInstances, SmallMaskRCNN, (BoxAP, MaskAP), "segm", 150),
        (COCOKeypoints, SmallKeypointRCNN, (BoxAP, KeypointAP), "keypoints", 150),
    ],
    ids=["mask", "keypoint"],
)
def test_masks_and_keypoints_of_four_photographs(module, net, metrics, kind, steps, shared_data, tmp_path):
    data = module(str(shared_data / "coco"), 4)
    split = data.dataset("train")
    data.root = tmp_path
    places = few_and_large(split)
    batch = batch_of(split, places)
    task = learn(net, data.num_classes, batch, steps)
    write_results(task, batch, data, split, [metric(data.num_classes) for metric in metrics])
    name = "instances" if kind == "segm" else "person_keypoints"
    truth = COCO(str(shared_data / "coco" / "annotations" / f"{name}_train2017.json"))
    assert ap50(truth, tmp_path / f"{kind}.json", kind, [int(split.name(place)) for place in places]) >= 0.7
