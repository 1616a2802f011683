"""Every classification model of torchvision, by its name, with or without weights."""

import difflib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from visionlab.nets.normalize import Normalize

# The auxiliary classifiers are left out, so that the output is one tensor. These two models were trained on images
# scaled to [-1, 1], and undo the normalisation by ImageNet's mean and std themselves.
OPTIONS = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
    "inception_v3": {"aux_logits": False, "transform_input": True, "init_weights": True},
}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")

# DenseNet's published weights have names such as denselayer1.norm.1.weight, which modules may no longer have
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")


class Classifier(nn.Module):
    """A classification model of torchvision, behind the normalisation that its weights were trained with.

    Args:
        num_classes: the number of outputs. Where the weights have another number of classes, the last layer starts
            anew.
        name: as ``torchvision.models.list_models(module=torchvision.models)`` gives it, such as "resnet50".
        weights: None for a random start; the name of published weights, such as "DEFAULT" or "IMAGENET1K_V1", which are
            downloaded once; or the path of a file with a state dict of the model, as those weights are published.

    Raises:
        ValueError: if the name, or the weights, do not exist, or the file does not fit the model.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(self, num_classes: int, name: str, weights: str | None = None) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models)
        if name not in names:
            raise ValueError(f"torchvision has no classification model {name!r}{nearest(name, names)}")
        published = torchvision.models.get_model_weights(name).__members__
        # all weights of a model, but for those that are no classifiers, were trained with the same mean and std
        scale = published[weights if weights in published else "DEFAULT"].transforms()
        self.normalize = Normalize(scale.mean, scale.std)
        options: dict[str, Any] = dict(OPTIONS.get(name, {}))
        if weights is None:
            self.net = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
            return
        file, state = state_dict_of(name, weights)
        if (
            "encoder.pos_embedding" in state
        ):  # a vision transformer takes the size of image that its weights are for, and no other
            patches = state["encoder.pos_embedding"].shape[1] - 1
            options["image_size"] = math.isqrt(patches) * state["conv_proj.weight"].shape[-1]
        self.net = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
        load(self.net, state, num_classes, f"{file}, as weights of {name}")

    def forward(self, images: Tensor) -> Tensor:
        """Classify ``(B, 3, H, W)`` images, float in [0, 1]; grey images, of one channel, are taken too.

        Returns:
            ``(B, num_classes)`` logits.
        """
        logits: Tensor = self.net(self.normalize(images))
        return logits


def nearest(word: str, words: Iterable[str]) -> str:
    """The end of an error message: the words that are most like the given one."""
    close = difflib.get_close_matches(word, list(words))
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(words)}"


def state_dict_of(name: str, weights: str) -> tuple[Path, dict[str, Tensor]]:
    """Read published weights of a model, or a file.

    Raises:
        ValueError: if there are none of that name, or the file is no state dict.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """
    published = torchvision.models.get_model_weights(name).__members__
    if weights in published:
        return download(name, published[weights])
    file = Path(weights)
    if not file.is_file():
        raise ValueError(f"{name} has no weights {weights!r}{nearest(weights, published)}, nor is there such a file")
    return file, read(file)


def download(name: str, weights: Any) -> tuple[Path, dict[str, Tensor]]:
    """Read published weights from torch's cache, where they are downloaded to if they are not there."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        (digest,) = torch.hub.HASH_REGEX.findall(file.name)
        try:
            torch.hub.download_url_to_file(weights.url, str(file), digest)
        except (OSError, RuntimeError) as error:  # a RuntimeError says that the digest is wrong
            raise FileNotFoundError(
                f"{weights.name} of {name} could not be downloaded ({error}): get {weights.url} and put it at {file}"
            ) from error
    return file, read(file)


def read(file: Path) -> dict[str, Tensor]:
    """Read a state dict; nothing in the file is executed.

    Raises:
        ValueError: if the file is not one.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # garbage fails in any way
        raise ValueError(f"{file} is not a whole file of weights: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file} is not a state dict, that is, tensors by name")
    return state


def load(net: nn.Module, state: dict[str, Tensor], num_classes: int, source: str) -> None:
    """Load a state dict of the same model, all but the last layer where its number of classes differs.

    The last layer is the one module in which nothing but the number of classes differs.

    Args:
        net: with ``num_classes`` classes; its last layer keeps its start where the state has other classes.
        state: changed in place.
        num_classes: of the net.
        source: what errors say the state is.

    Raises:
        ValueError: if anything else differs.
    """
    for key in list(state):
        if key.startswith(AUXILIARY):
            del state[key]
        elif OLD_DENSENET.search(key):
            state[OLD_DENSENET.sub(r"\1", key)] = state.pop(key)
    own = net.state_dict()
    head = [key for key in own if key in state and state[key].shape != own[key].shape]
    for key in head:
        theirs, ours = tuple(state[key].shape), tuple(own[key].shape)
        same_module = key.rpartition(".")[0] == head[0].rpartition(".")[0]
        if not same_module or theirs[1:] != ours[1:] or ours[0] != num_classes:
            raise ValueError(f"{source}: {key} is {theirs}, and not {ours}")
        del state[key]
    fill(net, state, set(head), source)


def fill(net: nn.Module, state: dict[str, Tensor], fresh: set[str], source: str) -> None:
    """Load a state dict that has every entry but those that start anew.

    Args:
        net: gets the entries.
        state: has the entries of the net, and no others.
        fresh: which of them may be missing.
        source: what errors say the state is.

    Raises:
        ValueError: if another is missing, or is new, or any does not fit or is not finite.
    """
    try:
        missing, unexpected = net.load_state_dict(state, strict=False)
    except RuntimeError as error:  # names of older releases, which the model itself translates, may not fit either
        raise ValueError(f"{source}: {error}") from error
    missing = [key for key in missing if key not in fresh]
    if missing or unexpected:
        raise ValueError(
            f"{source}: {len(missing)} entries are missing {missing[:3]}, {len(unexpected)} are new {unexpected[:3]}"
        )
    if not all(value.isfinite().all() for value in net.state_dict().values()):
        raise ValueError(f"{source}: not all numbers are finite; weights of features only cannot classify")
