"""Torchvision's detectors over a small backbone, which learn in minutes on a CPU, without weights to start from. What
they do after the net, thresholds and all, is torchvision's own, as in the recipes.
"""

from collections import OrderedDict
from functools import partial
from typing import Any

from torch import nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.ops import MultiScaleRoIAlign

from visionlab.nets.detection import losses_and_detections

CHANNELS = 64


def block(inputs, outputs, stride):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Backbone(nn.Sequential):
    """Six convolutions; one map, of stride 8."""

    out_channels = CHANNELS

    def __init__(self):
        channels, strides = (3, 32, 64, 64, 64, 64, CHANNELS), (2, 2, 1, 2, 1, 1)
        super().__init__(*map(block, channels[:-1], channels[1:], strides))


class Pyramid(nn.Module):
    """Maps of strides 8, 16 and 32."""

    out_channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList([Backbone(), block(CHANNELS, CHANNELS, 2), block(CHANNELS, CHANNELS, 2)])

    def forward(self, images):
        maps = OrderedDict()
        for i, level in enumerate(self.levels):
            images = maps[str(i)] = level(images)
        return maps


class Small(nn.Module):
    """Runs one of torchvision's as the task wants it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images, targets=None):
        return losses_and_detections(self.net, images, targets)


def two_stages(num_classes: int, size: int) -> dict[str, Any]:
    """Arguments of :class:`FasterRCNN`, for images whose short side is ``size``."""
    return {
        "backbone": Backbone(),
        "min_size": size,
        "max_size": size * 3 // 2,
        "rpn_anchor_generator": AnchorGenerator(
            ((size // 8, size // 4, size // 2, size * 25 // 32),), ((0.5, 1.0, 2.0),)
        ),
        "box_roi_pool": MultiScaleRoIAlign(["0"], 7, 1),
        "box_head": TwoMLPHead(CHANNELS * 49, 256),
        "box_predictor": FastRCNNPredictor(256, num_classes + 1),
        "rpn_pre_nms_top_n_train": 500,
        "rpn_pre_nms_top_n_test": 500,
        "rpn_post_nms_top_n_train": 200,
        "rpn_post_nms_top_n_test": 200,
        "box_batch_size_per_image": 64,
    }


class SmallFasterRCNN(Small):
    def __init__(self, num_classes: int, size: int = 128) -> None:
        super().__init__(FasterRCNN(**two_stages(num_classes, size)))


class SmallMaskRCNN(Small):
    def __init__(self, num_classes: int, size: int = 160) -> None:
        masks = {
            "mask_roi_pool": MultiScaleRoIAlign(["0"], 14, 1),
            "mask_head": MaskRCNNHeads(CHANNELS, (CHANNELS, CHANNELS), 1),
            "mask_predictor": MaskRCNNPredictor(CHANNELS, CHANNELS, num_classes + 1),
        }
        super().__init__(MaskRCNN(**two_stages(num_classes, size), **masks))


class SmallKeypointRCNN(Small):
    def __init__(self, num_classes: int, size: int = 160) -> None:
        keypoints = {
            "keypoint_roi_pool": MultiScaleRoIAlign(["0"], 14, 1),
            "keypoint_head": KeypointRCNNHeads(CHANNELS, (CHANNELS, CHANNELS)),
            "keypoint_predictor": KeypointRCNNPredictor(CHANNELS, 17),
        }
        super().__init__(KeypointRCNN(**two_stages(num_classes, size), **keypoints))


class SmallRetinaNet(Small):
    def __init__(self, num_classes: int, size: int = 128) -> None:
        scales = tuple((side, side * 2 ** (1 / 2)) for side in (size // 8, size // 4, size // 2))
        anchors = AnchorGenerator(scales, ((0.5, 1.0, 2.0),) * 3)
        head = RetinaNetHead(CHANNELS, 6, num_classes, norm_layer=partial(nn.GroupNorm, 32))  # as version 2 has it
        sizes = {"min_size": size, "max_size": size * 3 // 2}
        super().__init__(RetinaNet(Pyramid(), num_classes, anchor_generator=anchors, head=head, **sizes))


class SmallSSD(Small):
    def __init__(self, num_classes: int, size: int = 160) -> None:
        boxes = DefaultBoxGenerator([[2, 3]] * 3, min_ratio=15, max_ratio=90)
        head = SSDHead([CHANNELS] * 3, boxes.num_anchors_per_location(), num_classes + 1)
        super().__init__(SSD(Pyramid(), boxes, (size, size), num_classes + 1, head=head))
