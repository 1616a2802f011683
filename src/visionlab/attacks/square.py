"""Square (Andriushchenko et al. 2020), after the authors' code (github.com/fra31/auto-attack), with a window of its own
for each image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.attacks.base import Bounded, check_counts
from visionlab.attacks.budget import Norm, by_image, lengths, to_length
from visionlab.attacks.model import Model, assess, still_standing
from visionlab.attacks.noise import uniform

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which query the share of an image that a square covers is halved (section 5, for 10,000 queries)."""


@dataclass(frozen=True)
class Square(Bounded):
    """A black-box attack: random squares, kept where they raise the loss; no gradient is looked at.

    An image that is fooled is left alone. The loss of a classifier is usually the margin.

    Args:
        eps: see :class:`Bounded`.
        queries: how often the net is asked about an image at most, at least 1.
        norm: of the budget.
        share: of the image that the first squares cover, in (0, 1].
        seed: of the squares.
    """

    queries: int = 5000
    norm: Norm = "linf"
    share: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(queries=self.queries)
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie in (0, 1], not {self.share}")

    @torch.no_grad()
    def within(self, model: Model, images: Tensor) -> Tensor:
        result, left = images.clone(), still_standing(model, images)
        if len(left) == 0:
            return result
        some, origin = model.at(left), images[left]
        begin, change = (stripes, square) if self.norm == "linf" else (tiles, two_windows)
        moved = begin(origin, self.budget, self.seed, some.ids)
        losses, fooled = assess(some, moved)
        for query in range(1, self.queries):
            result[left] = moved
            if fooled.any():
                keep = (~fooled).nonzero()[:, 0]
                left, some, origin, moved, losses = left[keep], some.at(keep), origin[keep], moved[keep], losses[keep]
                if len(left) == 0:
                    break
            share = self.share / 2 ** sum(query - 1 > after for after in HALVINGS)
            side = round((share * images[0, 0].numel()) ** 0.5)
            draws = uniform(self.seed, some.ids, (5 + images.shape[1],), query)
            tried = change(moved, origin, self.budget, side, draws)
            tried_losses, fooled = assess(some, tried)
            better = fooled | (tried_losses > losses)
            moved = torch.where(by_image(better, moved), tried, moved)
            losses = torch.where(better, tried_losses, losses)
        result[left] = moved
        return result


def stripes(images: Tensor, eps: float, seed: int, ids: Tensor) -> Tensor:
    """Vertical stripes at the edge of the budget, of a random sign in each channel."""
    channels, width = images.shape[1], images.shape[3]
    return (images + eps * signs(uniform(seed, ids, (channels, 1, width)))).clamp_(0, 1)


def square(moved: Tensor, images: Tensor, eps: float, side: int, draws: Tensor) -> Tensor:
    """A square at a random place, at the edge of the L-inf budget, of a random sign in each channel.

    Args:
        moved: ``(n, channels, H, W)``, the best so far.
        images: of the same shape.
        eps: the budget.
        side: of the square, in pixels.
        draws: ``(n, 5 + channels)``, uniform: what is random.
    """
    height, width = images.shape[2:]
    side = min(max(side, 1), height, width)
    rows, columns = window(draws[:, 0], side, height), window(draws[:, 1], side, width)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    edge = images + eps * signs(draws[:, 5:, None, None])
    return torch.where(inside, edge, moved).clamp_(0, 1)


def tiles(images: Tensor, eps: float, seed: int, ids: Tensor) -> Tensor:
    """A grid of 5 by 5 bumps or more at the edge of the L2 budget, each of a random sign in each channel."""
    channels, height, width = images.shape[1:]
    side = max(height // 5, 1)
    begin = (height - 5 * side) // 2 if height >= 5 else 0
    delta = torch.zeros_like(images)
    draws = uniform(seed, ids, (channels, height, width))
    for top in range(begin, height - side + 1, side):
        for left in range(begin, width - side + 1, side):
            sign = signs(draws[:, :, top : top + 1, left : left + 1])
            delta[:, :, top : top + side, left : left + side] = bump(side).to(images) * sign
    return (images + eps * to_length(delta, "l2")).clamp_(0, 1)


def two_windows(moved: Tensor, images: Tensor, eps: float, side: int, draws: Tensor) -> Tensor:
    """A bump in one window, paid for by what was in it and in another, and by what was left of the L2 budget
    (algorithm 3). Arguments as of :func:`square`.
    """
    channels, height, width = images.shape[1:]
    side = min(max(side, 3) | 1, (min(height, width) - 1) | 1)  # odd
    delta = moved - images
    rows, columns = window(draws[:, 0], side, height), window(draws[:, 1], side, width)
    here = rows[:, None, :, None] & columns[:, None, None, :]
    there = window(draws[:, 2], side, height)[:, None, :, None] & window(draws[:, 3], side, width)[:, None, None, :]
    both = lengths(delta * (here | there), "l2")
    unused = (eps**2 - lengths(delta, "l2").square()).clamp(min=0)
    down, across = rows.long().cumsum(1).sub(1).clamp(min=0), columns.long().cumsum(1).sub(1).clamp(min=0)
    shape = bump(side).to(images)
    upright, turned = shape[down[:, :, None], across[:, None, :]], shape.T[down[:, :, None], across[:, None, :]]
    new = torch.where(draws[:, 4, None, None] < 0.5, upright, turned)[:, None] * signs(draws[:, 5:, None, None])
    new = here * (new + delta / (lengths_by_channel(delta * here) + 1e-12))
    new = new / (lengths_by_channel(new) + 1e-12) * by_image((unused / channels + both.square()).sqrt(), new)
    delta = torch.where(here, new, delta * ~there)
    return (images + eps * to_length(delta, "l2")).clamp_(0, 1)


def lengths_by_channel(deltas: Tensor) -> Tensor:
    """``(n, channels, 1, 1)``: the L2 norm of each channel."""
    return deltas.square().sum((2, 3), keepdim=True).sqrt()


def bump(side: int) -> Tensor:
    """``(side, side)``: an upper half above 0 and a lower half below, each highest in its middle; of L2 norm 1."""
    half = side // 2
    both = torch.cat([pyramid(half, side), -pyramid(side - half, side)])
    return to_length(both[None], "l2")[0]


def pyramid(height: int, width: int) -> Tensor:
    """``(height, width)``: rectangles around the middle, each lower than the one inside; of L2 norm 1."""
    steps = torch.zeros(height, width)
    for k in range(max(height, width) // 2 + 1):
        down, across = height // 2, width // 2
        steps[max(down - k, 0) : down + k + 1, max(across - k, 0) : across + k + 1] += 1 / (k + 1) ** 2
    return to_length(steps[None], "l2")[0]


def signs(draws: Tensor) -> Tensor:
    """-1 or 1 of uniform numbers."""
    return torch.where(draws < 0.5, -1.0, 1.0)


def window(draws: Tensor, side: int, length: int) -> Tensor:
    """``(n, length)`` ``bool``: where each window is, placed by uniform numbers ``(n,)``."""
    start = (draws * (length - side + 1)).long()[:, None]
    places = torch.arange(length, device=draws.device)
    return (places >= start) & (places < start + side)
