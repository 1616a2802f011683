"""Every detection model of torchvision, by its name, with or without weights."""

import inspect
from bisect import bisect_right
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.ops import FrozenBatchNorm2d

from visionlab.batch import DetectionTarget
from visionlab.nets.detection import Find, Losses, background_classes, float32_outputs, losses_and_detections
from visionlab.nets.torchvision import fill, nearest, state_dict_of

# where the stages of a backbone begin, as torchvision counts them for `trainable_backbone_layers`
STAGES = {
    "resnet50": (0, 1, 2, 3, 4),  # the stem, and layer1 to layer4
    "mobilenet_v3_large": (0, 2, 4, 7, 13, 16),
    "vgg16": (0, 4, 9, 16, 23),
}
DEFAULT_TRAINABLE = {"resnet50": 3, "mobilenet_v3_large": 3, "vgg16": 4}

# torchvision made these weights with BatchNorm that adds nothing to the variance, and says so only in code
NO_EPSILON = {
    *("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "retinanet_resnet50_fpn"),
}

BY_CLASS = (
    "roi_heads.box_predictor.",
    "roi_heads.mask_predictor.mask_fcn_logits.",
    "head.classification_head.cls_logits.",
    "head.classification_head.module_list.",
)
"""The layers of which the outputs belong to classes. Only these may have other shapes in a file of weights; and those
of keypoints."""
BY_KEYPOINT = ("roi_heads.keypoint_predictor.",)


class Detector(nn.Module):
    """A detection model of torchvision: Faster, Mask and Keypoint R-CNN, RetinaNet, FCOS, SSD and SSDLite.

    Arguments that are None are torchvision's own for the model. In evaluation an image is resized, as torchvision does,
    so that its short side is ``min_size`` or its long side ``max_size``, whichever is less.

    Args:
        num_classes: the number of classes; the background, where a model has one, is added here. Where the weights have
            another number, the layers that tell classes apart start anew. Torchvision's COCO weights have the 90
            classes of ``coco91`` data.
        name: as ``torchvision.models.list_models(module=torchvision.models.detection)`` gives it, such as
            "fasterrcnn_resnet50_fpn".
        weights: None for a random start; the name of published weights of the detector, such as "COCO_V1", which are
            downloaded once; or the path of a file with such a state dict.
        weights_backbone: likewise, of the classifier that the backbone is of, such as "IMAGENET1K_V1"; not for SSDLite,
            whose backbone was not published alone.
        trainable_layers: how many stages of the backbone are trained, from the last; all of them where there are no
            weights, by default, else 3 of 5 (ResNet-50), 3 of 6 (MobileNetV3), 4 of 5 (VGG-16).
        frozen_batchnorm: whether BatchNorm in the backbone keeps its statistics and parameters, as small batches want
            it; by default where there are weights, but for SSDLite and the models of version 2.
        min_size: of the short side, in pixels; of several, training takes one at random for each image, and evaluation
            the last. SSD has one size.
        max_size: of the long side.
        score_thresh: the least score of a detection, in [0, 1].
        nms_thresh: the overlap (IoU) with a better one of its class beyond which a detection is dropped.
        detections_per_image: how many are kept at most.
        anchor_sizes: of each level of features, in pixels of the resized image; as many as the model has.
        aspect_ratios: heights of anchors divided by widths, for all levels; as many as the model has.
        options: further arguments of torchvision's function for the model, such as ``{num_keypoints: 4}`` and
            ``{rpn_batch_size_per_image: 64}``.

    Raises:
        ValueError: if the name, or the weights, do not exist, or do not fit the model, or an argument does not.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(
        self,
        num_classes: int,
        name: str,
        weights: str | None = None,
        weights_backbone: str | None = None,
        trainable_layers: int | None = None,
        frozen_batchnorm: bool | None = None,
        min_size: int | list[int] | None = None,
        max_size: int | None = None,
        score_thresh: float | None = None,
        nms_thresh: float | None = None,
        detections_per_image: int | None = None,
        anchor_sizes: list[list[float]] | None = None,
        aspect_ratios: list[float] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models.detection)
        if name not in names:
            raise ValueError(f"torchvision has no detection model {name!r}{nearest(name, names)}")
        if weights is not None and weights_backbone is not None:
            raise ValueError("weights fill the backbone too: give either weights or weights_backbone")
        ssd, two_stages = name.startswith("ssd"), "rcnn" in name
        if ssd and not (min_size is None and max_size is None and anchor_sizes is None and aspect_ratios is None):
            raise ValueError(f"the size of images and the default boxes of {name} cannot be changed")
        box = "box_" if two_stages else ""
        given = {
            "min_size": min_size,
            "max_size": max_size,
            f"{box}score_thresh": score_thresh,
            f"{box}nms_thresh": nms_thresh,
            f"{box}detections_per_img": detections_per_image,
        }
        arguments = {**({} if options is None else options), **{k: v for k, v in given.items() if v is not None}}
        outputs = num_classes + (0 if name.startswith(("retinanet", "fcos")) else 1)
        try:
            self.net: Any = torchvision.models.get_model(
                name, weights=None, weights_backbone=None, num_classes=outputs, **arguments
            )
        except TypeError as error:
            raise ValueError(f"options of {name}: {error}") from error
        check_options(self.net, {} if options is None else options)
        if anchor_sizes is not None or aspect_ratios is not None:
            set_anchors(self.net, name, anchor_sizes, aspect_ratios)
        float32_outputs(self.net)
        body = next((body for body in STAGES if body in name and "lite" not in name), None)
        trained = weights is not None or weights_backbone is not None
        if frozen_batchnorm is None:
            frozen_batchnorm = trained and not name.endswith("_v2") and body is not None
        if frozen_batchnorm:
            freeze_batchnorm(self.net.backbone)
        if weights is not None:
            file, state = state_dict_of(name, weights)
            load_detector(self.net, state, f"{file}, as weights of {name}")
            if name in NO_EPSILON:
                for module in self.net.modules():
                    if isinstance(module, FrozenBatchNorm2d):
                        module.eps = 0.0
        if body is None:
            if weights_backbone is not None or trainable_layers is not None:
                raise ValueError(f"{name} takes neither weights_backbone nor trainable_layers")
            return
        if weights_backbone is not None:
            file, state = state_dict_of(body, weights_backbone)
            load_backbone(self.net.backbone, body, state, f"{file}, as weights of {body}")
        if trainable_layers is None:
            trainable_layers = DEFAULT_TRAINABLE[body] if trained else len(STAGES[body])
        freeze_stages(self.net.backbone, body, trainable_layers)

    def forward(self, images: list[Tensor], targets: list[DetectionTarget] | None = None) -> tuple[Losses, Find]:
        """See :func:`visionlab.nets.detection.losses_and_detections`."""
        return losses_and_detections(self.net, images, targets)


def check_options(net: nn.Module, options: dict[str, Any]) -> None:
    """Refuse options that torchvision's class would take and ignore.

    Raises:
        ValueError: names one.
    """
    known = inspect.signature(type(net)).parameters
    for option in options:
        if option not in known:
            raise ValueError(f"options of {type(net).__name__} has no {option!r}{nearest(option, known)}")


def load_detector(net: Any, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict of the same detector, all but the layers of classes, or of keypoints, where their number
    differs.

    RetinaNet and FCOS have no output for the background here; in torchvision's weights the first one is its, which no
    object ever had, and it is left out.

    Args:
        net: keeps its start where the state has other classes.
        state: changed in place.
        source: what errors say the state is.

    Raises:
        ValueError: if anything else differs.
    """
    own = net.state_dict()
    if background_classes(net) == 0:
        drop_background(net, state)
    fresh = set()
    for kind in (BY_CLASS, BY_KEYPOINT):
        some = {key for key in own if key.startswith(kind)}
        if any(key in state and state[key].shape != own[key].shape for key in some):
            fresh |= {key for key in some if key in state and state[key].dim() == own[key].dim()}
    for key in fresh:
        del state[key]
    fill(net, state, fresh, source)


def drop_background(net: Any, state: dict[str, Tensor]) -> None:
    """Take the first class out of the logits, ``(anchors * classes, ...)``, where the state has one class more."""
    head = net.head.classification_head
    anchors, classes = head.num_anchors, head.num_classes
    for name in ("weight", "bias"):
        key = f"head.classification_head.cls_logits.{name}"
        if key in state and len(state[key]) == anchors * (classes + 1):
            state[key] = state[key].reshape(anchors, classes + 1, *state[key].shape[1:])[:, 1:].flatten(0, 1)


def load_backbone(backbone: nn.Module, body: str, state: dict[str, Tensor], source: str) -> None:
    """Load a classifier's state dict into the backbone that was made of it.

    Raises:
        ValueError: if they do not fit.
    """
    ours = {}
    for key, value in state.items():
        if not key.startswith(("fc.", "classifier.")):
            ours[place(body, key)] = value
    rest = {key for key in backbone.state_dict() if layer(body, key) is None}
    fill(backbone, ours, rest, source)


def place(body: str, key: str) -> str:
    """Where an entry of a classifier's state dict is in the backbone."""
    if body == "resnet50":
        return f"body.{key}"
    _, at, *rest = key.split(".")
    if body == "mobilenet_v3_large":
        return ".".join(["body", at, *rest])
    # SSD takes conv4_3, which ends before the fourth pooling, and what follows, as two maps
    return ".".join(["features", at, *rest] if int(at) < 23 else ["extra", "0", str(int(at) - 23), *rest])


def layer(body: str, key: str) -> int | None:
    """Which layer of the classifier an entry of the backbone is in, as :data:`STAGES` counts; None for what was put on
    top.
    """
    words = key.split(".")
    if body == "vgg16":
        if words[0] == "features":
            return int(words[1])
        return 23 + int(words[2]) if words[:2] == ["extra", "0"] and int(words[2]) < 7 else None
    if words[0] != "body":
        return None
    if body == "mobilenet_v3_large":
        return int(words[1])
    return int(words[1].removeprefix("layer")) if words[1].startswith("layer") else 0


def freeze_stages(backbone: nn.Module, body: str, trainable: int) -> None:
    """Train only the last stages of a backbone, and what was put on top.

    Raises:
        ValueError: if there are fewer.
    """
    stages = STAGES[body]
    if not 0 <= trainable <= len(stages):
        raise ValueError(f"trainable_layers of {body} must lie in 0..{len(stages)}, not {trainable}")
    for key, parameter in backbone.named_parameters():
        at = layer(body, key)
        if at is not None and bisect_right(stages, at) <= len(stages) - trainable:
            parameter.requires_grad_(False)


def freeze_batchnorm(module: nn.Module) -> None:
    """Replace every BatchNorm in a module by one that neither learns nor counts (He et al. 2016, Deep Residual
    Learning, appendix A).
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps)
            frozen.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, frozen)
        else:
            freeze_batchnorm(child)


def set_anchors(
    net: GeneralizedRCNN | RetinaNet, name: str, sizes: list[list[float]] | None, ratios: list[float] | None
) -> None:
    """Give a model other anchors, as many as it has.

    Raises:
        ValueError: if there are not as many, or the model has none.
    """
    place: Any = net.rpn if isinstance(net, GeneralizedRCNN) else net
    own = place.anchor_generator
    if name.startswith("fcos"):
        raise ValueError("FCOS has no anchors")
    chosen = AnchorGenerator(
        own.sizes if sizes is None else tuple(map(tuple, sizes)),
        own.aspect_ratios if ratios is None else (tuple(ratios),) * len(own.sizes),
    )
    if len(chosen.sizes) != len(own.sizes) or chosen.num_anchors_per_location() != own.num_anchors_per_location():
        raise ValueError(
            f"{name} has {len(own.sizes)} levels with {own.num_anchors_per_location()[0]} anchors at each place; "
            f"anchor_sizes and aspect_ratios make {chosen.num_anchors_per_location()}"
        )
    place.anchor_generator = chosen
