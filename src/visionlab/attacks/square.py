"""Square (Andriushchenko et al. 2020), after the authors' code (github.com/fra31/auto-attack), with a window of its own
for each image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.attacks.base import Bounded, check_counts
from visionlab.attacks.budget import Norm, by_image
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
        begin = stripes
        moved = begin(origin, self.budget, self.seed, some.ids)
        losses, fooled = assess(some, moved)
        for query in range(1, self.queries):
            result[left] = moved
            if fooled.any():
                keep = (~fooled).nonzero()[:, 0]
                left, some, origin, moved, losses = left[keep], some.at(keep), origin[keep], moved[keep], losses[keep]
                if len(left) == 0:
                    break
            side = (self.share / 2 ** sum(query - 1 > after for after in HALVINGS) * images[0, 0].numel()) ** 0.5
            change = square
            tried = change(moved, origin, self.budget, round(side), uniform(self.seed, some.ids, (DRAWS,), query))
            tried_losses, fooled = assess(some, tried)
            better = fooled | (tried_losses > losses)
            moved = torch.where(by_image(better, moved), tried, moved)
            losses = torch.where(better, tried_losses, losses)
        result[left] = moved
        return result


DRAWS = 16
"""How many random numbers an image is given for a query: for places and for a sign of each of up to 11 channels."""


def stripes(images: Tensor, eps: float, seed: int, ids: Tensor) -> Tensor:
    """Vertical stripes at the edge of the budget, of a random sign in each channel."""
    channels, width = images.shape[1], images.shape[3]
    return (images + eps * signs(uniform(seed, ids, (channels, 1, width)))).clamp_(0, 1)


def square(moved: Tensor, images: Tensor, eps: float, side: int, draws: Tensor) -> Tensor:
    """A square at a random place, at the edge of the L-inf budget, of a random sign in each channel."""
    _, channels, height, width = images.shape
    side = min(max(side, 1), height, width)
    rows, columns = window(draws[:, 0], side, height), window(draws[:, 1], side, width)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    edge = images + eps * signs(draws[:, 2 : 2 + channels, None, None])
    return torch.where(inside, edge, moved).clamp_(0, 1)


def signs(draws: Tensor) -> Tensor:
    """-1 or 1 of uniform numbers."""
    return torch.where(draws < 0.5, -1.0, 1.0)


def window(draws: Tensor, side: int, length: int) -> Tensor:
    """``(n, length)`` ``bool``: where each window is, placed by uniform numbers ``(n,)``."""
    start = (draws * (length - side + 1)).long()[:, None]
    places = torch.arange(length, device=draws.device)
    return (places >= start) & (places < start + side)
