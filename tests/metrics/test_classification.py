import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, confusion_matrix, log_loss, recall_score, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error, multilabel_average_precision

from visionlab.metrics.classification import (
    MultiLabel,
    SingleLabel,
    average_precision,
    expected_calibration_error,
    rank_of_label,
)


def evaluate(metric, logits, labels):
    metric.update(
        {"logits": logits, "scores": logits}, {"images": logits, "labels": labels, "ids": torch.arange(len(logits))}
    )
    return metric.compute()


def random_logits(images, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator) * 2
    labels = torch.randint(classes, (images,), generator=generator)
    logits[torch.arange(images), labels] += 2
    return logits, labels


def slow_ranks(logits, labels):
    ranks = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        in_order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        ranks.append(len(row) if any(np.isnan(row)) else in_order.index(label))
    return ranks


@pytest.mark.parametrize(("images", "classes"), [(50, 2), (200, 5), (200, 6), (300, 10), (400, 1000)])
def test_single_label_equals_sklearn(images, classes):
    logits, labels = random_logits(images, classes)
    metrics = evaluate(SingleLabel(classes), logits, labels)
    every, truth = list(range(classes)), labels.numpy()
    softmax = logits.double().softmax(1).numpy()
    prediction = logits.numpy().argmax(1)
    assert metrics["top1"].item() == np.mean(prediction == truth)
    assert ("top5" in metrics) == (classes > 5)
    if classes > 5:
        assert metrics["top5"].item() == pytest.approx(top_k_accuracy_score(truth, logits.numpy(), k=5, labels=every))
    assert metrics["nll"].item() == pytest.approx(log_loss(truth, softmax, labels=every), rel=1e-6)
    np.testing.assert_array_equal(metrics["confusion"].numpy(), confusion_matrix(truth, prediction, labels=every))
    by_class = recall_score(truth, prediction, labels=every, average=None, zero_division=np.nan)
    np.testing.assert_allclose(metrics["accuracy_per_class"].numpy(), by_class, rtol=1e-12)
    # no confidence lies on an edge here, so that the side on which a bin is closed does not matter
    ece = multiclass_calibration_error(torch.from_numpy(softmax), labels, classes, n_bins=15)
    assert metrics["ece"].item() == pytest.approx(ece.item(), abs=1e-6)


def test_shapes_and_dtypes():
    metrics = evaluate(SingleLabel(10), *random_logits(20, 10))
    assert {name: (tuple(value.shape), value.dtype) for name, value in metrics.items()} == {
        "top1": ((), torch.float64),
        "top5": ((), torch.float64),
        "nll": ((), torch.float64),
        "ece": ((), torch.float64),
        "accuracy_per_class": ((10,), torch.float64),
        "confusion": ((10, 10), torch.int64),
    }


def test_single_label_records():
    logits, labels = random_logits(30, 4)
    metric = SingleLabel(4)
    evaluate(metric, logits, labels)
    assert metric.records["label"].tolist() == labels.tolist()
    assert metric.records["prediction"].tolist() == logits.argmax(1).tolist()
    torch.testing.assert_close(metric.records["confidence"], logits.softmax(1).amax(1))
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(metric.records["nll"], expected)
    assert metric.records["rank"].tolist() == slow_ranks(logits, labels)
    assert metric.records["correct"].tolist() == (logits.argmax(1) == labels).tolist()


def test_rank_with_ties_equals_a_stable_sort():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(3, (500, 8), generator=generator).float()
    logits[::7, 3] = -torch.inf
    logits[::5, 2] = torch.inf
    logits[::11, 5] = torch.nan
    labels = torch.randint(8, (500,), generator=generator)
    assert rank_of_label(logits, labels).tolist() == slow_ranks(logits, labels)


def test_constant_logits_score_by_chance():
    metrics = evaluate(SingleLabel(10), torch.zeros(100, 10), torch.arange(100) % 10)
    assert metrics["top1"].item() == 0.1
    assert metrics["top5"].item() == 0.5
    assert metrics["nll"].item() == pytest.approx(np.log(10))
    assert metrics["accuracy_per_class"].tolist() == [1.0] + [0.0] * 9
    assert metrics["ece"].item() == pytest.approx(0, abs=1e-7)


def test_nan_logits_are_wrong():
    logits = torch.eye(3) * 5
    logits[1] = torch.nan
    logits[2, 2] = torch.nan  # argmax would call this right
    metric = SingleLabel(3)
    metrics = evaluate(metric, logits, torch.arange(3))
    assert metrics["top1"].item() == pytest.approx(1 / 3)
    assert metrics["accuracy_per_class"].tolist() == [1, 0, 0]
    assert metrics["confusion"].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert metric.records["rank"].tolist() == [0, 3, 3]
    assert metric.records["prediction"].tolist() == [0, -1, -1]
    assert metrics["nll"].isnan()
    assert metrics["ece"].isnan()


def test_absent_class_has_no_accuracy():
    metrics = evaluate(SingleLabel(3), torch.eye(3)[[0, 0, 2]], torch.tensor([0, 2, 2]))
    np.testing.assert_array_equal(metrics["accuracy_per_class"].numpy(), [1, np.nan, 0.5])
    assert metrics["confusion"].tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]


def test_calibration_error_closes_bins_above():
    # (14/15, 1] is one bin, which holds all four: |3/4 - 3.91/4|
    confidences = torch.tensor([1.0, 1.0, 0.95, 0.96], dtype=torch.float64)
    correct = torch.tensor([False, True, True, True])
    assert expected_calibration_error(confidences, correct).item() == pytest.approx(abs(3 - 3.91) / 4)
    # 0.5 belongs to (0, 0.5]: there 0.5 against 1, and 0.9 against 0 above
    confidences = torch.tensor([0.5, 0.9], dtype=torch.float64)
    assert expected_calibration_error(confidences, torch.tensor([True, False]), bins=2).item() == pytest.approx(0.7)


def test_half_precision_logits():
    logits, labels = random_logits(64, 10)
    low = evaluate(SingleLabel(10), logits.bfloat16(), labels)
    same = evaluate(SingleLabel(10), logits.bfloat16().float(), labels)
    assert all(torch.equal(low[name], same[name]) for name in low)


def random_multi_label(images, classes, seed=0, levels=None):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(images, classes, generator=generator) < 0.3).float()
    logits = torch.randn(images, classes, generator=generator) + labels
    if levels is not None:
        logits = (logits * levels).round() / levels
    return logits, labels


@pytest.mark.parametrize(("images", "classes", "levels"), [(40, 1, None), (200, 2, 1), (100, 20, 2), (60, 1000, None)])
def test_multi_label_equals_sklearn(images, classes, levels):
    logits, labels = random_multi_label(images, classes, levels=levels)
    metrics = evaluate(MultiLabel(classes), logits, labels)
    expected = average_precision_score(labels.numpy(), logits.numpy(), average=None)
    np.testing.assert_allclose(metrics["average_precision_per_class"].numpy(), expected, rtol=1e-12)
    assert metrics["mAP"].item() == pytest.approx(np.mean(expected))
    nll = torch.nn.functional.binary_cross_entropy_with_logits(logits.double(), labels.double())
    assert metrics["nll"].item() == pytest.approx(nll.item(), rel=1e-6)


def test_unknown_labels_and_absent_classes():
    logits, labels = random_multi_label(80, 6, levels=2)
    labels[:, 1] = torch.where(labels[:, 1] > 0, torch.nan, 0)  # no known positive
    labels[:, 4] = torch.nan
    labels[::3, 2] = torch.nan
    labels[7] = torch.nan
    metric = MultiLabel(6)
    metrics = evaluate(metric, logits, labels)
    expected = np.full(6, np.nan)
    for c in (0, 2, 3, 5):
        known = ~labels[:, c].isnan()
        expected[c] = average_precision_score(labels[known, c].numpy(), logits[known, c].numpy())
    np.testing.assert_allclose(metrics["average_precision_per_class"].numpy(), expected, rtol=1e-12)
    assert metrics["mAP"].item() == pytest.approx(np.nanmean(expected))
    known = ~labels.isnan()
    nll = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known])
    assert metrics["nll"].item() == pytest.approx(nll.item(), rel=1e-6)
    assert metric.records["nll"].isnan().nonzero().tolist() == [[7]]


def test_unknown_labels_equal_torchmetrics():
    logits, labels = random_multi_label(80, 6, levels=2)
    labels[torch.rand(80, 6, generator=torch.Generator().manual_seed(1)) < 0.3] = torch.nan
    metrics = evaluate(MultiLabel(6), logits, labels)
    targets = labels.nan_to_num(-1).long()
    expected = multilabel_average_precision(logits.sigmoid(), targets, 6, average=None, ignore_index=-1)
    torch.testing.assert_close(metrics["average_precision_per_class"].float(), expected)


def test_few_known_labels_of_many_classes_take_little_memory_and_score_as_if_all_were_kept():
    generator = torch.Generator().manual_seed(2)
    images, classes = 300, 5_000
    labels = torch.full((images, classes), torch.nan)
    known = torch.randint(classes, (images, 8), generator=generator) // 50 * 50  # so that classes have several
    labels.scatter_(1, known, torch.randint(2, (images, 8), generator=generator).float())
    logits = torch.randn(images, classes, generator=generator)
    logits[3, known[3, 0]] = 0  # is kept, like the labels that are 0
    metric = MultiLabel(classes)
    for rows in torch.arange(images).split(64):
        metric.update({"logits": logits[rows]}, {"labels": labels[rows], "ids": rows})
    assert max(value._nnz() for batch in metric.batches for value in batch.values() if value.is_sparse) <= 64 * 8
    metrics = metric.compute()
    torch.testing.assert_close(metric.records["labels"].to_dense(), labels.nan_to_num(0), rtol=0, atol=0)
    is_known = ~labels.isnan()
    expected = [
        average_precision(logits[is_known[:, c], c], labels[is_known[:, c], c] > 0) if is_known[:, c].any() else None
        for c in range(0, classes, 50)
    ]
    for c, value in zip(range(0, classes, 50), expected, strict=True):
        assert value is None or torch.equal(
            metrics["average_precision_per_class"][c].nan_to_num(-1), value.nan_to_num(-1)
        )
    assert metrics["average_precision_per_class"].isnan().sum() >= classes - classes // 50


def test_no_label_is_known():
    metrics = evaluate(MultiLabel(2), torch.zeros(3, 2), torch.full((3, 2), torch.nan))
    assert metrics["mAP"].isnan()
    assert metrics["nll"].isnan()


def test_large_logits_are_not_tied():
    scores = torch.tensor([30.0, 20.0, 25.0])  # float32's sigmoid of each is 1
    assert average_precision(scores, torch.tensor([True, False, False])).item() == 1


def test_nan_scores_come_last():
    scores = torch.tensor([torch.nan, 1.0, 0.0])
    assert average_precision(scores, torch.tensor([True, False, False])).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", [SingleLabel, MultiLabel])
def test_logits_of_another_number_of_classes_are_an_error(metric):
    with pytest.raises(ValueError, match=r"logits must be \(B, 3\) for 3 classes, not \(2, 4\)"):
        evaluate(metric(3), torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("metric", "num_classes"), [(SingleLabel, 1), (MultiLabel, 0)])
def test_too_few_classes_are_an_error(metric, num_classes):
    with pytest.raises(ValueError, match="num_classes must be at least"):
        metric(num_classes)
