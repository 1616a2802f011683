import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from visionlab.metrics.classification import MultiLabel, average_precision
from visionlab.metrics.precision_recall import eleven_point_area, monotone_area, step_area


def curve(scores, positive):
    """Precision and recall of the first 1, 2, ... by score, one by one."""
    true, precision, recall = 0, [], []
    for taken, i in enumerate(np.argsort(-scores, kind="stable"), start=1):
        true += bool(positive[i])
        precision.append(true / taken)
        recall.append(true / positive.sum())
    return np.array(precision), np.array(recall)


def slow_eleven_points(precision, recall):
    """As the development kit of 2007 computes it (``VOCevalcls.m``)."""
    total = 0.0
    for tenths in range(11):
        reached = [p for p, r in zip(precision, recall, strict=True) if r >= tenths / 10]
        total += max(reached, default=0.0) / 11
    return total


def slow_monotone(precision, recall):
    """As the development kit of 2012 computes it (``VOCap.m``)."""
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in reversed(range(len(mpre) - 1)):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)) if mrec[i] != mrec[i - 1])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("images", "share"), [(1, 1.0), (10, 0.5), (200, 0.05), (1000, 0.3)])
def test_areas_equal_the_slow_definitions(images, share, seed):
    rng = np.random.default_rng(seed)
    positive = rng.uniform(size=images) < share
    positive[rng.integers(images)] = True
    scores = rng.normal(size=images) + positive
    precision, recall = curve(scores, positive)
    assert eleven_point_area(precision, recall) == pytest.approx(slow_eleven_points(precision, recall), rel=1e-12)
    assert monotone_area(precision, recall) == pytest.approx(slow_monotone(precision, recall), rel=1e-12)
    assert step_area(precision, recall) == pytest.approx(average_precision_score(positive, scores), rel=1e-12)
    for area in (step_area, eleven_point_area, monotone_area):
        value = average_precision(torch.from_numpy(scores), torch.from_numpy(positive), area)
        assert value.item() == pytest.approx(area(precision, recall), rel=1e-12)


def test_a_curve_that_ends_before_all_are_found():
    precision, recall = np.array([1.0, 0.5, 2 / 3]), np.array([0.25, 0.25, 0.5])
    assert eleven_point_area(precision, recall) == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)
    assert monotone_area(precision, recall) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert step_area(precision, recall) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)


def test_three_of_ten_reach_a_recall_of_three_tenths():
    precision, recall = np.ones(3), np.arange(1, 4) / 10
    assert eleven_point_area(precision, recall) == pytest.approx(4 / 11)


def test_an_empty_curve_has_no_area():
    none = np.zeros(0)
    assert [area(none, none) for area in (step_area, eleven_point_area, monotone_area)] == [0, 0, 0]


def test_a_worked_example():
    # Padilla et al. 2020, "A Survey on Performance Metrics for Object-Detection Algorithms": 24 detections, 15 objects,
    # 26.84 % by 11 points and 24.56 % by all of them (the fifth digit cut off)
    right = np.isin(np.arange(1, 25), [1, 3, 10, 12, 13, 14, 23])
    precision, recall = right.cumsum() / np.arange(1, 25), right.cumsum() / 15
    assert eleven_point_area(precision, recall) == pytest.approx(0.2684, abs=5e-5)
    assert monotone_area(precision, recall) == pytest.approx(0.2456, abs=1e-4)


def test_multi_label_metrics_take_an_area():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(100, 3, generator=generator)
    labels = (torch.rand(100, 3, generator=generator) < 0.3).float()
    labels[:10, 1] = torch.nan
    metric = MultiLabel(3, eleven_point_area)
    metric.update({"logits": logits, "scores": logits.sigmoid()}, {"labels": labels, "ids": torch.arange(100)})
    expected = []
    for c in range(3):
        known = ~labels[:, c].isnan()
        expected.append(slow_eleven_points(*curve(logits[known, c].numpy(), labels[known, c].numpy() > 0)))
    result = metric.compute()
    np.testing.assert_allclose(result["average_precision_per_class"].numpy(), expected, rtol=1e-12)
    assert result["mAP"].item() == pytest.approx(np.mean(expected))
