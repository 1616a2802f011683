"""Confusion matrices: which classes a net takes for which."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from PIL import Image

from visionlab.pictures.figures import DPI, at_points, render
from visionlab.pictures.text import printable, shorten

COUNTED = 20  # classes up to which every cell has its number
NAMED = 60  # classes up to which there is room for names
PAIRS = 15
LONGEST = 2.2  # inches of a name
POINTS = 8
TITLE_POINTS = 11


def confusion(counts: npt.NDArray[np.int64], names: Sequence[str], title: str = "") -> Image.Image:
    """Draw a confusion matrix, as :func:`figure` lays it out. Returns RGB."""
    return render(figure(counts, names, title))


def figure(counts: npt.NDArray[np.int64], names: Sequence[str], title: str = "") -> Figure:
    """Lay out a confusion matrix; its colour is the share of the true class.

    Up to 20 classes, each cell has its number of images. Of more classes, the 15 pairs that are confused most often are
    listed beside the matrix, and the colour grows with the cube root, so that rare confusions are seen. A true class
    without images is a grey row.

    Args:
        counts: ``(C, C)``, at least 0, a row for each true class and a column for each predicted one.
        names: C class names.
        title: one line above.

    Raises:
        ValueError: if ``counts`` is not such a matrix or the names are not C.
    """
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0 or counts.min() < 0:
        raise ValueError(f"counts must be a square matrix of numbers of images, not {counts.dtype} {counts.shape}")
    classes = len(counts)
    if len(names) != classes:
        raise ValueError(f"{classes} classes need as many names, not {len(names)}")
    listed = classes > COUNTED
    labels = [shorten(printable(name), LONGEST * DPI, at_points(POINTS)) for name in names]
    pairs = _pairs(counts, labels) if listed else []
    cell = max(8 / classes, 1 / DPI) if listed else max(1.7 / classes, 0.42)
    ticks = labels if classes <= NAMED else [str(classes)]
    upright = _width(ticks) > cell and classes <= NAMED

    # in inches; laid out by hand, for matplotlib's own layouts clip names that are long beside a matrix that is square
    side = cell * classes
    left = _width(ticks) + 0.5
    below = (_width(ticks) if upright else 0.15) + 0.5
    above = 0.45 if title else 0.15
    bar = side + left + 0.15
    beside = bar + 0.2 + 0.75
    width, height = beside + (_width(pairs) + 0.15 if listed else 0), side + below + above
    drawn = Figure(figsize=(width, height), dpi=DPI)
    axes = drawn.add_axes((left / width, below / height, side / width, side / height))

    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    colours = colormaps["Blues"].with_extremes(bad="0.85")
    norm = PowerNorm(1 / 3 if listed else 1, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap=colours, norm=norm, interpolation="nearest")
    bar_height = min(side, 4)
    bar_axes = drawn.add_axes((bar / width, below / height, 0.2 / width, bar_height / height))
    drawn.colorbar(image, cax=bar_axes).set_label("share of the true class", fontsize=POINTS)
    bar_axes.tick_params(labelsize=POINTS)
    axes.set_xlabel("predicted", fontsize=POINTS + 1)
    axes.set_ylabel("true", fontsize=POINTS + 1)
    axes.tick_params(labelsize=POINTS)
    heading = shorten(printable(title), (width - left) * DPI, at_points(TITLE_POINTS, bold=True))
    title_style = {"va": "top", "fontsize": TITLE_POINTS, "fontweight": "bold", "parse_math": False}
    drawn.text(left / width, 1 - 0.15 / height, heading, title_style)
    if classes <= NAMED:
        axes.set_xticks(range(classes), labels, rotation=90 if upright else 0, parse_math=False)
        axes.set_yticks(range(classes), labels, parse_math=False)
    if listed:
        text = "\n".join(pairs)
        drawn.text(
            beside / width, 1 - above / height, text, va="top", fontsize=POINTS, linespacing=1.6, parse_math=False
        )
    else:
        for (row, column), count in np.ndenumerate(counts):
            if count > 0:
                ink = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, _short(int(count)), ha="center", va="center", color=ink, fontsize=POINTS)
    return drawn


def most_confused(counts: npt.NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """The pairs (true, predicted) of different classes with the most images, most first, then in the order of classes.

    Args:
        counts: ``(C, C)``, a row for each true class.
        most: the greatest number of pairs; pairs without images are left out.
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, wrong.shape)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if wrong[r, c] > 0]


def _pairs(counts: npt.NDArray[np.int64], labels: Sequence[str]) -> list[str]:
    pairs = most_confused(counts, PAIRS)
    lines = [f"{counts[r, c]:,} of {counts[r].sum():,}:  {labels[r]} → {labels[c]}" for r, c in pairs]
    return ["Confused most often (true → predicted)", *lines] if lines else ["No image is confused."]


def _short(count: int) -> str:
    """A number that fits into a cell."""
    return f"{count:,}" if count < 100_000 else f"{count / 1000:,.0f}k" if count < 10_000_000 else f"{count:.0e}"


def _width(texts: Iterable[str]) -> float:
    """The width in inches of the widest of these texts."""
    return max(at_points(POINTS).getlength(text) for text in texts) / DPI
