"""Parts of a net that training leaves alone."""

from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import nn


class Freeze(Callback):
    """Keeps modules as they are, bit for bit: no gradients, and evaluation mode throughout, for ``requires_grad=False``
    alone does not stop the statistics of BatchNorm from drifting.

    Args:
        modules: names of modules of the net, with all that is in them: ``backbone.layer1``.
    """

    def __init__(self, modules: list[str]) -> None:
        self.modules = modules
        self.frozen: list[nn.Module] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        net: Any = pl_module.net
        known = dict(net.named_modules())
        for name in self.modules:
            if name not in known:
                top = [child for child, _ in net.named_children()]
                raise ValueError(f"the net has no module {name!r} to freeze; at the top it has {top}")
        self.frozen = [known[name].requires_grad_(False) for name in self.modules]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        for module in self.frozen:
            if module.training:
                module.eval()
