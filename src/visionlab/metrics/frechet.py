"""The Frechet distance between two normal distributions, and what it needs to know of a sample."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Float64s = npt.NDArray[np.float64]

ROWS = 4096
"""Samples whose float64 copies are in memory at once."""

WELL_CONDITIONED = 1e-10
"""The least ratio of the pivots of a covariance to the greatest at which eigenvalues of a product of two are exact
enough: to 1e-12 of their sum there, while each vanishing one would add 1e-8 of the greatest."""


def mean_and_covariance(features: Floats) -> tuple[Float64s, Float64s]:
    """The mean ``(d,)`` and the unbiased covariance ``(d, d)`` of ``(N, d)`` samples, in float64.

    Raises:
        ValueError: if there are fewer than two samples, or one is not finite.
    """
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 samples, not {len(features)}")
    mean: Float64s = features.mean(axis=0, dtype=np.float64)
    if not np.isfinite(mean).all():
        raise ValueError("the features of some image are not finite")
    scatter = np.zeros((features.shape[1], features.shape[1]))
    for start in range(0, len(features), ROWS):
        centred = features[start : start + ROWS].astype(np.float64) - mean
        scatter += centred.T @ centred
    return mean, scatter / (len(features) - 1)


def frechet_distance(mean_1: Float64s, covariance_1: Float64s, mean_2: Float64s, covariance_2: Float64s) -> float:
    """The squared Frechet distance between two normal distributions: ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``
    (Dowson and Landau 1982; of Inception's features it is the FID of Heusel et al. 2017, equation 6).

    The trace of the root is the sum of the roots of the eigenvalues of ``C1 C2``; for ``C1 = L L^T`` those of the
    symmetric ``L^T C2 L`` are the same. Where a covariance is singular or nearly so, as that of fewer samples than
    dimensions is, it is the sum of the singular values of ``A1^T A2`` for factors ``C = A A^T`` without the directions
    that vanish.

    Args:
        mean_1: ``(d,)``.
        covariance_1: ``(d, d)``, symmetric, positive semi-definite.
        mean_2: likewise.
        covariance_2: likewise.

    Raises:
        ValueError: if the shapes do not fit each other, or a number is not finite.
    """
    dimensions = len(mean_1)
    shapes = [array.shape for array in (mean_1, covariance_1, mean_2, covariance_2)]
    if shapes != 2 * [(dimensions,), (dimensions, dimensions)]:
        raise ValueError(f"means and covariances must be (d,), (d, d), (d,) and (d, d), not {shapes}")
    for array in (mean_1, covariance_1, mean_2, covariance_2):
        if not np.isfinite(array).all():
            raise ValueError("a mean or a covariance is not finite")
    traces = np.trace(covariance_1) + np.trace(covariance_2)
    distance = np.square(mean_1 - mean_2).sum() + traces - 2 * _trace_of_root(covariance_1, covariance_2)
    return max(0.0, float(distance))  # of equal distributions rounding may leave less than nothing


def _trace_of_root(covariance_1: Float64s, covariance_2: Float64s) -> float:
    try:
        lower, other = np.linalg.cholesky(covariance_1), np.linalg.cholesky(covariance_2)
    except np.linalg.LinAlgError:
        return _trace_of_singular_root(covariance_1, covariance_2)
    for pivots in (np.diag(lower), np.diag(other)):
        if np.square(pivots.min() / pivots.max()) < WELL_CONDITIONED:
            return _trace_of_singular_root(covariance_1, covariance_2)
    eigenvalues = np.linalg.eigvalsh(lower.T @ covariance_2 @ lower)
    return float(np.sqrt(eigenvalues.clip(min=0)).sum())


def _trace_of_singular_root(covariance_1: Float64s, covariance_2: Float64s) -> float:
    return float(np.linalg.svd(_factor(covariance_1).T @ _factor(covariance_2), compute_uv=False).sum())


def _factor(covariance: Float64s) -> Float64s:
    """``A`` with ``A A^T`` the covariance, a column for each eigenvalue that is more than rounding."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    kept = eigenvalues > len(eigenvalues) * np.finfo(np.float64).eps * max(0.0, eigenvalues[-1])
    factor: Float64s = vectors[:, kept] * np.sqrt(eigenvalues[kept])
    return factor
