"""What an attack did: the image, what was added to it, and what came of it; and what is left as the budget grows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from visionlab.pictures.colours import BLUE, INK, RIGHT, VERMILLION, WRONG
from visionlab.pictures.figures import DPI, render, unit
from visionlab.pictures.grids import grid

FRACTIONS = 255
"""The levels of an 8-bit image: budgets are told in these."""


@dataclass(frozen=True)
class Attacked:
    """An image before and after an attack.

    image: ``(H, W, 1 or 3)`` float in [0, 1].
    moved: likewise.
    before: the picture of the image with what was predicted, ``(H, W, 1 or 3)`` ``uint8`` of any size.
    after: that of the moved image.
    said_before: the label and the confidence, in words.
    said_after: likewise.
    stayed: whether the label is the same.
    """

    image: npt.NDArray[np.float32]
    moved: npt.NDArray[np.float32]
    before: npt.NDArray[np.uint8]
    after: npt.NDArray[np.uint8]
    said_before: str
    said_after: str
    stayed: bool


def amplified(delta: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], float]:
    """A perturbation as an image, grey where nothing was changed, and by how much it was multiplied so that its largest
    value shows as black or white.

    Args:
        delta: ``(H, W, channels)``, in [-1, 1].

    Returns:
        ``(H, W, channels)``, and the factor of which 1 shows a change by half of the range; 1 where nothing changed.
    """
    largest = float(np.abs(delta).max())
    factor = 0.5 / largest if largest > 0 else 1.0
    return ((0.5 + factor * delta) * FRACTIONS).round().clip(0, FRACTIONS).astype(np.uint8), factor


def three_panels(attacked: Sequence[Attacked], title: str = "", cell: int = 256) -> Image.Image:
    """A row an image: itself, what was added to it, amplified, and what came of it, as in figure 1 of Goodfellow et al.
    2015; with what was predicted. The frame says whether the prediction stayed.
    """
    pictures, captions, colours = [], [], []
    for one in attacked:
        delta, factor = amplified(one.moved - one.image)
        largest = float(np.abs(one.moved - one.image).max())
        pictures += [one.before, delta, one.after]
        added = f"added, at most {largest * FRACTIONS:.3g}/{FRACTIONS}\nshown {factor:.3g} times as strong"
        captions += [one.said_before, added, one.said_after]
        colours += [RIGHT, None, RIGHT if one.stayed else WRONG]
    return grid(pictures, captions=captions, colours=colours, columns=3, cell=cell, title=title)


def budget_curve(
    budgets: Sequence[float], values: Sequence[float], metric: str, chance: float, norm: str
) -> Image.Image:
    """What is left of a metric as the budget grows.

    Args:
        budgets: in pixels of [0, 1], in any order; those of L-inf are shown in levels of an 8-bit image.
        values: of the metric, as many; NaN leaves a gap.
        metric: its name.
        chance: the metric of an answer that does not look at the image, at most.
        norm: of the budgets.

    Raises:
        ValueError: if there is nothing to draw, or budgets and values are not equally many.
    """
    if len(budgets) == 0 or len(budgets) != len(values):
        raise ValueError(
            f"a curve needs as many values as budgets, and at least one; not {len(values)}, {len(budgets)}"
        )
    order = np.argsort(budgets)
    scale = FRACTIONS if norm == "linf" else 1
    x, y = np.asarray(budgets, np.float64)[order] * scale, np.asarray(values, np.float64)[order]
    figure = Figure(figsize=(5.0, 3.4), dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
    axes = figure.add_subplot()
    axes.plot(x, y, "o-", color=unit(BLUE), linewidth=1.5, markersize=4)
    axes.axhline(chance, color=unit(VERMILLION), linewidth=1, linestyle="--")
    axes.annotate(
        "chance", (1, chance), xycoords=("axes fraction", "data"), color=unit(INK), fontsize=8, ha="right", va="bottom"
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"budget, {norm}" + (f", in 1/{FRACTIONS}" if norm == "linf" else ""), fontsize=9)
    axes.set_title(metric, fontsize=10, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return render(figure)
