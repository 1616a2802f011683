"""A detector learns a few images by heart, scored by COCO's own code."""

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from visionlab.data import collate
from visionlab.data.voc import VOCDetection
from visionlab.nets.detection import losses_and_detections
from visionlab.tasks.detection import Detection


def block(inputs, outputs, stride):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU())


class Backbone(nn.Sequential):
    out_channels = 96

    def __init__(self):
        super().__init__(block(3, 24, 2), block(24, 48, 2), block(48, 96, 2), block(96, 96, 1), block(96, 96, 1))


class SmallFasterRCNN(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.net = FasterRCNN(
            Backbone(),
            min_size=128,
            max_size=160,
            rpn_anchor_generator=AnchorGenerator(((16, 32, 64, 100),), ((0.5, 1.0, 2.0),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
            box_head=TwoMLPHead(96 * 49, 256),
            box_predictor=FastRCNNPredictor(256, num_classes + 1),
            rpn_post_nms_top_n_train=200,
            rpn_post_nms_top_n_test=200,
            box_batch_size_per_image=64,
        )

    def forward(self, images, targets=None):
        return losses_and_detections(self.net, images, targets)


def box_ap50(found, targets):
    def xywh(box):
        left, top, right, bottom = box
        return [left, top, right - left, bottom - top]

    truth, results = [], []
    for i, (one, target) in enumerate(zip(found, targets, strict=True)):
        for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
            more = {"id": len(truth) + 1, "area": xywh(box)[2] * xywh(box)[3], "iscrowd": 0}
            truth.append({"image_id": i, "category_id": label, "bbox": xywh(box), **more})
        for box, label, score in zip(*(one[name].tolist() for name in ("boxes", "labels", "scores")), strict=True):
            results.append({"image_id": i, "category_id": label, "bbox": xywh(box), "score": score})
    gt = COCO()
    categories = [{"id": label} for label in range(20)]
    gt.dataset = {"images": [{"id": i} for i in range(len(found))], "categories": categories, "annotations": truth}
    gt.createIndex()
    scored = COCOeval(gt, gt.loadRes(results), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return scored.stats[1]


@pytest.mark.slow
def test_faster_rcnn_learns_eight_images_by_heart(twins):
    torch.manual_seed(0)
    split = VOCDetection(str(twins("voc")), 1).dataset("train")
    samples = [sample for sample in map(split.sample, range(len(split))) if len(sample["objects"]["boxes"]) > 0][:8]
    batch = collate.detection(samples, torch.arange(8).numpy())
    batch["images"] = [image.float() / 255 for image in batch["images"]]
    task = Detection(20, SmallFasterRCNN, lambda parameters: torch.optim.AdamW(parameters, 1e-3))
    optimizer = task.make_optimizer(task.parameters())
    steps = 120
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack(list(task.step(batch).losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(task.parameters(), 10)
        optimizer.step()
        schedule.step()
    task.eval()
    with torch.no_grad():
        found = task.step(batch).predict()
    assert box_ap50(found, batch["targets"]) >= 0.9
