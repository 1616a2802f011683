"""The Frechet distance of 2,048 dimensions, as FID has, over torchmetrics' and over scipy's matrix root.

The covariances are those of 6,000 samples each whose variances fall by a factor of a million, as features' do. Also the
relative difference from the distance that the samples' singular values give without any covariance; and the time where
a covariance is singular, of 1,500 samples.

CPU time of one thread; all take turns, and the ratio is taken within each round.

Usage: python benchmarks/frechet.py [rounds]
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
from threadpoolctl import threadpool_limits
from torchmetrics.image.fid import _compute_fid

from visionlab.metrics.frechet import frechet_distance, mean_and_covariance

DIMENSIONS = 2048
Float64s = npt.NDArray[np.float64]


def samples(count: int, seed: int, scale: float, shift: float) -> Float64s:
    frame = np.linalg.qr(np.random.default_rng(9).standard_normal((DIMENSIONS, DIMENSIONS)))[0]
    spread = scale * np.exp(-np.linspace(0, np.log(1e6) / 2, DIMENSIONS))
    drawn: Float64s = (np.random.default_rng(seed).standard_normal((count, DIMENSIONS)) * spread) @ frame + shift
    return drawn


def exact(x: Float64s, y: Float64s) -> float:
    """From the samples: the trace of the root is the nuclear norm of their product."""
    means = np.square(x.mean(0) - y.mean(0)).sum()
    x, y = ((some - some.mean(0)) / np.sqrt(len(some) - 1) for some in (x, y))
    triangles = [np.linalg.qr(some, mode="r") for some in (x, y)]
    root = np.linalg.svd(triangles[0] @ triangles[1].T, compute_uv=False).sum()
    return float(means + np.square(x).sum() + np.square(y).sum() - 2 * root)


def by_matrix_root(mean_1: Float64s, covariance_1: Float64s, mean_2: Float64s, covariance_2: Float64s) -> float:
    """As the authors' code and pytorch-fid have it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arguments that scipy is about to drop
        root = scipy.linalg.sqrtm(covariance_1 @ covariance_2).real
    return float(
        np.square(mean_1 - mean_2).sum() + np.trace(covariance_1) + np.trace(covariance_2) - 2 * np.trace(root)
    )


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    start = time.process_time()
    value = float(run())
    return time.process_time() - start, value


def main(rounds: int) -> None:
    """Print times, ratios and differences."""
    torch.set_num_threads(1)
    x, y = samples(6000, 0, 1.0, 0.0), samples(6000, 1, 1.1, 0.01)
    real, generated = mean_and_covariance(x), mean_and_covariance(y)
    tensors = [torch.from_numpy(array) for array in (*real, *generated)]
    ways: dict[str, Callable[[], Any]] = {
        "visionlab": lambda: frechet_distance(*real, *generated),
        "torchmetrics": lambda: _compute_fid(*tensors),
        "scipy sqrtm": lambda: by_matrix_root(*real, *generated),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    values = {}
    for _ in range(rounds):
        for name, way in ways.items():
            spent, values[name] = timed(way)
            seconds[name].append(spent)
    truth = exact(x, y)
    for name in ways:
        ratios = [theirs / ours for theirs, ours in zip(seconds[name], seconds["visionlab"], strict=True)]
        print(
            f"{name}: {statistics.median(seconds[name]):.2f} s, ratio {statistics.median(ratios):.2f} "
            f"[{min(ratios):.2f}-{max(ratios):.2f}], relative difference {abs(values[name] / truth - 1):.1e}"
        )
    few = samples(1500, 2, 1.1, 0.01)
    singular = mean_and_covariance(few)
    spent, value = timed(lambda: frechet_distance(*real, *singular))
    print(f"singular covariance: {spent:.2f} s, relative difference {abs(value / exact(x, few) - 1):.1e}")


if __name__ == "__main__":
    with threadpool_limits(1):
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
