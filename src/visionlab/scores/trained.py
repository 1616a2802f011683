"""Any classifier that was trained here, as what generated images are measured with."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from visionlab.load import load
from visionlab.metrics.generated_images import Extractor, Features, to_size


class TrainedClassifier(Extractor):
    """The best weights of a classifier's run. Its features are what its last layer is given.

    Its name is that of the net's class and the beginning of the SHA-256 of its weights, ``LeNet5-0123abcd``, and the
    size to which images are resized, ``-32px``, if they are.

    Args:
        run: the run folder.
        layer: the part of the net whose inputs are the features, as ``named_modules()`` calls it; by default the last
            linear layer with an output for each class.
        image_size: to which images are resized bilinearly, with antialiasing, if at all.
    """

    def __init__(self, run: str, layer: str | None = None, image_size: int | None = None) -> None:
        super().__init__()
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size must be at least 1, not {image_size}")
        self.run, self.layer, self.image_size = run, layer, image_size
        self.net: nn.Module | None = None
        self.digest = ""
        self.inputs: Tensor | None = None

    @property
    def name(self) -> str:
        assert self.digest  # open
        size = "" if self.image_size is None else f"-{self.image_size}px"
        return f"{type(self.net).__name__}-{self.digest[:8]}{size}"

    def open(self) -> None:
        if self.net is not None:
            return
        with _as_it_was():  # loading seeds everything, as the classifier's recipe says
            loaded = load(self.run)
        net, self.classes = loaded.task.net.requires_grad_(False), loaded.class_names
        _last_layer(net, self.layer, self.classes, self.run).register_forward_pre_hook(self._keep)
        self.digest, self.net = _digest(net), net

    def forward(self, images: Tensor) -> Features:
        assert self.net is not None  # open
        assert self.classes is not None
        logits = self.net(images if self.image_size is None else to_size(images, self.image_size))
        inputs, self.inputs = self.inputs, None
        if inputs is None or logits.shape != (len(images), len(self.classes)):
            raise ValueError(
                f"{self.run} is no run of a classifier whose features can be had: {type(self.net).__name__}"
            )
        return Features(inputs.flatten(1), logits)

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = inputs[0]


def _last_layer(net: nn.Module, name: str | None, classes: Sequence[str], run: str) -> nn.Module:
    if name is not None:
        try:
            return net.get_submodule(name)
        except AttributeError as error:
            raise ValueError(f"layer: the net of {run} has no part {name!r}") from error
    found = [part for part in net.modules() if isinstance(part, nn.Linear) and part.out_features == len(classes)]
    if not found:
        raise ValueError(
            f"the net of {run}, {type(net).__name__}, has no linear layer of {len(classes)} outputs: say by `layer` "
            "which part's inputs are the features"
        )
    return found[-1]


def _digest(net: nn.Module) -> str:
    digest = hashlib.sha256()
    state: dict[str, Any] = net.state_dict()
    for name, value in state.items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Leave the random states, the seed of the run and the number of threads as they were."""
    seed, threads = os.environ.get("PL_GLOBAL_SEED"), torch.get_num_threads()
    workers = os.environ.get("PL_SEED_WORKERS")
    with isolate_rng():
        yield
    torch.set_num_threads(threads)
    for name, value in (("PL_GLOBAL_SEED", seed), ("PL_SEED_WORKERS", workers)):
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
