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

STEPS = 120
RATE = 2e-3


def learn(net, num_classes, batch):
    """A task that was trained on one batch, in evaluation mode."""
    torch.manual_seed(0)
    task = Detection(num_classes, net, lambda parameters: torch.optim.AdamW(parameters, RATE))
    optimizer = task.make_optimizer(task.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        sum(task.step(batch).losses.values()).backward()
        nn.utils.clip_grad_norm_(task.parameters(), 10)
        optimizer.step()
        schedule.step()
    return task.eval()


def batch_of(split, places):
    batch = collate.detection([split.sample(i) for i in places], np.array(places))
    return {**batch, "images": [to_unit(image, torch.float32) for image in batch["images"]]}


def write_results(task, batch, data, split, metrics, folder):
    """Write the files of what the task finds in a batch."""
    with torch.no_grad():
        found = task.step(batch).predict()
    for metric in metrics:
        metric.update(found, batch)
        metric.compute()
    names = [split.name(place) for place in batch["ids"].tolist()]
    write_coco(folder, [metric.found for metric in metrics], names, data.label_map)


def ap50(truth, results, kind, images=None):
    scored = COCOeval(truth, truth.loadRes(str(results)), kind)
    if images is not None:
        scored.params.imgIds = images
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


def boxes_by_heart(net, data, folder):
    split = data.dataset("train")
    batch = batch_of(split, range(8))
    task = learn(net, 20, batch)
    write_results(task, batch, data, split, [BoxAP(20)], folder)
    return ap50(as_coco(split, data, range(8)), folder / "bbox.json", "bbox")


@pytest.mark.slow
def test_boxes_of_eight_drawn_images(twins, tmp_path):
    data = VOCDetection(str(twins("voc")), 8, train_sets=["2012/train"])
    assert boxes_by_heart(SmallFasterRCNN, data, tmp_path) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("net", [SmallFasterRCNN, SmallRetinaNet, SmallSSD])
def test_boxes_of_eight_photographs(net, shared_data, tmp_path):
    data = VOCDetection(str(shared_data / "voc"), 8, train_sets=["2012/train"])
    assert boxes_by_heart(net, data, tmp_path) >= 0.9


def few_and_large(split):
    """The first four images with at most four objects, none of them small or a crowd, and of people all with five
    keypoints or more: what a small net can see.
    """
    chosen = []
    for place, (height, width) in enumerate(split.records.sizes().tolist()):
        objects = split.records.annotations(place)["objects"]
        seen = (objects["area"] > height * width / 50) & ~objects["crowd"]
        if "keypoints" in objects:
            seen &= (objects["keypoints"][..., 2] > 0).sum(1) >= 5
        if 1 <= len(seen) <= 4 and seen.all():
            chosen.append(place)
    return chosen[:4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "net", "metrics", "kind", "annotations"),
    [
        (COCOInstances, SmallMaskRCNN, (BoxAP, MaskAP), "segm", "instances"),
        (COCOKeypoints, SmallKeypointRCNN, (BoxAP, KeypointAP), "keypoints", "person_keypoints"),
    ],
)
def test_masks_and_keypoints_of_four_photographs(module, net, metrics, kind, annotations, shared_data, tmp_path):
    data = module(str(shared_data / "coco"), 4)
    split = data.dataset("train")
    batch = batch_of(split, few_and_large(split))
    task = learn(net, data.num_classes, batch)
    write_results(task, batch, data, split, [metric(data.num_classes) for metric in metrics], tmp_path)
    truth = COCO(str(shared_data / "coco" / "annotations" / f"{annotations}_train2017.json"))
    images = [int(split.name(place)) for place in batch["ids"].tolist()]
    assert ap50(truth, tmp_path / f"{kind}.json", kind, images) >= 0.7
