"""Faster R-CNN (Ren et al. 2015) over other backbones than torchvision's function for it has: VGG-16, as in the paper,
and any convolutional classifier of torchvision, through a feature pyramid (Lin et al. 2017).
"""

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from visionlab.batch import DetectionTarget
from visionlab.nets.detection import Find, Losses, float32_outputs, losses_and_detections
from visionlab.nets.torchvision import fill, nearest, state_dict_of
from visionlab.nets.torchvision_detection import check_options, freeze_batchnorm

STRIDES = (4, 8, 16, 32)
CHANNELS = 256


class FasterRCNN(nn.Module):
    """Faster R-CNN with a feature pyramid over the maps of a classifier at strides 4, 8, 16 and 32.

    Args:
        num_classes: the number of classes, without the background.
        backbone: a model of torchvision that is a sequence of convolutional parts, such as "resnet18",
            "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny" or "vgg16_bn".
        weights_backbone: None for a random start; the name of published weights of the classifier, such as
            "IMAGENET1K_V1", which are downloaded once; or the path of a file with such a state dict.
        frozen_batchnorm: whether BatchNorm in the backbone keeps its statistics and parameters, as small batches want
            it; by default where there are weights.
        options: further arguments of ``torchvision.models.detection.FasterRCNN``, such as ``{min_size: 600}``.

    Raises:
        ValueError: if torchvision has no such model or weights, they do not fit, or the model has no such maps.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        weights_backbone: str | None = None,
        frozen_batchnorm: bool | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models)
        if backbone not in names:
            raise ValueError(f"torchvision has no classification model {backbone!r}{nearest(backbone, names)}")
        classifier = torchvision.models.get_model(backbone, weights=None)
        levels = maps_of(backbone, classifier)
        with_pyramid = BackboneWithFPN(
            trunk(classifier),
            {name: str(i) for i, name in enumerate(levels)},
            list(levels.values()),
            CHANNELS,
        )
        if weights_backbone is not None if frozen_batchnorm is None else frozen_batchnorm:
            freeze_batchnorm(with_pyramid)
        if weights_backbone is not None:
            load_trunk(with_pyramid, backbone, weights_backbone)
        self.net = TorchvisionFasterRCNN(with_pyramid, num_classes + 1, **({} if options is None else options))
        check_options(self.net, {} if options is None else options)
        float32_outputs(self.net)

    def forward(self, images: list[Tensor], targets: list[DetectionTarget] | None = None) -> tuple[Losses, Find]:
        """See :func:`visionlab.nets.detection.losses_and_detections`."""
        return losses_and_detections(self.net, images, targets)


class FasterRCNNVGG16(nn.Module):
    """Faster R-CNN over VGG-16 (Ren et al. 2015, sections 3 and 4.1): the map after conv5_3, of stride 16, nine anchors
    at each place, and the classifier's own fc6 and fc7 as the head.

    The first four convolutions are not trained, as in the authors' code, where the classifier was. Features are taken
    by RoIAlign (He et al. 2017), which is RoIPool without its rounding. Images are 600 pixels on the short side, at
    most 1,000 on the long one. Test-time settings are the paper's: 300 proposals.

    Args:
        num_classes: the number of classes, without the background.
        weights_backbone: None for a random start; the name of published weights of VGG-16, such as "IMAGENET1K_V1",
            which are downloaded once; or the path of a file with such a state dict.
        options: further arguments of ``torchvision.models.detection.FasterRCNN``, such as ``{min_size: 600}``.

    Raises:
        ValueError: if there are no such weights, or they do not fit.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(
        self, num_classes: int, weights_backbone: str | None = None, options: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        vgg: Any = torchvision.models.vgg16(weights=None)
        if weights_backbone is not None:
            file, state = state_dict_of("vgg16", weights_backbone)
            fill(vgg, state, set(), f"{file}, as weights of vgg16")
            vgg.features[:10].requires_grad_(False)
        features = vgg.features[:-1]
        features.out_channels = 512
        paper = {
            "min_size": 600,
            "max_size": 1000,
            "rpn_pre_nms_top_n_train": 12000,
            "rpn_pre_nms_top_n_test": 6000,
            "rpn_post_nms_top_n_test": 300,
            "box_batch_size_per_image": 128,
        }
        self.net = TorchvisionFasterRCNN(
            features,
            rpn_anchor_generator=AnchorGenerator(((128, 256, 512),), ((0.5, 1.0, 2.0),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
            box_head=nn.Sequential(nn.Flatten(), *vgg.classifier[:-1]),
            box_predictor=FastRCNNPredictor(4096, num_classes + 1),
            **{**paper, **({} if options is None else options)},
        )
        check_options(self.net, {} if options is None else options)
        float32_outputs(self.net)

    def forward(self, images: list[Tensor], targets: list[DetectionTarget] | None = None) -> tuple[Losses, Find]:
        """See :func:`visionlab.nets.detection.losses_and_detections`."""
        return losses_and_detections(self.net, images, targets)


def trunk(classifier: nn.Module) -> nn.Module:
    """The part of a classifier that runs child by child."""
    children = dict(classifier.named_children())
    return children.get("features", classifier)


def maps_of(name: str, classifier: nn.Module) -> dict[str, int]:
    """The last child of a classifier's trunk at each of :data:`STRIDES`, and how many channels it gives.

    Raises:
        ValueError: if there is none at one of them.
    """
    found: dict[int, tuple[str, int]] = {}
    side = 64
    classifier.eval()  # or BatchNorm would count this image
    with torch.no_grad():
        maps = torch.zeros(1, 3, side, side, device=next(classifier.parameters()).device)
        for child, module in trunk(classifier).named_children():
            if isinstance(module, nn.AdaptiveAvgPool2d | nn.Linear):
                break
            try:
                maps = module(maps)
            except (AssertionError, RuntimeError):  # the children do not run one after the other
                break
            if maps.ndim == 4 and maps.shape[-1] == maps.shape[-2]:
                found[side // maps.shape[-1]] = child, maps.shape[1]
    if not found.keys() >= set(STRIDES):
        raise ValueError(f"{name} is no sequence with maps at strides {STRIDES}; it has {sorted(found)}")
    classifier.train()
    return dict(found[stride] for stride in STRIDES)


def load_trunk(backbone: BackboneWithFPN, name: str, weights: str) -> None:
    """Load a classifier's weights into the trunk of a backbone with a feature pyramid."""
    file, state = state_dict_of(name, weights)
    own = backbone.state_dict()
    ours = {f"body.{key.removeprefix('features.')}": value for key, value in state.items()}
    pyramid = {key for key in own if key.startswith("fpn.")}
    fill(backbone, {k: v for k, v in ours.items() if k in own}, pyramid, f"{file}, as weights of {name}")
