"""Torchvision's detectors over one convolution, each made in milliseconds."""

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from visionlab.nets.detection import float32_outputs, losses_and_detections


class Backbone(nn.Sequential):
    """With all that a mode changes: BatchNorm's statistics and Dropout's randomness."""

    out_channels = 32

    def __init__(self):
        super().__init__(nn.Conv2d(3, 32, 8, stride=8), nn.BatchNorm2d(32), nn.ReLU(), nn.Dropout(0.1))


def two_stages(kind, outputs, **parts):
    settings = {
        "min_size": 64,
        "max_size": 96,
        "rpn_anchor_generator": AnchorGenerator(((8, 16, 32),), ((0.5, 1.0, 2.0),)),
        "box_roi_pool": MultiScaleRoIAlign(["0"], 7, 2),
        "box_head": TwoMLPHead(32 * 49, 1024),
    }
    return kind(Backbone(), outputs, **{**settings, **parts})


def faster_rcnn(classes, **options):
    return two_stages(FasterRCNN, classes + 1, **options)


def mask_rcnn(classes, **options):
    parts = {
        "mask_roi_pool": MultiScaleRoIAlign(["0"], 14, 2),
        "mask_head": MaskRCNNHeads(32, (256,), 1),
    }
    return two_stages(MaskRCNN, classes + 1, **parts, **options)


def keypoint_rcnn(classes, **options):
    parts = {
        "keypoint_roi_pool": MultiScaleRoIAlign(["0"], 14, 2),
        "keypoint_head": KeypointRCNNHeads(32, (16,)),
        "keypoint_predictor": KeypointRCNNPredictor(16, 17),
    }
    return two_stages(KeypointRCNN, classes + 1, **parts, **options)


def retinanet(classes, **options):
    anchors = AnchorGenerator(((8, 16, 32),), ((0.5, 1.0, 2.0),))
    return RetinaNet(Backbone(), classes, anchor_generator=anchors, min_size=64, max_size=96, **options)


def fcos(classes, **options):
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    return FCOS(Backbone(), classes, anchor_generator=anchors, min_size=64, max_size=96, **options)


class Maps(Backbone):
    out_channels = (32,)


def ssd(classes, **options):
    boxes = DefaultBoxGenerator([[2]], scales=[0.2, 0.5])
    return SSD(Maps(), boxes, (64, 64), classes + 1, **options)


TINY = {
    "Faster R-CNN": faster_rcnn,
    "Mask R-CNN": mask_rcnn,
    "Keypoint R-CNN": keypoint_rcnn,
    "RetinaNet": retinanet,
    "FCOS": fcos,
    "SSD": ssd,
}


class TinyDetector(nn.Module):
    """A net for recipes."""

    def __init__(self, num_classes: int, kind: str = "Faster R-CNN", score_thresh: float | None = None) -> None:
        super().__init__()
        name = "box_score_thresh" if "R-CNN" in kind else "score_thresh"
        self.net = TINY[kind](num_classes, **({} if score_thresh is None else {name: score_thresh}))
        float32_outputs(self.net)

    def forward(self, images, targets=None):
        return losses_and_detections(self.net, images, targets)


def noisy(target, generator, classes):
    """Detections near the truth, by falling score, with ties."""
    n = len(target["labels"])
    which = torch.from_numpy(generator.integers(0, n, 2 * n)) if n else torch.zeros(0, dtype=torch.int64)
    noise = torch.from_numpy(generator.normal(0, 4, (len(which), 4))).float()
    labels = target["labels"][which].clone()
    labels[::5] = (labels[::5] + 1) % classes
    found = {
        "boxes": target["boxes"][which] + noise.cumsum(1).abs(),
        "scores": torch.from_numpy(np.sort(generator.integers(1, 9, len(which)))[::-1] / 9).float(),
        "labels": labels,
    }
    if "masks" in target:
        found["masks"] = target["masks"][which]
        found["masks"][:, ::7] = 0
    if "keypoints" in target:
        found["keypoints"] = target["keypoints"][which] + noise[:, :1, None]
    return found


class NearTruth(nn.Module):
    """Finds what is there, not quite, the same in any process."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images, targets=None):
        def find(target):
            return noisy(target, np.random.default_rng(int(target["boxes"].sum())), self.num_classes)

        return {"weight": self.weight.square()}, lambda: [find(target) for target in targets]
