"""Learning curves: how every metric went while a net was trained."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from visionlab.pictures.colours import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILLION, Colour
from visionlab.pictures.figures import DPI, at_points, render, unit
from visionlab.pictures.text import printable, shorten

Series = Mapping[str, tuple[Sequence[float] | npt.NDArray[np.generic], Sequence[float] | npt.NDArray[np.generic]]]

Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

STAGE_COLOURS = {"train": BLUE, "val": VERMILLION, "test": GREEN}
OTHER_COLOURS: list[Colour] = [BLACK, ORANGE, PURPLE, SKY_BLUE]
LOWER_IS_BETTER = ("loss", "nll", "ece", "error", "perplexity", "fid")
PANEL = (4.0, 2.9)  # inches
TITLE_POINTS, POINTS = 10, 8
MANY = 300  # points beyond which a curve is too restless to read


def curves(series: Series, columns: int = 3) -> Image.Image:
    """Draw learning curves, as :func:`figure` lays them out. Returns RGB."""
    return render(figure(series, columns))


def figure(series: Series, columns: int = 3) -> Figure:
    """Lay out learning curves: one panel a metric, in which each stage has its colour.

    ``train/loss`` and ``val/loss`` share the panel ``loss``; a name without a stage has a panel of its own. The best
    value of ``val`` is marked. A curve of more than 300 points is drawn pale under its running mean over 2 % of it.
    Losses and errors that span more than two decades have a logarithmic scale.

    Args:
        series: by name, the steps and as many values, in the order of steps. NaN and infinite values leave a gap.
        columns: panels in a row, at least 1.

    Raises:
        ValueError: if there is nothing to draw, or steps and values are not equally many.
    """
    if len(series) == 0:
        raise ValueError("there are no curves to draw")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}")
    panels: dict[str, dict[str, Curve]] = {}
    for name, (steps, values) in series.items():
        x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
        if x.shape != y.shape or x.ndim != 1:
            raise ValueError(f"{name} needs as many steps as values, in one dimension, not {x.shape} and {y.shape}")
        stage, metric = name.split("/", 1) if "/" in name else ("", name)
        panels.setdefault(metric, {})[stage] = x, np.where(np.isfinite(y), y, np.nan)

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    size = (PANEL[0] * columns, PANEL[1] * rows)
    drawn = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
    for at, (metric, stages) in enumerate(panels.items()):
        _panel(drawn.add_subplot(rows, columns, at + 1), metric, stages)
    return drawn


def lower_is_better(metric: str) -> bool:
    """Whether a metric's name says that less of it is better: it contains loss, nll, ece, error, perplexity or fid."""
    words = metric.lower().replace("/", "_").split("_")
    return any(word in words for word in LOWER_IS_BETTER)


def _panel(axes: Axes, metric: str, stages: Mapping[str, Curve]) -> None:
    others = iter(OTHER_COLOURS * len(stages))
    handles = []
    labels = []
    for stage, curve in stages.items():
        colour = STAGE_COLOURS[stage] if stage in STAGE_COLOURS else next(others)
        handles.append(_draw(axes, curve, colour))
        labels.append(shorten(printable(stage), 0.3 * PANEL[0] * DPI, at_points(POINTS)))
        if stage == "val" and not np.isnan(curve[1]).all():
            labels[-1] += _mark_best(axes, curve, colour, lower_is_better(metric))

    steps = np.concatenate([x[~np.isnan(y)] for x, y in stages.values()])
    values = np.concatenate([y[~np.isnan(y)] for _, y in stages.values()])
    if len(np.unique(steps)) > 1:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    else:
        axes.set_xticks(steps)
    if len(values) == 0:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", fontsize=TITLE_POINTS)
    elif lower_is_better(metric) and values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")
    title = shorten(printable(metric), 0.8 * PANEL[0] * DPI, at_points(TITLE_POINTS))
    axes.set_title(title, fontsize=TITLE_POINTS, parse_math=False)
    axes.set_xlabel("step", fontsize=POINTS)
    axes.tick_params(labelsize=POINTS)
    axes.yaxis.get_offset_text().set_fontsize(POINTS)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if any(stages):
        # given one by one, for of its own accord a legend leaves out what begins with an underscore
        for text in axes.legend(handles, labels, fontsize=POINTS, frameon=False).get_texts():
            text.set_parse_math(False)


def _draw(axes: Axes, curve: Curve, colour: Colour) -> Line2D:
    x, y = curve
    if len(y) <= MANY:
        (line,) = axes.plot(x, y, "o-", color=unit(colour), linewidth=1.5, markersize=3 if len(y) > 1 else 6)
    else:
        axes.plot(x, y, color=unit(colour), linewidth=0.6, alpha=0.25)
        (line,) = axes.plot(x, _running_mean(y, len(y) // 50), color=unit(colour), linewidth=1.5)
    return line


def _mark_best(axes: Axes, curve: Curve, colour: Colour, lower: bool) -> str:
    """Put a star on the best point, and say in words where it is."""
    x, y = curve
    best = int(np.nanargmin(y) if lower else np.nanargmax(y))
    axes.plot(x[best], y[best], "*", color=unit(colour), markersize=12, markeredgecolor="white", zorder=4)
    return f" (best {y[best]:.4g} at step {x[best]:,.0f})"


def _running_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """The mean of the finite values within ``width // 2`` of each; NaN where there is none."""
    at = np.arange(len(values))
    first, end = np.maximum(at - width // 2, 0), np.minimum(at + width // 2 + 1, len(values))
    total = np.append(0, np.cumsum(np.nan_to_num(values)))
    count = np.append(0, np.cumsum(~np.isnan(values)))
    means = np.full(len(values), np.nan)
    np.divide(total[end] - total[first], count[end] - count[first], out=means, where=count[end] > count[first])
    return means
