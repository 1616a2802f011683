"""How images too large for a net at once, or seen several times, become the class of each pixel.

What is computed at a time is bounded by the window or the tile: of the whole image there is only itself and the result,
and where windows overlap a band of scores as high as a window.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Logits = Callable[[Tensor], Tensor]
"""Gives ``(1, C, h, w)`` logits of ``(1, channels, H, W)`` images."""


def classes_of(scores: Tensor) -> Tensor:
    """The class with the highest score of each pixel; of equal ones the first.

    A running maximum over planes reads memory in its order, which ``argmax`` over the first dimension does not.

    Args:
        scores: ``(C, H, W)``, C at most 256.

    Returns:
        ``(H, W)`` ``uint8``.
    """
    best = scores[0].clone()
    classes = torch.zeros(best.shape, dtype=torch.uint8, device=scores.device)
    for label in range(1, len(scores)):
        # later labels are higher: the maximum is three times as fast as filling by a mask
        torch.maximum(classes, (scores[label] > best).view(torch.uint8) * label, out=classes)
        torch.maximum(best, scores[label], out=best)
    return classes


class Inference(ABC):
    """A way to predict one image."""

    @abstractmethod
    def __call__(self, net: Logits, image: Tensor) -> Tensor:
        """The class of each pixel.

        Args:
            net: gives logits.
            image: ``(channels, H, W)``, float in [0, 1], of any size.

        Returns:
            ``(H, W)`` ``uint8``.
        """


class SlidingWindow(Inference):
    """Windows that overlap, blended: a window's scores count less towards its border, linearly.

    A window that covers the image is the image. Where an image is seen at several scales or mirrored, its probabilities
    are averaged within each window (Chen et al. 2018, DeepLabv3+, section 4); otherwise logits are blended.

    Args:
        size: of the window, in pixels on each side; None for the whole image at once.
        overlap: of neighbouring windows, as a share of the size, in [0, 1).
        scales: at which each window is seen; what the net gives is brought back to the window's size.
        flip: whether each is seen mirrored left to right too.
    """

    def __init__(
        self, size: int | None = 512, overlap: float = 0.5, scales: Sequence[float] = (1.0,), flip: bool = False
    ) -> None:
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must lie in [0, 1), not {overlap}")
        if len(scales) == 0 or not all(scale > 0 for scale in scales):
            raise ValueError(f"scales must be positive, and at least one, not {list(scales)}")
        self.size, self.overlap, self.scales, self.flip = size, overlap, scales, flip

    @torch.no_grad()
    def __call__(self, net: Logits, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        tops, lefts = self._starts(height), self._starts(width)
        rows = height if self.size is None else min(self.size, height)
        columns = width if self.size is None else min(self.size, width)
        weights = _ramp(rows, len(tops))[:, None] * _ramp(columns, len(lefts))
        weights = weights.to(image.device, torch.float32)
        classes = torch.empty((height, width), dtype=torch.uint8, device=image.device)
        band: Tensor | None = None
        for top, end in zip(tops, [*tops[1:], height], strict=True):
            for left in lefts:
                window = image[None, :, top : top + rows, left : left + columns]
                scores = self._scores(net, window)[0]
                if band is None:
                    band = scores.new_zeros(len(scores), rows, width)
                band[:, :, left : left + columns] += scores * weights
            assert band is not None  # there is a window
            done = end - top  # no further window reaches these rows; only the weights' ratios matter to the highest
            classes[top:end] = classes_of(band[:, :done])
            band[:, : rows - done] = band[:, done:].clone()
            band[:, rows - done :] = 0
        return classes

    def _starts(self, length: int) -> list[int]:
        """Where windows begin, the last at the end of the image."""
        if self.size is None or self.size >= length:
            return [0]
        step = max(1, int(self.size * (1 - self.overlap)))
        return [*range(0, length - self.size, step), length - self.size]

    def _scores(self, net: Logits, window: Tensor) -> Tensor:
        if len(self.scales) == 1 and self.scales[0] == 1 and not self.flip:
            return net(window).float()
        size, total = window.shape[2:], torch.zeros((), device=window.device)
        for scale in self.scales:
            scaled = [max(1, round(scale * side)) for side in size]
            seen = window if scale == 1 else F.interpolate(window, scaled, mode="bilinear", antialias=True)
            for mirrored in (False, True) if self.flip else (False,):
                logits = net(seen.flip(3)).flip(3) if mirrored else net(seen)
                total = total + F.interpolate(logits.float(), size, mode="bilinear").softmax(1)
        return total


class OverlapTile(Inference):
    """Tiles side by side for nets of valid convolutions, each with the pixels around it that its outputs depend on;
    beyond the border the image is mirrored (Ronneberger et al. 2015, figure 2). The default is for the paper's U-Net,
    which sees 572 x 572 pixels and tells the classes of the 388 x 388 in their middle.

    Args:
        tile: the net's output, in pixels on each side.
        margin: how many pixels the net loses on each side.
        stride: of the net's coarsest features. Tiles begin at multiples of it, so that pooling falls on the same pixels
            as in the untiled image, and the outputs are the same.
    """

    def __init__(self, tile: int = 388, margin: int = 92, stride: int = 16) -> None:
        if min(tile, stride) < 1 or margin < 0 or tile < stride:
            raise ValueError(f"expected tile >= stride >= 1 and margin >= 0, not {tile}, {stride} and {margin}")
        self.tile, self.margin, self.stride = tile, margin, stride

    @torch.no_grad()
    def __call__(self, net: Logits, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        classes = torch.empty((height, width), dtype=torch.uint8, device=image.device)
        step = self.tile - self.tile % self.stride
        for top in range(0, height, step):
            rows = self._seen(top, height).to(image.device)
            for left in range(0, width, step):
                columns = self._seen(left, width).to(image.device)
                logits = net(image[None, :, rows[:, None], columns])[0]
                if logits.shape[1:] != (self.tile, self.tile):
                    sides = " x ".join(map(str, logits.shape[1:]))
                    raise ValueError(f"the net gives {sides} pixels of {len(rows)}, and not the tile's {self.tile}")
                place = classes[top : top + step, left : left + step]
                place.copy_(classes_of(logits[:, : place.shape[0], : place.shape[1]]))
        return classes

    def _seen(self, start: int, length: int) -> Tensor:
        """The rows or columns of the image that a tile sees, mirrored at its borders as often as it takes."""
        seen = torch.arange(start - self.margin, start + self.tile + self.margin)
        if length == 1:
            return torch.zeros_like(seen)
        seen = seen.remainder(2 * (length - 1))
        return torch.minimum(seen, 2 * (length - 1) - seen)


def _ramp(length: int, windows: int) -> Tensor:
    """``(length,)``, how much each row or column of a window counts: alike where the window is alone."""
    if windows == 1:
        return torch.ones(length, dtype=torch.float64)
    at = torch.arange(1, length + 1, dtype=torch.float64)
    return torch.minimum(at, length + 1 - at) / length
