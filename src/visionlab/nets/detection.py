"""Torchvision's detectors, brought to give losses and detections from one pass through the backbone, in any mode.

Their own ``forward`` gives losses in training and detections in evaluation only. Here the parts of a detector are
called one by one. Detections are those of its evaluation mode, bit for bit.

Crowds (COCO's ``iscrowd``, Open Images' ``IsGroupOf``) are regions that hold objects nobody told apart. Torchvision's
references drop them, so that what is in them is learnt as background. Here they are neither: an anchor or proposal of
which at least :data:`INSIDE_CROWD` lies in a crowd, and which is no object's, is left out of the losses, as Detectron
does with proposals (``json_dataset.py``, ``_filter_crowd_proposals``; ``TRAIN.CROWD_FILTER_THRESH = 0.7``).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import box_area, box_iou, clip_boxes_to_image

from visionlab.batch import DetectionPredictions, DetectionTarget

INSIDE_CROWD = 0.7
"""The share of an anchor or a proposal that must lie in a crowd for it not to be background."""

Model = Any
"""A ``GeneralizedRCNN``, ``RetinaNet``, ``FCOS`` or ``SSD`` of torchvision, whose parts have no types."""
Losses = dict[str, Tensor]
Find = Callable[[], list[DetectionPredictions]]
Raw = Callable[[], list[dict[str, Tensor]]]
Objects = list[dict[str, Tensor]]


def background_classes(model: Model) -> int:
    """How many outputs come before those of the classes: 1, for the background, where scores are a softmax; 0 where
    each is a sigmoid of its own.
    """
    return 0 if isinstance(model, RetinaNet | FCOS) else 1


def losses_and_detections(
    model: Model, images: Sequence[Tensor], targets: Sequence[DetectionTarget] | None
) -> tuple[Losses, Find]:
    """Run a detector once.

    In training mode anchors and proposals are sampled by torch's random stream, and in evaluation always alike, without
    touching that stream: the losses of an evaluation do not depend on what ran before.

    Args:
        model: of torchvision, made for as many classes as there are labels, and :func:`background_classes`. Left in
            the mode in which it is.
        images: ``(3, H, W)``, or ``(1, H, W)``, each, float32 in [0, 1], of any sizes.
        targets: one an image, without degenerate boxes; None if only detections are wanted.

    Returns:
        The losses by torchvision's names, scalars over the batch, differentiable with respect to the images; none
        without targets. And what finds the objects, in the pixels of the images, from the same features; non-maximum
        suppression is done only there, and for the proposals that the losses want.
    """
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    whole = [_thick_enough(model, image) for image in images]
    inputs, scaled = model.transform(whole, None if targets is None else _for_torchvision(model, targets, whole))
    if targets is not None:
        for one, target, image, resized in zip(scaled, targets, whole, inputs.image_sizes, strict=True):
            one["crowds"] = resize_boxes(target["boxes"][_crowds(target)], image.shape[-2:], resized)
    features = model.backbone(inputs.tensors)
    if isinstance(features, Tensor):
        features = {"0": features}
    # anchors take their dtype from the features, and in bfloat16 would be off by pixels
    features = {name: _float32(value) for name, value in features.items()}
    run = _two_stages if isinstance(model, GeneralizedRCNN) else _one_stage
    losses, raw = run(model, inputs, features, scaled)

    def find() -> list[DetectionPredictions]:
        with torch.no_grad(), in_evaluation(model):
            found = raw()
            resized = [(image.shape[-2], image.shape[-1]) for image in whole]
            found = model.transform.postprocess(found, inputs.image_sizes, resized)
        first = background_classes(model)
        return [_ours(one, size, big, first) for one, size, big in zip(found, sizes, resized, strict=True)]

    return losses, find


def float32_outputs(model: Model) -> None:
    """Have the predictors of a two-stage detector give float32 under autocast too; bfloat16 places boxes by pixels."""
    if isinstance(model, GeneralizedRCNN):
        for name, module in model.roi_heads.named_children():
            if name.endswith("_predictor"):
                module.register_forward_hook(_outputs_in_float32)


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, after which every module is as it was."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def _sampling(model: Any) -> Iterator[None]:
    """Let the region proposals and the heads sample for losses, but not their children, whose BatchNorm and Dropout
    stay in the mode in which they are.
    """
    modules = [model.rpn, model.roi_heads]
    before = [module.training for module in modules]
    try:
        for module in modules:
            module.training = True
        if model.training:
            yield
        else:
            device = next(model.parameters()).device
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(0)
                yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


def _two_stages(
    model: Any, inputs: ImageList, features: dict[str, Tensor], targets: Objects | None
) -> tuple[Losses, Raw]:
    rpn, heads = model.rpn, model.roi_heads
    maps = list(features.values())
    objectness_of, deltas_of = rpn.head(maps)
    anchors = rpn.anchor_generator(inputs, maps)
    counts = [one[0].numel() for one in objectness_of]
    objectness, deltas = map(_float32, concat_box_prediction_layers(objectness_of, deltas_of))
    boxes = rpn.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)

    def propose() -> list[Tensor]:
        proposals: list[Tensor] = rpn.filter_proposals(boxes, objectness, inputs.image_sizes, counts)[0]
        return proposals

    losses: Losses = {}
    if targets is not None:
        with _sampling(model):
            labels, matched = rpn.assign_targets_to_anchors(anchors, targets)
            for label, anchor, target in zip(labels, anchors, targets, strict=True):
                ignored = (label == 0) & _inside(anchor, target["crowds"])
                if not ignored.all():  # a mean over nothing is no number
                    label[ignored] = -1
            goals = rpn.box_coder.encode(matched, anchors)
            losses["objectness"], losses["rpn_box_reg"] = rpn.compute_loss(objectness, deltas, labels, goals)
            kept = [
                _or_all(proposals[~_inside(proposals, target["crowds"]) | _overlap(proposals, target["boxes"])], size)
                for proposals, target, size in zip(propose(), targets, inputs.image_sizes, strict=True)
            ]
            _, more = heads(features, kept, inputs.image_sizes, targets)
        losses |= {name.removeprefix("loss_"): loss for name, loss in more.items()}

    def raw() -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]] = heads(features, propose(), inputs.image_sizes)[0]
        return found

    return losses, raw


def _one_stage(
    model: Any, inputs: ImageList, features: dict[str, Tensor], targets: Objects | None
) -> tuple[Losses, Raw]:
    maps = list(features.values())
    outputs = {name: _float32(value) for name, value in model.head(maps).items()}
    anchors = model.anchor_generator(inputs, maps)
    places = [one.shape[-2] * one.shape[-1] for one in maps]
    counts = [a * n for a, n in zip(model.anchor_generator.num_anchors_per_location(), places, strict=True)]

    def raw() -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]]
        if isinstance(model, SSD):
            found = model.postprocess_detections(outputs, anchors, inputs.image_sizes)
        else:
            by_level = {name: list(torch.split(value, counts, dim=1)) for name, value in outputs.items()}
            found = model.postprocess_detections(
                by_level, [list(torch.split(a, counts)) for a in anchors], inputs.image_sizes
            )
        return found

    if targets is None:
        return {}, raw
    if isinstance(model, FCOS):
        # what lies in an object may be its: a place is responsible for what it is in
        ignored = [
            _centre_in(one, target["crowds"]) & ~_centre_in(one, target["boxes"])
            for one, target in zip(anchors, targets, strict=True)
        ]
        return model.compute_loss(targets, _certain(outputs, ignored, 0), anchors, counts), raw
    matched = [_match(model, one, target["boxes"]) for one, target in zip(anchors, targets, strict=True)]
    ignored = [
        (match == -1) & _inside(one, target["crowds"])
        for match, one, target in zip(matched, anchors, targets, strict=True)
    ]
    if isinstance(model, SSD):
        return model.compute_loss(targets, _certain(outputs, ignored, 1), anchors, matched), raw
    matched = [match.masked_fill(ignore, -2) for match, ignore in zip(matched, ignored, strict=True)]
    return model.head.compute_loss(targets, outputs, anchors, matched), raw


def _certain(outputs: dict[str, Tensor], ignored: list[Tensor], background: int) -> dict[str, Tensor]:
    """Make the ignored anchors certain that they are background, which costs nothing and has no gradient."""
    logits = outputs["cls_logits"]
    certain = logits.new_full((logits.shape[-1],), -100.0)
    certain[:background] = 100.0
    return {**outputs, "cls_logits": torch.where(torch.stack(ignored)[..., None], certain, logits)}


def _match(model: Any, anchors: Tensor, boxes: Tensor) -> Tensor:
    """Which box each anchor is for; -1 for none, and -2 for between."""
    if len(boxes) == 0:
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    matched: Tensor = model.proposal_matcher(box_iou(boxes, anchors))
    return matched


def _inside(boxes: Tensor, crowds: Tensor) -> Tensor:
    """``(n,)``, whether a box lies in a crowd."""
    if len(crowds) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    sides = torch.minimum(boxes[:, None, 2:], crowds[:, 2:]) - torch.maximum(boxes[:, None, :2], crowds[:, :2])
    inside: Tensor = sides.clamp(min=0).prod(2).amax(1) >= INSIDE_CROWD * box_area(boxes)
    return inside


def _overlap(boxes: Tensor, objects: Tensor) -> Tensor:
    """``(n,)``, whether a box overlaps an object by at least a half."""
    if len(objects) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    overlaps: Tensor = box_iou(boxes, objects).amax(1) >= 0.5
    return overlaps


def _centre_in(anchors: Tensor, boxes: Tensor) -> Tensor:
    """``(n,)``, whether the centre of an anchor lies in a box."""
    centres = (anchors[:, None, :2] + anchors[:, None, 2:]) / 2
    return ((centres > boxes[:, :2]) & (centres < boxes[:, 2:])).all(2).any(1)


def _or_all(proposals: Tensor, size: tuple[int, int]) -> Tensor:
    """The whole image where there is no proposal, for the loss of a batch without any is no number."""
    height, width = size
    return proposals if len(proposals) > 0 else proposals.new_tensor([[0, 0, width, height]])


def _thick_enough(model: Model, image: Tensor) -> Tensor:
    """Black pixels below or beside an image so thin that, reduced to the detector's size, it would have none left."""
    if model.transform.fixed_size is not None:
        return image
    height, width = image.shape[-2:]
    least = max(height, width) // model.transform.max_size + 1
    if min(height, width) >= least:
        return image
    return F.pad(image, (0, max(0, least - width), 0, max(0, least - height)))


def _for_torchvision(model: Model, targets: Sequence[DetectionTarget], images: Sequence[Tensor]) -> Objects:
    """Objects, without crowds, under torchvision's labels, with what the model learns of them.

    Raises:
        ValueError: if they lack it.
    """
    two_stages: Any = model.roi_heads if isinstance(model, GeneralizedRCNN) else None
    learnt = {
        "masks": two_stages is not None and two_stages.has_mask(),
        "keypoints": two_stages is not None and two_stages.has_keypoint(),
    }
    for part, wanted in learnt.items():
        if wanted and not all(part in target for target in targets):
            raise ValueError(f"{type(model).__name__} learns {part}, and the objects of this data have none")
    objects = []
    for target, image in zip(targets, images, strict=True):
        crowd = _crowds(target)
        one = {"boxes": target["boxes"][~crowd], "labels": target["labels"][~crowd] + background_classes(model)}
        if learnt["masks"]:
            height, width = target["masks"].shape[-2:]
            more = (0, image.shape[-1] - width, 0, image.shape[-2] - height)
            one["masks"] = F.pad(target["masks"][~crowd], more)
        if learnt["keypoints"]:
            one["keypoints"] = target["keypoints"][~crowd]
        objects.append(one)
    return objects


def _crowds(target: DetectionTarget) -> Tensor:
    """``(n,)``, which of the objects are crowds."""
    return target["iscrowd"] if "iscrowd" in target else torch.zeros_like(target["labels"], dtype=torch.bool)


def _ours(
    found: dict[str, Tensor], size: tuple[int, int], resized: tuple[int, int], background: int
) -> DetectionPredictions:
    """One image's detections under our labels, masks as 0 and 1, cut to the image where it was padded."""
    ours: DetectionPredictions = {
        "boxes": found["boxes"],
        "scores": found["scores"],
        "labels": found["labels"] - background,
    }
    if "masks" in found:
        ours["masks"] = (found["masks"][:, 0, : size[0], : size[1]] > 0.5).to(torch.uint8)
    if "keypoints" in found:
        ours["keypoints"] = found["keypoints"]
    if size == resized:
        return ours
    ours["boxes"] = clip_boxes_to_image(ours["boxes"], size)
    there = (ours["boxes"][:, 2:] > ours["boxes"][:, :2]).all(1)
    return {name: value[there] for name, value in ours.items()}  # type: ignore[return-value,index]


def _float32(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _outputs_in_float32(module: nn.Module, args: Any, outputs: Any) -> Any:
    return _float32(outputs) if isinstance(outputs, Tensor) else tuple(map(_float32, outputs))
