"""How far an attack may move an image, and the geometry of that."""

from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from visionlab.attacks.noise import uniform

Norm = Literal["linf", "l2"]
"""The largest change of a value, or the root of the sum of the squared changes of an image; of pixels in [0, 1]."""


def parse(eps: float | str, norm: Norm) -> float:
    """A budget as people write it.

    Args:
        eps: a number, or text such as ``8/255``.
        norm: what it bounds.

    Raises:
        ValueError: if it is not a number, is negative, or is above 1 where images lie in [0, 1].
    """
    try:
        value = float(Fraction(eps) if isinstance(eps, str) else eps)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"eps must be a number such as 0.03 or 8/255, not {eps!r}") from error
    if not 0 <= value < float("inf"):
        raise ValueError(f"eps must be a finite number of at least 0, not {eps!r}")
    if norm == "linf" and value > 1:
        raise ValueError(f"eps counts in images of [0, 1], so it is at most 1, not {eps!r}: is {eps}/255 meant?")
    return value


def by_image(values: Tensor, images: Tensor) -> Tensor:
    """Values ``(n,)`` as ``(n, 1, 1, 1)``, to be broadcast over images."""
    return values.view(-1, *[1] * (images.ndim - 1))


def lengths(deltas: Tensor, norm: Norm) -> Tensor:
    """``(n,)``: the norm of each of ``(n, ...)``."""
    order = float("inf") if norm == "linf" else 2
    found: Tensor = torch.linalg.vector_norm(deltas.flatten(1), order, dim=1)
    return found


def to_length(deltas: Tensor, norm: Norm) -> Tensor:
    """Each of ``(n, ...)`` scaled to length 1; what is 0 stays 0."""
    return deltas / by_image(lengths(deltas, norm).clamp(min=torch.finfo(deltas.dtype).tiny), deltas)


def steepest(gradients: Tensor, norm: Norm) -> Tensor:
    """The step of length 1 that raises the loss most: the sign, or the gradient scaled to length 1."""
    return gradients.sign() if norm == "linf" else to_length(gradients, norm)


def project(moved: Tensor, images: Tensor, eps: float, norm: Norm) -> Tensor:
    """The images in [0, 1] within ``eps`` of ``images`` that are reached from ``moved``: the nearest for L-inf; for L2
    first the nearest in the ball, then clipped, which brings it only nearer to an image in [0, 1].
    """
    if norm == "linf":
        return torch.clamp(moved, (images - eps).clamp_(min=0), (images + eps).clamp_(max=1))
    delta = moved - images
    scale = (eps / lengths(delta, norm).clamp(min=torch.finfo(delta.dtype).tiny)).clamp(max=1)
    return (images + delta * by_image(scale, delta)).clamp_(0, 1)


def random_start(images: Tensor, eps: float, norm: Norm, seed: int, ids: Tensor, draw: int = 0) -> Tensor:
    """A random point of the budget around each image: uniform in the cube for L-inf; for L2 of a uniform direction and
    length, which lies nearer to the image than uniform in the ball.

    Args:
        images: ``(n, channels, H, W)`` in [0, 1].
        eps: the budget.
        norm: likewise.
        seed: of all randomness.
        ids: ``(n,)`` ``int64``: the start depends on seed, id and draw alone, not on the batch.
        draw: the number of the restart.
    """
    shape = images.shape[1:]
    if norm == "linf":
        return (images + eps * (2 * uniform(seed, ids, shape, draw) - 1)).clamp_(0, 1)
    direction = to_length(normal(seed, ids, shape, 2 * draw), "l2")
    radius = by_image(uniform(seed, ids, (), 2 * draw + 1), images)
    return (images + eps * radius * direction).clamp_(0, 1)


def edge_start(images: Tensor, eps: float, norm: Norm, seed: int, ids: Tensor, draw: int = 0) -> Tensor:
    """As :func:`random_start`, but at the edge of the budget before it is clipped."""
    shape = images.shape[1:]
    noise = 2 * uniform(seed, ids, shape, draw) - 1 if norm == "linf" else normal(seed, ids, shape, draw)
    return (images + eps * to_length(noise, norm)).clamp_(0, 1)


def normal(seed: int, ids: Tensor, shape: tuple[int, ...], draw: int) -> Tensor:
    """As :func:`visionlab.attacks.noise.uniform`, but normal with mean 0 and standard deviation 1."""
    inside = uniform(seed, ids, shape, draw) + 2**-25  # in (0, 1): the inverse of the ends is infinite
    return torch.erfinv(2 * inside - 1) * 2**0.5
