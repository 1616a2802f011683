"""What nets see in images, layer by layer: features for losses of content and style."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from visionlab.nets.normalize import Normalize
from visionlab.nets.torchvision import fill, state_dict_of

CONFIGURATIONS = {"vgg16": "D", "vgg19": "E"}


class VGGFeatures(nn.Module):
    """The features of VGG-16 or VGG-19 (Simonyan and Zisserman 2015), by the names of the literature: ``relu1_2`` is
    the second layer before the first pooling.

    Args:
        net: which of the two.
        weights: the name of torchvision's weights, such as "IMAGENET1K_V1", which are downloaded once; the path of a
            file with such a state dict, with or without a classifier; or None for random ones, which know textures only
            (Ustyuzhaninov et al. 2016), and whose name says so.

    Attributes:
        name: of the features, for what is measured by them.

    Raises:
        ValueError: if there is no such net, or the weights do not fit it.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(self, net: Literal["vgg16", "vgg19"] = "vgg16", weights: str | None = None) -> None:
        super().__init__()
        if net not in CONFIGURATIONS:
            raise ValueError(f"net must be vgg16 or vgg19, not {net!r}")
        self.name = net if weights is not None else f"random_{net}"
        self.normalize = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # torchvision's, for its weights
        self.layers = make_layers(cfgs[CONFIGURATIONS[net]])
        if weights is None:
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight)
        else:
            file, state = state_dict_of(net, weights)
            own = {key.removeprefix("features."): v for key, v in state.items() if key.startswith("features.")}
            fill(self.layers, own, set(), f"{file}, as weights of {net}")
        self.names: list[str] = []
        stage = place = 1
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                self.names.append(f"pool{stage}")
                stage, place = stage + 1, 1
            elif isinstance(layer, nn.ReLU):
                layer.inplace = False
                self.names.append(f"relu{stage}_{place}")
                place += 1
            else:
                self.names.append(f"conv{stage}_{place}")

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The features of ``(B, 3, H, W)`` images, float in [0, 1]; grey images, of one channel, are taken too.

        Args:
            images: of any size that is left after the poolings.
            layers: such as ``relu2_2``, ``conv4_2`` and ``pool1``.

        Returns:
            By layer, ``(B, channels, h, w)``.

        Raises:
            ValueError: if there is no such layer.
        """
        _check_layers(layers, self.names)
        features: dict[str, Tensor] = {}
        x = self.normalize(images)
        for name, layer in zip(self.names, self.layers, strict=True):
            if len(features) == len(set(layers)):
                break
            x = layer(x)
            if name in layers:
                features[name] = x
        return features


class ClassifierFeatures(nn.Module):
    """The features of any net, by the names of its modules, as ``named_modules`` gives them: where there are no weights
    of VGG, those of a classifier that was trained here may do.

    Args:
        net: takes ``(B, channels, H, W)`` images in [0, 1], of any size that is asked for.
        name: of the features, for what is measured by them.
        checkpoint: of a run that trained the net; None if it has its weights, or is to keep its random ones.

    Raises:
        ValueError: if the checkpoint is none, or of another net.
        FileNotFoundError: if it is missing.
    """

    def __init__(self, net: nn.Module, name: str, checkpoint: str | None = None) -> None:
        super().__init__()
        self.name, self.net = name, net
        for module in net.modules():
            if isinstance(module, nn.ReLU | nn.LeakyReLU):
                module.inplace = False  # a layer's features are read after it
        if checkpoint is not None:
            fill(net, _of_net(Path(checkpoint)), set(), checkpoint)

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The features of ``(B, channels, H, W)`` images, float in [0, 1].

        Args:
            images: of a size that the net takes.
            layers: modules of the net.

        Returns:
            By layer, what it gave last, ``(B, channels, h, w)``.

        Raises:
            ValueError: if there is no such module.
        """
        modules = dict(self.net.named_modules())
        _check_layers(layers, [name for name in modules if name])
        features: dict[str, Tensor] = {}
        hooks = [
            modules[name].register_forward_hook(lambda _, __, made, name=name: features.__setitem__(name, made))
            for name in layers
        ]
        try:
            self.net(images)
        finally:
            for hook in hooks:
                hook.remove()
        return features


def _check_layers(layers: Sequence[str], known: Iterable[str]) -> None:
    names = list(known)
    for layer in layers:
        if layer not in names:
            raise ValueError(f"there is no layer {layer!r}; there are {', '.join(names)}")


def _of_net(path: Path) -> dict[str, Tensor]:
    """The weights of the net of a task in a checkpoint.

    Raises:
        ValueError: if it is no checkpoint of a task.
        FileNotFoundError: if it is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # garbage fails in any way
        raise ValueError(f"{path} is no checkpoint of a run: {error}") from error
    return {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
