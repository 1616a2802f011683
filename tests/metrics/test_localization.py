import numpy as np
import pytest
import torch

from visionlab.metrics.localization import Localization


def evaluate(scores, boxes, labels, truths):
    metric = Localization(scores.shape[1])
    batch = {"labels": labels, "boxes": truths, "ids": torch.arange(len(labels))}
    metric.update({"logits": scores.log(), "scores": scores, "boxes": boxes}, batch)
    return metric.compute(), metric.records


def slow_iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_equals_a_slow_reference():
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.dirichlet(np.ones(20), 300))
    labels = torch.from_numpy(rng.integers(0, 20, 300))
    scores[torch.arange(300), labels] += 0.1
    corners = rng.uniform(0, 10, (300, 4, 4))
    corners[..., 2:] = corners[..., :2] + rng.uniform(5, 20, (300, 4, 2))
    boxes, truths = corners[:, 0], [c[1 : 1 + i % 4] for i, c in enumerate(corners)]
    results, records = evaluate(scores, torch.from_numpy(boxes), labels, [torch.from_numpy(t) for t in truths])
    hits = {name: [] for name in ("top1", "top5", "top1_class", "top5_class", "known_class", "iou")}
    for score, box, label, truth in zip(scores.tolist(), boxes, labels.tolist(), truths, strict=True):
        order = sorted(range(20), key=lambda c: -score[c])
        iou = max((slow_iou(box, t) for t in truth), default=0)
        hits["top1"].append(order[0] == label and iou >= 0.5)
        hits["top5"].append(label in order[:5] and iou >= 0.5)
        hits["top1_class"].append(order[0] == label)
        hits["top5_class"].append(label in order[:5])
        hits["known_class"].append(iou >= 0.5)
        hits["iou"].append(iou)
    for name, expected in hits.items():
        assert results[name].item() == pytest.approx(np.mean(expected), abs=1e-12), name
    assert records["correct"].tolist() == hits["top1"]


def test_half_is_enough_and_no_truth_is_wrong():
    scores = torch.tensor([[0.9, 0.1]] * 3)
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    truths = [torch.tensor([[0.0, 0, 10, 20]]), torch.zeros(0, 4), torch.tensor([[0.0, 0, 10, 20.1]])]
    results, records = evaluate(scores, boxes, torch.tensor([0, 0, 0]), truths)
    assert records["correct"].tolist() == [True, False, False]
    assert records["iou"][:2].tolist() == [0.5, 0]
    assert results["top1"].item() == pytest.approx(1 / 3)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        Localization(1)
