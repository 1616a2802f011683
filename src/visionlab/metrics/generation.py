"""How like real images generated ones are, by their features: kernel distance, Inception Score, precision and recall,
and nearest neighbours. The Frechet distance is in :mod:`visionlab.metrics.frechet`.

All add up in float64. Features are the rows of ``(N, d)`` arrays.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from visionlab.metrics.frechet import Float64s, Floats

ENTRIES = 1 << 24
"""Distances that are in memory at once: 128 MiB."""


def kernel_distance(
    generated: Floats, real: Floats, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The squared maximum mean discrepancy by the kernel ``(x y / d + 1)^3``, without bias: of Inception's features it
    is the KID (Binkowski et al. 2018, section 4). It may be slightly negative.

    Args:
        generated: features, at least two.
        real: features, at least two.
        subsets: how many random subsets of each are compared.
        subset_size: of a subset, drawn without replacement; all images where there are fewer.
        seed: of the subsets.

    Returns:
        The mean over the subsets and its standard deviation.

    Raises:
        ValueError: if there are too few images, or the dimensions of the features differ.
    """
    size = min(subset_size, len(generated), len(real))
    if size < 2:
        raise ValueError(
            f"the kernel distance needs at least 2 images of both kinds, not {len(generated)}, {len(real)}"
        )
    _check_dimensions(generated, real)
    draw = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x, y = (some[draw.choice(len(some), size, replace=False)].astype(np.float64) for some in (generated, real))
        within = sum(kernel.sum() - kernel.trace() for kernel in (_cubic(x, x), _cubic(y, y)))
        values.append(within / (size * (size - 1)) - 2 * _cubic(x, y).mean())
    return float(np.mean(values)), float(np.std(values))


def _cubic(x: Float64s, y: Float64s) -> Float64s:
    kernel: Float64s = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def inception_score(logits: Floats, splits: int = 10) -> tuple[float, float]:
    """``exp(E KL(p(y|x) || p(y)))`` over a classifier's ``(N, C)`` logits of generated images (Salimans et al. 2016,
    section 4), of each of so many equal parts, in the images' order.

    Returns:
        The mean over the parts and its standard deviation: 1 where all images have one class distribution, C at most.

    Raises:
        ValueError: if there are fewer images than parts.
    """
    if len(logits) < splits:
        raise ValueError(f"the Inception Score in {splits} parts needs as many images, not {len(logits)}")
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    values = []
    for start, end in itertools.pairwise(bounds):
        log_p = logits[start:end].astype(np.float64)
        log_p -= log_p.max(axis=1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        log_q = np.log(p.mean(axis=0).clip(min=np.finfo(np.float64).tiny))  # p may vanish, and with it its part
        values.append(np.exp((p * (log_p - log_q)).sum(axis=1).mean()))
    return float(np.mean(values)), float(np.std(values))


def radii(points: Floats, k: int = 3) -> Float64s:
    """The distance of each of ``(N, d)`` points from its k-th nearest neighbour, ``(N,)``.

    Raises:
        ValueError: if no point has k others.
    """
    if len(points) <= k:
        raise ValueError(f"precision and recall by {k} neighbours need more than {k} images, not {len(points)}")
    # a point is the nearest to itself
    return np.concatenate([np.partition(part, k, axis=1)[:, k] for part in _distances(points, points)])


def within(queries: Floats, points: Floats, radii: Float64s) -> npt.NDArray[np.bool_]:
    """Whether each of ``(Q, d)`` queries is within the radius ``(N,)`` of any of ``(N, d)`` points: ``(Q,)``.

    With :func:`radii` this is the improved precision, the share of generated images on the manifold of the real ones,
    and the recall, the share of real images on the manifold of the generated ones (Kynkäänniemi et al. 2019, equations
    1 and 2).
    """
    return np.concatenate([(part <= radii).any(axis=1) for part in _distances(queries, points)])


def nearest(queries: Floats, points: Floats) -> tuple[npt.NDArray[np.int64], Float64s]:
    """The point nearest to each of ``(Q, d)`` queries, the first of equals: its row ``(Q,)`` and distance ``(Q,)``."""
    rows, distances = [], []
    for part in _distances(queries, points):
        rows.append(part.argmin(axis=1))
        distances.append(part.min(axis=1))
    return np.concatenate(rows), np.concatenate(distances)


def _distances(queries: Floats, points: Floats) -> Iterator[Float64s]:
    """Euclidean distances, some rows of queries at a time; those below what rounding leaves of equal points are 0."""
    _check_dimensions(queries, points)
    exact = points.astype(np.float64)
    origin = exact.mean(axis=0)
    exact -= origin  # small numbers lose less to rounding
    squares = np.square(exact).sum(axis=1)
    rows = max(1, ENTRIES // len(points))
    for start in range(0, len(queries), rows):
        some = queries[start : start + rows].astype(np.float64) - origin
        sums = np.square(some).sum(axis=1)[:, None] + squares
        squared = sums - 2 * (some @ exact.T)
        squared[squared < 1e-12 * sums] = 0
        yield np.sqrt(squared)


def _check_dimensions(one: Floats, other: Floats) -> None:
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"features must be of the same dimensions, not {one.shape[1]} and {other.shape[1]}")
