"""Every classification model of timm, by its name, with or without weights."""

import difflib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from visionlab.nets.normalize import Normalize

try:
    import timm
    from timm.models import load_state_dict
except ModuleNotFoundError as error:
    if error.name != "timm":
        raise
    raise ModuleNotFoundError(f"{__name__} needs timm: pip install visionlab[timm]", name="timm") from error


class Classifier(nn.Module):
    """A classification model of timm, behind the normalisation that its weights were trained with.

    Args:
        num_classes: the number of outputs. Where the weights have another number of classes, the last layer starts
            anew.
        name: as ``timm.list_models()`` gives it, such as "resnet50", or as ``timm.list_pretrained()`` does, such as
            "resnet50.a1_in1k", where it also says which weights are meant.
        weights: None for a random start; "DEFAULT" for the weights of that name, which are downloaded once; or the path
            of a file with a state dict of the model, as those weights are published (safetensors or PyTorch).
        in_channels: the channels of the images. Where the weights were trained with another number, timm adapts the
            first convolution, and the average of mean and of std over their channels normalises all channels.

    Raises:
        ValueError: if the name, or the weights, do not exist, or the file does not fit the model.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(self, num_classes: int, name: str, weights: str | None = None, in_channels: int = 3) -> None:
        super().__init__()
        names = [*timm.list_models(), *timm.list_pretrained()]
        if name not in names:
            close = difflib.get_close_matches(name, names)
            hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() has all names"
            raise ValueError(f"timm has no model {name!r}; {hint}")
        if weights is None:
            net: Any = timm.create_model(name, num_classes=num_classes, in_chans=in_channels)
        elif weights == "DEFAULT":
            net = published(num_classes, name, in_channels)
        else:
            net = from_file(num_classes, name, Path(weights), in_channels)
        mean, std = net.pretrained_cfg["mean"], net.pretrained_cfg["std"]
        if in_channels != len(mean):
            mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
        self.normalize = Normalize(mean, std)
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Classify ``(B, in_channels, H, W)`` images, float in [0, 1]; grey images also where RGB is expected.

        Returns:
            ``(B, num_classes)`` logits.
        """
        logits: Tensor = self.net(self.normalize(images))
        return logits


def published(num_classes: int, name: str, in_channels: int) -> Any:
    """The model with its published weights."""
    if not timm.is_model_pretrained(name):
        raise ValueError(f"timm has no weights for {name!r}; weights must be null or a file")
    try:
        return timm.create_model(name, pretrained=True, num_classes=num_classes, in_chans=in_channels)
    except OSError as error:
        source = timm.get_pretrained_cfg(name)
        assert source is not None
        place = source.url if source.hf_hub_id is None else f"model.safetensors of {source.hf_hub_id} on Hugging Face"
        raise FileNotFoundError(
            f"the weights of {name} could not be downloaded ({error}): get {place} and give its path as weights"
        ) from error


def from_file(num_classes: int, name: str, file: Path, in_channels: int) -> Any:
    """The model with the weights in a file, all of which must fit, and a new last layer where their classes differ."""
    if not file.is_file():
        raise ValueError(f"weights must be null, 'DEFAULT' or a file, and there is no file {str(file)!r}")
    try:
        # read here first, since older releases of timm would let the file execute code
        state = load_state_dict(str(file), weights_only=True)
    except Exception as error:  # garbage fails in any way
        raise ValueError(f"{file} is not a whole file of weights: {error}") from error
    source = timm.get_pretrained_cfg(name)
    assert source is not None
    last = source.classifier[0] if isinstance(source.classifier, tuple) else source.classifier
    bias = state.get(f"{last}.bias")
    classes = source.num_classes if bias is None else len(bias)
    overlay = {"file": str(file), "num_classes": classes, "custom_load": False}
    try:
        net: Any = timm.create_model(
            name, pretrained=True, num_classes=classes, in_chans=in_channels, pretrained_cfg_overlay=overlay
        )
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{file} does not fit {name}: {error}") from error
    if classes != num_classes:
        net.reset_classifier(num_classes)
    return net
