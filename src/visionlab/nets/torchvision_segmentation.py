"""Every segmentation model of torchvision, by its name, with or without weights."""

from typing import Any

import torchvision
from torch import Tensor, nn

from visionlab.nets.normalize import Normalize
from visionlab.nets.torchvision import fill, nearest, state_dict_of

BY_CLASS = ("classifier.4.", "aux_classifier.4.", "classifier.low_classifier.", "classifier.high_classifier.")
"""The layers of which the outputs belong to classes. Only these may have other shapes in a file of weights."""


class Segmenter(nn.Module):
    """A segmentation model of torchvision: FCN, DeepLabV3 and LR-ASPP.

    Args:
        num_classes: the number of outputs. Where the weights have another number, as torchvision's have the 21 classes
            of PASCAL VOC, the layers that tell classes apart start anew.
        name: as ``torchvision.models.list_models(module=torchvision.models.segmentation)`` gives it, such as
            "deeplabv3_resnet50".
        weights: None for a random start; the name of published weights of the model, such as
            "COCO_WITH_VOC_LABELS_V1", which are downloaded once; or the path of a file with such a state dict.
        weights_backbone: likewise, of the classifier that the backbone is of, such as "IMAGENET1K_V1".
        auxiliary: whether a second head learns from earlier features, which helps training and is left out of
            predictions; LR-ASPP has none.

    Raises:
        ValueError: if the name, or the weights, do not exist, or do not fit the model, or it has no auxiliary head.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(
        self,
        num_classes: int,
        name: str,
        weights: str | None = None,
        weights_backbone: str | None = None,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models.segmentation)
        if name not in names:
            raise ValueError(f"torchvision has no segmentation model {name!r}{nearest(name, names)}")
        if weights is not None and weights_backbone is not None:
            raise ValueError("weights fill the backbone too: give either weights or weights_backbone")
        if auxiliary and name.startswith("lraspp"):
            raise ValueError(f"{name} has no auxiliary head")
        more = {"aux_loss": True} if auxiliary else {}
        scale = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        self.normalize = Normalize(scale.mean, scale.std)
        self.net: Any = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=num_classes, **more
        )
        if weights is not None:
            file, state = state_dict_of(name, weights)
            _load(self.net, state, f"{file}, as weights of {name}")
        if weights_backbone is not None:
            body = name.split("_", 1)[1]
            file, state = state_dict_of(body, weights_backbone)
            # the stages of a ResNet have its names, and those of a MobileNetV3 are its features
            state = {key.removeprefix("features."): value for key, value in state.items()}
            features = {k: v for k, v in state.items() if not k.startswith(("fc.", "classifier."))}
            fill(self.net.backbone, features, set(), f"{file}, as weights of {body}")

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Tell the classes of ``(B, 3, H, W)`` images, float in [0, 1]; grey images, of one channel, are taken too.

        Returns:
            ``(B, num_classes, H, W)`` logits; in training, if there is an auxiliary head, a list with its logits too.
        """
        outputs: dict[str, Tensor] = self.net(self.normalize(images))
        if self.training and "aux" in outputs:
            return [outputs["out"], outputs["aux"]]
        return outputs["out"]


def _load(net: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict, all but the layers whose outputs are classes where their number differs, and without the
    auxiliary head where the net has none.
    """
    own = net.state_dict()
    if not any(key.startswith("aux_classifier.") for key in own):
        state = {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}
    fresh = {
        key for key in own if key.startswith(BY_CLASS) and key in state and state[key].shape[0] != own[key].shape[0]
    }
    fill(net, {key: value for key, value in state.items() if key not in fresh}, fresh, source)
