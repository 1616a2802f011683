import numpy as np
import pytest
import torch

from visionlab.metrics.frechet import frechet_distance, mean_and_covariance

torch_fidelity = pytest.importorskip("torch_fidelity.metric_fid")


def turned(spread, samples, seed=0, shift=0.0):
    """Normal samples whose standard deviations along the axes of some turned frame are ``spread``."""
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(np.random.default_rng(9).standard_normal((len(spread), len(spread))))[0]
    return (rng.standard_normal((samples, len(spread))) * spread) @ frame + shift


def by_singular_values(x, y):
    """The distance without covariances: the trace of their root is the nuclear norm of the product of the samples."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = (x - mean_x) / np.sqrt(len(x) - 1), (y - mean_y) / np.sqrt(len(y) - 1)
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return np.square(mean_x - mean_y).sum() + np.square(x).sum() + np.square(y).sum() - 2 * root


def by_torch_fidelity(x, y):
    statistics = [torch_fidelity.fid_features_to_statistics(torch.from_numpy(some)) for some in (x, y)]
    return torch_fidelity.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]


def ours(x, y):
    return frechet_distance(*mean_and_covariance(x), *mean_and_covariance(y))


def test_normal_distributions_whose_covariances_commute():
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    one, other = rng.uniform(0.1, 3, (2, 12))
    mean_1, mean_2 = rng.standard_normal((2, 12))
    found = frechet_distance(mean_1, frame * one**2 @ frame.T, mean_2, frame * other**2 @ frame.T)
    assert found == pytest.approx(np.square(mean_1 - mean_2).sum() + np.square(one - other).sum(), rel=1e-10)


def test_normal_distributions_of_two_dimensions():
    a, b = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.5, -0.4], [-0.4, 0.6]])
    # the root of a 2 x 2 matrix has the trace sqrt(tr M + 2 sqrt(det M))
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    found = frechet_distance(np.zeros(2), a, np.array([3.0, 4.0]), b)
    assert found == pytest.approx(25 + np.trace(a + b) - 2 * root, rel=1e-12)


def test_samples_of_gaussians_come_near_the_closed_form():
    spread = np.linspace(0.5, 2, 8)
    x, y = turned(spread, 40_000), turned(1.5 * spread, 40_000, seed=1, shift=0.25)
    assert ours(x, y) == pytest.approx(8 * 0.25**2 + np.square(0.5 * spread).sum(), rel=0.02)


# the eigenvalues of a covariance lie within a factor of exp(decay): up to 1e15, where rounding makes it singular
@pytest.mark.parametrize("decay", [2, 12, 20, 23, 26, 35])
def test_covariances_of_any_condition(decay):
    spread = np.exp(-np.linspace(0, decay / 2, 40))
    x, y = turned(spread, 500), turned(1.2 * spread, 450, seed=1, shift=0.1)
    assert ours(x, y) == pytest.approx(by_singular_values(x, y), rel=1e-9)
    assert ours(x, y) == pytest.approx(by_torch_fidelity(x, y), rel=1e-4)


@pytest.mark.parametrize("samples", [(2, 3), (10, 400), (400, 10), (30, 31), (41, 41)])
def test_fewer_samples_than_dimensions(samples):
    spread = np.linspace(0.1, 2, 40)
    x, y = turned(spread, samples[0]), turned(spread, samples[1], seed=1, shift=0.3)
    assert ours(x, y) == pytest.approx(by_singular_values(x, y), rel=1e-9)
    assert ours(y, x) == pytest.approx(ours(x, y), rel=1e-9)
    assert ours(x, y) == pytest.approx(by_torch_fidelity(x, y), rel=1e-4)


def test_a_distribution_is_at_no_distance_from_itself():
    for samples in (20, 200):
        x = turned(np.linspace(0.1, 2, 40), samples)
        assert 0 <= ours(x, x) < 1e-10


def test_constant_samples():
    x, spread = np.full((50, 6), 0.1), turned(np.ones(6), 3000)
    assert ours(x, x + 2) == pytest.approx(6 * 4, rel=1e-12)
    assert ours(x, spread) == pytest.approx(by_singular_values(x, spread), rel=1e-12)
    assert ours(np.zeros((5, 6)), np.zeros((9, 6))) == 0


def test_statistics_are_those_of_numpy_in_float64():
    features = np.random.default_rng(0).standard_normal((9000, 5)).astype(np.float32) + np.float32(300)
    mean, covariance = mean_and_covariance(features)
    np.testing.assert_allclose(mean, features.astype(np.float64).mean(0), rtol=1e-13)
    np.testing.assert_allclose(covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-9)


def test_what_is_no_sample_is_an_error():
    with pytest.raises(ValueError, match="at least 2 samples, not 1"):
        mean_and_covariance(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="not finite"):
        mean_and_covariance(np.array([[0.0, np.nan], [1.0, 2.0]]))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(np.zeros(2), np.full((2, 2), np.inf), np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))
