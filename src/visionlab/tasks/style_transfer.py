"""Feed-forward style transfer: Johnson, Alahi and Fei-Fei 2016, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution".
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer

from visionlab.batch import GenerationPredictions, ImageBatch, Step, to_unit
from visionlab.losses.style import content, gram, style, total_variation
from visionlab.tasks.base import LRSchedule, Task


class StyleTransfer(Task):
    """A net that gives any image the style of one, judged by the features of another net, which stays as it is.

    The losses of content and style are logged under the name of the features, for their numbers depend on them. That
    net is no part of the task's weights.

    Args:
        num_classes: of the data set, which the command line links to it.
        net: makes the net, which takes and gives ``(B, 3, H, W)`` images in [0, 1].
        optimizer: makes the optimizer, given the net's parameters.
        features: of images ``(B, 3, H, W)`` and the names of layers gives ``(B, channels, h, w)`` features by layer,
            and has a ``name``: one of :mod:`visionlab.nets.features`.
        style: the file of the image whose style it is.
        content_layers: whose features are to stay.
        style_layers: whose Gram matrices are to be those of the style.
        content_weight: of the content loss, equation 2.
        style_weight: of the style loss, equation 4, summed over its layers.
        variation_weight: of :func:`visionlab.losses.style.total_variation`.
        style_size: pixels on the shorter side that the style image is reduced to, which sets the scale of its strokes;
            None for its own.
        lr_schedulers: learning-rate schedulers, if any.
    """

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        features: nn.Module,
        style: str,
        content_layers: Sequence[str] = ("relu2_2",),
        style_layers: Sequence[str] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
        content_weight: float = 1.0,
        style_weight: float = 1.0,
        variation_weight: float = 0.0,
        style_size: int | None = None,
        lr_schedulers: Sequence[LRSchedule] = (),
    ) -> None:
        super().__init__(num_classes, net, optimizer, lr_schedulers)
        self.content_layers, self.style_layers = list(content_layers), list(style_layers)
        if not self.content_layers or not self.style_layers:
            raise ValueError("content_layers and style_layers must be at least one each")
        weights = {"content": content_weight, "style": style_weight, "variation": variation_weight}
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"{name}_weight must be at least 0, not {weight}")
        self.weights = weights
        features.requires_grad_(False).eval()
        self.judge = (features,)  # in a tuple, it is no part of this module, nor of its checkpoints
        self.style_image = read_style(style, style_size)
        self.grams: dict[str, Tensor] | None = None

    def step(self, batch: ImageBatch) -> Step:
        images = batch["images"]
        made = self.net(images)
        if made.shape != images.shape:
            theirs, ours = (" x ".join(map(str, some.shape[1:])) for some in (made, images))
            raise ValueError(f"{type(self.net).__name__} makes images of {theirs} of those of {ours}")
        return Step(self._losses(images, made), lambda: GenerationPredictions(images=made.float()))

    def shown(self, batch: ImageBatch) -> dict[str, Tensor]:
        """What a picture shows of a batch: see :class:`visionlab.callbacks.translations.ShowsImages`."""
        return {"input": batch["images"], "output": self.net(batch["images"])}

    def _losses(self, images: Tensor, made: Tensor) -> dict[str, Tensor]:
        (features,) = self.judge
        features.to(images.device)
        grams = self._grams(images)
        with torch.no_grad():
            wanted = features(images, self.content_layers)
        found = features(made.to(images.dtype), [*self.content_layers, *self.style_layers])
        away = {
            "content": [content(found[layer].float(), wanted[layer].float()) for layer in self.content_layers],
            "style": [style(found[layer].float(), grams[layer]) for layer in self.style_layers],
        }
        losses = {
            f"{name}_{features.name}": self.weights[name] * torch.stack(parts).sum(0) for name, parts in away.items()
        }
        if self.weights["variation"] > 0:
            losses["variation"] = self.weights["variation"] * total_variation(made.float())
        return losses

    def _grams(self, like: Tensor) -> dict[str, Tensor]:
        """The Gram matrices of the style, which are computed once."""
        if self.grams is None or next(iter(self.grams.values())).device != like.device:
            with torch.inference_mode(False), torch.no_grad():  # training goes on with what validation made
                features = self.judge[0](self.style_image[None].to(like.device, like.dtype), self.style_layers)
                self.grams = {layer: gram(one.float())[0] for layer, one in features.items()}
        return self.grams


def read_style(path: str, size: int | None) -> Tensor:
    """Read the image of a style.

    Args:
        path: of the file.
        size: pixels on the shorter side that it is reduced to; None for its own.

    Returns:
        ``(3, H, W)``, float in [0, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no style image {path}")
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise ValueError(f"{path} is not a whole image: {error}") from error
    if size is not None:
        scale = size / min(image.size)
        width, height = (round(side * scale) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return to_unit(torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()))
