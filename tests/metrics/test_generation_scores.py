import numpy as np
import pytest
import torch

from visionlab.metrics import generation
from visionlab.metrics.generation import inception_score, kernel_distance, nearest, radii, within

kid = pytest.importorskip("torch_fidelity.metric_kid")
isc = pytest.importorskip("torch_fidelity.metric_isc")
prc = pytest.importorskip("torch_fidelity.metric_prc")


def drawn(samples, dimensions=16, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).standard_normal((samples, dimensions)) * scale + shift


def slow_kernel_distance(x, y):
    """Sums over pairs, as equation 4 of Gretton et al. 2012 has them."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    same = sum(kernel(a, b) for some in (x, y) for i, a in enumerate(some) for j, b in enumerate(some) if i != j)
    return same / (len(x) * (len(x) - 1)) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_kernel_distance_of_a_few_points():
    x, y = drawn(7, 3), drawn(7, 3, seed=1, scale=1.3)
    mean, deviation = kernel_distance(x, y, subsets=3)
    assert mean == pytest.approx(slow_kernel_distance(x, y), rel=1e-12)
    assert deviation < 1e-12  # every subset is everything


def test_kernel_distance_is_that_of_torch_fidelity():
    x, y = drawn(300), drawn(300, seed=1, scale=1.1, shift=0.1)
    settings = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "verbose": False}
    settings |= {"kid_kernel_poly_coef0": 1, "kid_subsets": 2, "kid_subset_size": 300, "rng_seed": 5}
    expected = kid.kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **settings)
    assert kernel_distance(x, y)[0] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)


def test_kernel_distance_of_gaussians_comes_near_the_closed_form():
    d, s, a = 8, 1.3, 0.4

    def expected_kernel(variance, mean_product, mean_squares):
        """Of (t + 1)^3 for t = x y / d with independent normal x and y of isotropic variances, by the moments of t."""
        (v, w), m, (mx, my) = variance, mean_product, mean_squares
        first = m / d
        second = (m**2 + v * my + w * mx + d * v * w) / d**2
        # E (x y)^3 = m^3 + 3 m (v |b|^2 + w |a|^2 + d v w) + 6 v w m, for means a and b with a b = m
        third = (m**3 + 3 * m * (v * my + w * mx + d * v * w) + 6 * v * w * m) / d**3
        return third + 3 * second + 3 * first + 1

    real, generated = (1.0, 0.0), (s**2, d * a**2)
    terms = [
        expected_kernel((v, w), np.sqrt(mx * my), (mx, my))
        for (v, mx), (w, my) in ((generated, generated), (real, real), (generated, real))
    ]
    closed = terms[0] + terms[1] - 2 * terms[2]
    x, y = drawn(20_000, d, scale=s, shift=a), drawn(20_000, d, seed=1)
    mean, deviation = kernel_distance(x, y, subsets=20, subset_size=800)
    assert mean == pytest.approx(closed, rel=0.05)
    assert abs(mean - closed) < 4 * deviation / np.sqrt(20)


def test_kernel_distance_of_equals_is_zero_on_average_and_by_its_seed():
    x, y = drawn(2000), drawn(2000, seed=1)
    mean, deviation = kernel_distance(x, y, subset_size=200)
    assert abs(mean) < deviation
    assert kernel_distance(x, y, subset_size=200) == (mean, deviation)
    assert kernel_distance(x, y, subset_size=200, seed=1) != (mean, deviation)


def test_inception_score_is_that_of_torch_fidelity():
    logits = drawn(103, 10, scale=3)
    expected = isc.isc_features_to_metric(torch.from_numpy(logits), shuffle=False)
    found = inception_score(logits)
    assert found[0] == pytest.approx(expected["inception_score_mean"], rel=1e-12)
    assert found[1] == pytest.approx(expected["inception_score_std"], rel=1e-9)


def test_inception_score_has_its_bounds():
    sure = 2000 * np.eye(7)[np.arange(210) % 7]  # probabilities that vanish in float64
    assert inception_score(sure) == (pytest.approx(7), pytest.approx(0, abs=1e-12))
    assert inception_score(np.ones((50, 1)) * drawn(1, 7)) == (pytest.approx(1), pytest.approx(0, abs=1e-12))


def test_precision_and_recall_are_those_of_torch_fidelity(monkeypatch):
    real, generated = drawn(280), drawn(300, seed=1, scale=0.8, shift=0.1)
    expected = prc.calculate_precision_recall_full(torch.from_numpy(generated), torch.from_numpy(real))
    assert 0.2 < expected[1] < expected[0] < 0.99
    for entries in (generation.ENTRIES, 1000):  # in one part, and in many
        monkeypatch.setattr(generation, "ENTRIES", entries)
        found = within(generated, real, radii(real)).mean(), within(real, generated, radii(generated)).mean()
        assert found == (pytest.approx(expected[0], rel=1e-6), pytest.approx(expected[1], rel=1e-6))


def test_radii_and_neighbours_of_points_on_a_line():
    points = np.array([0.0, 1.0, 3.0, 7.0, 15.0])[:, None]
    np.testing.assert_allclose(radii(points, k=2), [3, 2, 3, 6, 12], rtol=1e-12)
    rows, distances = nearest(np.array([[6.0], [-2.0], [2.0]]), points)
    assert rows.tolist() == [3, 0, 1]  # the first of two that are equally near
    np.testing.assert_allclose(distances, [1, 2, 1], rtol=1e-12)
    assert within(np.array([[26.9], [27.1], [-3.1]]), points, radii(points, k=2)).tolist() == [True, False, False]


def test_equal_images_are_at_no_distance():
    # float32 features far from the origin, where rounding would leave a distance
    real = (drawn(60, 500) + 1000).astype(np.float32)
    rows, distances = nearest(real[::-1], real)
    assert rows.tolist() == list(range(59, -1, -1))
    assert not distances.any()
    constant = np.repeat(real[:1], 9, axis=0)
    assert not radii(constant).any()
    assert within(constant, constant, radii(constant)).all()
    assert not within(constant + 1, constant, radii(constant)).any()


def test_too_few_images_are_an_error():
    with pytest.raises(ValueError, match="at least 2 images"):
        kernel_distance(drawn(1), drawn(5))
    with pytest.raises(ValueError, match="10 parts needs as many images, not 9"):
        inception_score(drawn(9))
    with pytest.raises(ValueError, match="more than 3 images, not 3"):
        radii(drawn(3))
    for compare in (kernel_distance, nearest):
        with pytest.raises(ValueError, match="not 16 and 12"):
            compare(drawn(20), drawn(20, 12))
