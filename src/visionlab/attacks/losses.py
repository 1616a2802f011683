"""Losses of a classifier that attacks raise: pure functions, each with one loss an image.

All take logits ``(n, C)`` and labels ``(n,)`` ``int64``. With ``targets``, classes ``(n,)`` to be mistaken for, raising
the loss leads there; without, away from the label.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """The cross-entropy of the label, or the negated one of the target.

    Args:
        logits: see above.
        labels: likewise.
        targets: likewise.

    Returns:
        ``(n,)``.
    """
    if targets is None:
        return F.cross_entropy(logits, labels, reduction="none")
    return -F.cross_entropy(logits, targets, reduction="none")


def margin(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """The highest other logit less the label's (Carlini and Wagner 2017, f6 negated): positive once the image is
    fooled; or the target's less the highest other.

    Args:
        logits: see above.
        labels: likewise.
        targets: likewise.

    Returns:
        ``(n,)``.
    """
    if targets is None:
        return highest_other(logits, labels) - pick(logits, labels)
    return pick(logits, targets) - highest_other(logits, targets)


def dlr(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """The difference of logits ratio (Croce and Hein 2020, equations 6 and 7), the same for scaled logits.

    Args:
        logits: see above; at least 3 classes, or 4 with targets.
        labels: see above.
        targets: see above.

    Returns:
        ``(n,)``.

    Raises:
        ValueError: if there are too few classes.
    """
    needed = 3 if targets is None else 4
    if logits.shape[1] < needed:
        raise ValueError(f"the DLR loss needs at least {needed} classes, not {logits.shape[1]}: use the margin")
    top = logits.topk(needed, dim=1).values
    if targets is None:
        return margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)
    return (pick(logits, targets) - pick(logits, labels)) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def pick(logits: Tensor, classes: Tensor) -> Tensor:
    """``(n,)``: the logit of one class of each image."""
    return logits.gather(1, classes[:, None])[:, 0]


def highest_other(logits: Tensor, classes: Tensor) -> Tensor:
    """``(n,)``: the highest logit of any class but one of each image."""
    mine = torch.zeros_like(logits, dtype=torch.bool).scatter(1, classes[:, None], True)
    return logits.masked_fill(mine, -float("inf")).amax(1)
