"""What an attack sees of the thing that it attacks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from visionlab.attacks.losses import Loss, cross_entropy, highest_other, pick


class Model(Protocol):
    """A batch of images that is attacked, without the images: their truth, and the net.

    Its maker sees to it that BatchNorm and Dropout are in evaluation mode and that parameters are frozen, as
    :func:`frozen` and :func:`visionlab.attacks.folding.folded` do.

    Attributes:
        ids: ``(n,)`` ``int64``, what the randomness of each image depends on.
    """

    @property
    def ids(self) -> Tensor: ...

    def losses(self, images: Tensor) -> Tensor:
        """What the attack raises.

        Args:
            images: ``(n, channels, H, W)`` ``float32`` in [0, 1], moved versions of all images of the batch.

        Returns:
            ``(n,)`` ``float32``, one an image, each of which depends on its own image alone; differentiable.
        """
        ...

    def at(self, chosen: Tensor) -> Self:
        """The same for some of the images.

        Args:
            chosen: ``(m,)`` ``int64``, their places in the batch.
        """
        ...


@dataclass(frozen=True, eq=False)
class Classifier:
    """A classifier as an attack sees it.

    Args:
        net: gives ``(n, C)`` logits for ``(n, channels, H, W)`` images in [0, 1]; in evaluation mode, frozen.
        labels: ``(n,)`` ``int64``, the true classes.
        ids: ``(n,)`` ``int64``, of the images.
        loss: what is raised; see :mod:`visionlab.attacks.losses`.
        targets: ``(n,)`` ``int64``, the classes that the images are to be mistaken for, if it matters for which.
        precision: the type that the net computes in. ``bfloat16`` is for training: its gradients are coarse.

    Raises:
        ValueError: if the numbers of labels, ids and targets differ, if a part of the net is in training mode, or if
            something is of half precision.
    """

    net: Callable[[Tensor], Tensor]
    labels: Tensor
    ids: Tensor
    loss: Loss = cross_entropy
    targets: Tensor | None = None
    precision: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        targets = self.labels if self.targets is None else self.targets
        if not self.labels.shape == self.ids.shape == targets.shape == (len(self.labels),):
            raise ValueError(
                "labels, ids and targets must be one an image, not of the shapes "
                f"{tuple(self.labels.shape)}, {tuple(self.ids.shape)} and {tuple(targets.shape)}"
            )
        if isinstance(self.net, nn.Module):
            check_net(self.net)
        if self.precision not in (torch.float32, torch.bfloat16):
            raise ValueError(
                f"nets are attacked in float32 or bfloat16, not in {self.precision}, which loses gradients"
            )

    def logits(self, images: Tensor) -> Tensor:
        """``(n, C)`` ``float32``."""
        with torch.autocast(images.device.type, self.precision, enabled=self.precision != torch.float32):
            return self.net(images).float()

    def losses(self, images: Tensor) -> Tensor:
        return self.loss(self.logits(images), self.labels, self.targets)

    def fooled(self, logits: Tensor) -> Tensor:
        """``(n,)`` ``bool``: whether logits are not the label's highest, or are the target's."""
        found = logits.argmax(1)
        return found != self.labels if self.targets is None else found == self.targets

    def at(self, chosen: Tensor) -> Self:
        targets = None if self.targets is None else self.targets[chosen]
        return replace(self, labels=self.labels[chosen], ids=self.ids[chosen], targets=targets)


def check_net(net: nn.Module) -> None:
    """Raise a ValueError if a part of the net is in training mode or a weight is of a half type."""
    training = next((name for name, module in net.named_modules() if module.training), None)
    if training is not None:
        raise ValueError(f"nets are attacked in evaluation mode, but {training or 'this one'} is in training mode")
    half = next((p.dtype for p in net.parameters() if p.dtype in (torch.float16, torch.bfloat16)), None)
    if half is not None:
        raise ValueError(f"nets are attacked with weights of float32, not of {half}, which loses gradients")


def classifier(model: Model, attack: object) -> Classifier:
    """The model, if it is a classifier.

    Raises:
        ValueError: if it is not, naming the attack that needs one.
    """
    if not isinstance(model, Classifier):
        raise ValueError(f"{type(attack).__name__} needs logits, so it attacks classifiers, not {type(model).__name__}")
    return model


def assess(model: Model, images: Tensor, towards: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The losses ``(n,)``, and whether each image is fooled ``(n,)`` ``bool``: of classifiers; of others never.

    Args:
        model: what is attacked.
        images: of its batch.
        towards: classes ``(n,)`` that the loss is to lead to, for a classifier that any wrong class fools.
    """
    if isinstance(model, Classifier):
        logits = model.logits(images)
        return model.loss(logits, model.labels, model.targets if towards is None else towards), model.fooled(logits)
    losses = model.losses(images)
    return losses, torch.zeros_like(losses, dtype=torch.bool)


def assess_gradients(model: Model, images: Tensor, towards: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`assess`, detached, and the gradients of the losses, of the images' shape.

    The losses are summed: a mean would make gradients smaller the larger the batch.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        losses, fooled = assess(model, images, towards)
        (found,) = torch.autograd.grad(losses.sum(), images)
    return losses.detach(), fooled, found


def gradients(model: Model, images: Tensor) -> Tensor:
    """The gradients of the summed losses, of the images' shape."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        (found,) = torch.autograd.grad(model.losses(images).sum(), images)
    return found


def zero_share(model: Model, images: Tensor) -> Tensor:
    """``(n,)``: the share of each image's gradient that is exactly 0. Near 1, the net hides its gradient, and attacks
    that follow it say nothing about robustness (Athalye et al. 2018).
    """
    return (gradients(model, images) == 0).flatten(1).float().mean(1)


def still_standing(model: Model, images: Tensor) -> Tensor:
    """``(m,)`` ``int64``: the places of the images that do not fool the model: all, unless it is a classifier."""
    if not isinstance(model, Classifier) or len(images) == 0:
        return torch.arange(len(images), device=images.device)
    with torch.no_grad():
        return (~model.fooled(model.logits(images))).nonzero()[:, 0]


def rivals(model: Classifier, images: Tensor) -> Tensor:
    """``(n, k)`` ``int64``: the classes that each image may be mistaken for, the likeliest first: the target, or all
    but the label.
    """
    if model.targets is not None:
        return model.targets[:, None]
    with torch.no_grad():
        order = model.logits(images).argsort(dim=1, descending=True)
    return order[order != model.labels[:, None]].view(len(order), -1)


def boundaries(model: Classifier, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """How far logits are from changing places with the label's; with targets, with the highest other's.

    Args:
        model: what is attacked.
        images: of its batch.
        classes: ``(n, k)`` ``int64``.

    Returns:
        ``(n, k)``, the logit of each class less the other, and ``(n, k, channels, H, W)``, its gradients.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        logits = model.logits(images)
        top = pick(logits, model.labels) if model.targets is None else highest_other(logits, model.targets)
        gaps = logits.gather(1, classes) - top[:, None]
        slopes = [torch.autograd.grad(column.sum(), images, retain_graph=True)[0] for column in gaps.unbind(1)]
    return gaps.detach(), torch.stack(slopes, 1)


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Put a net in evaluation mode with frozen parameters, and back as it was, whatever happens."""
    modes = {module: module.training for module in net.modules()}
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    try:
        net.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter in trained:
            parameter.requires_grad_(True)
