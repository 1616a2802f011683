"""Metrics of the class of each pixel against loops over pixels, torchmetrics, and published numbers."""

import json
import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from conftest import by_rank
from visionlab.batch import PADDING
from visionlab.metrics.boundaries import BoundaryF, boundary_scores
from visionlab.metrics.segmentation import Confusion, confusion_matrix

CLASSES, IMAGES = 5, 11


def world():
    """Truth and predictions by image, of several sizes; the third is void, class 3 is nowhere, 4 only predicted."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for i in range(IMAGES):
        size = (9 + i, 14)
        truth = torch.randint(3, size, generator=generator, dtype=torch.uint8)
        found = torch.where(torch.rand(size, generator=generator) < 0.6, truth, 4 * (i % 2)).byte()
        truth[torch.rand(size, generator=generator) < 0.1] = 255
        if i == 2:
            truth[:] = 255
        images.append((found, truth))
    return images


def new_metrics():
    return {"overlaps": Confusion(CLASSES), "boundaries": BoundaryF(CLASSES)}


def update(metrics, positions, size, padded=0):
    images = world()
    for start in range(0, len(positions), size):
        chosen = positions[start : start + size]
        ids = torch.tensor(chosen, dtype=torch.int64)
        if padded and start + size >= len(positions):
            ids[-padded:] = PADDING
        batch = {"masks": [images[i][1] for i in chosen], "ids": ids}
        for metric in metrics.values():
            metric.update([{"mask": images[i][0]} for i in chosen], batch)


def scored(pairs, num_classes):
    metric = Confusion(num_classes)
    for i, (found, truth) in enumerate(pairs):
        metric.update([{"mask": found}], {"masks": [truth], "ids": torch.tensor([i])})
    return metric.compute()


def by_sets(pairs, num_classes):
    """Every score from sets of pixels, one class at a time."""
    truth = {(i, *at) for i, (_, one) in enumerate(pairs) for at in np.argwhere(one.numpy() != 255).tolist()}
    iou, accuracy, dice, share = [], [], [], []
    for label in range(num_classes):
        true = {(i, *at) for i, (_, one) in enumerate(pairs) for at in np.argwhere(one.numpy() == label).tolist()}
        found = {
            (i, *at) for i, (one, _) in enumerate(pairs) for at in np.argwhere(one.numpy() == label).tolist()
        } & truth
        both, either = len(true & found), len(true | found)
        iou.append(both / either if either else np.nan)
        accuracy.append(both / len(true) if true else np.nan)
        dice.append(2 * both / (len(true) + len(found)) if either else np.nan)
        share.append(len(true) / len(truth))
    right = sum(int((one == t)[t != 255].sum()) for one, t in pairs)
    return {
        "mIoU": np.nanmean(iou),
        "iou_per_class": iou,
        "pixel_accuracy": right / len(truth),
        "mean_accuracy": np.nanmean(accuracy),
        "accuracy_per_class": accuracy,
        "fwIoU": np.nansum(np.multiply(share, iou)),
        "dice": np.nanmean(dice),
        "dice_per_class": dice,
        "absent_classes": np.isnan(iou).sum(),
    }


def test_the_scores_are_those_of_sets_of_pixels():
    values = scored(world(), CLASSES)
    expected = by_sets(world(), CLASSES)
    assert values.keys() == {*expected, "confusion"}
    for name, value in expected.items():
        np.testing.assert_allclose(values[name].numpy(), value, rtol=1e-14, err_msg=name)
    assert values["absent_classes"] == 1
    assert values["iou_per_class"][3].isnan()
    assert values["iou_per_class"][4] == 0  # predicted, and never true
    assert values["confusion"].dtype == torch.int64


@pytest.mark.parametrize("num_classes", [2, 21, 127, 128, 255])
def test_the_matrix_is_that_of_torchmetrics(num_classes):
    generator = torch.Generator().manual_seed(num_classes)
    truth, found = (torch.randint(num_classes, (2, 40, 50), generator=generator, dtype=torch.uint8) for _ in range(2))
    truth[torch.rand(truth.shape, generator=generator) < 0.1] = 255
    theirs = MulticlassJaccardIndex(num_classes, ignore_index=255)
    theirs.update(found.long(), truth.long())
    ours = confusion_matrix(found, truth, num_classes)
    assert torch.equal(ours, theirs.confmat)
    score = scored([(found[0], truth[0]), (found[1], truth[1])], num_classes)["mIoU"]
    if num_classes < 100:  # beyond, some class is absent, which torchmetrics takes for 0
        assert score.item() == pytest.approx(theirs.compute().item(), rel=1e-5)


def test_published_overlaps(shared_data):
    """Boxes of torchmetrics' test of intersections by label, in hundredths of pixels."""
    case = json.loads((shared_data / "vectors/torchmetrics/panoptic_and_iou.json").read_text())["iou_respecting_labels"]

    def drawn(box, label):
        left, top, right, bottom = (round(100 * side) for side in box)
        mask = torch.zeros(6000, 2000, dtype=torch.uint8)
        mask[top - 9300 : bottom - 9300, left - 29600 : right - 29600] = label
        return mask

    pred, target = case["pred"], case["target"]
    pairs = [
        (drawn(pred["boxes"][i], pred["labels"][i]), drawn(target["boxes"][i], target["labels"][i])) for i in (0, 1)
    ]
    values = scored(pairs, 8)["iou_per_class"]
    for label in (4, 5, 6):
        assert values[label].item() == pytest.approx(
            case["expected"][f"iou/cl_{label}"], abs=1e-6
        )  # theirs are of float32


def test_labels_without_a_class_and_other_sizes_are_refused():
    mask = torch.zeros(4, 5, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"a mask has label 7; labels are 0\.\.4, or 255 for void"):
        confusion_matrix(mask, torch.full_like(mask, 7), 5)
    with pytest.raises(ValueError, match=r"a prediction has label 255; labels are 0\.\.4"):
        confusion_matrix(torch.full_like(mask, 255), mask, 5)
    with pytest.raises(ValueError, match=r"a mask of \(5, 4\) pixels needs as many predictions, not \(4, 5\)"):
        confusion_matrix(mask, mask.T, 5)
    for kind in (Confusion, BoundaryF):
        with pytest.raises(ValueError, match=r"num_classes must lie in 1\.\.255, not 256"):
            kind(256)


def test_where_all_is_void_nothing_is_known():
    void, mask = torch.full((4, 5), 255, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)
    values = scored([(mask, void)], 3)
    assert all(values[name].isnan() for name in ("mIoU", "pixel_accuracy", "mean_accuracy", "fwIoU", "dice"))
    assert values["absent_classes"] == 3
    assert boundary_scores(mask.numpy(), void.numpy()) == {}


def boundaries_by_loops(found, truth):
    """The boundary F-score by looking at every pair of outline pixels."""
    height, width = truth.shape
    found = np.where(truth == 255, 255, found)
    within, scores = 0.0075 * np.hypot(height, width), {}

    def outline(mask, label):
        near = [(0, 1), (1, 0), (0, -1), (-1, 0)]
        return [
            (y, x)
            for y, x in np.argwhere(mask == label).tolist()
            if any(0 <= y + dy < height and 0 <= x + dx < width and mask[y + dy, x + dx] != label for dy, dx in near)
        ]

    def share(ones, others):
        close = [min((math.hypot(y - v, x - u) for v, u in others), default=np.inf) <= within for y, x in ones]
        return np.mean(close) if ones else 0.0

    for label in range(CLASSES):
        mine, true = outline(found, label), outline(truth, label)
        if mine or true:
            p, r = share(mine, true), share(true, mine)
            scores[label] = 2 * p * r / (p + r) if p + r else 0.0
    return scores


@pytest.mark.parametrize("seed", range(3))
def test_the_boundary_score_is_that_of_loops_over_pixels(seed):
    rng = np.random.default_rng(seed)
    truth, found = (np.kron(rng.integers(0, 4, (2, 3)), np.ones((50, 60))).astype(np.uint8) for _ in range(2))
    found = np.where(rng.random(truth.shape) < 0.995, np.roll(truth, (1, 2), (0, 1)), found).astype(np.uint8)
    truth[70:, :40] = 255
    ours, expected = boundary_scores(found, truth), boundaries_by_loops(found, truth)
    assert ours == pytest.approx(expected, abs=1e-12)
    assert 0.1 < np.mean([*ours.values()]) < 1
    assert set(boundary_scores(truth, truth).values()) == {1.0}


def test_a_boundary_a_little_off_is_right_and_one_farther_off_is_not():
    truth, near, far = (np.zeros((300, 400), np.uint8) for _ in range(3))
    truth[:, 100:], near[:, 103:], far[:, 108:] = 1, 1, 1  # 0.75 % of the diagonal are 3.75 pixels
    assert boundary_scores(near, truth) == {0: 1.0, 1: 1.0}
    assert boundary_scores(far, truth) == {0: 0.0, 1: 0.0}
    assert boundary_scores(np.zeros_like(truth), truth) == {0: 0.0, 1: 0.0}


def results(metrics):
    return {name: (metric.compute(), metric.records) for name, metric in metrics.items()}


# positions, batch size, padding at the end
SHARES = {
    1: [([*range(IMAGES)][::-1], 4, 0)],
    2: [([10, 3, 4, 0, 1], 3, 2), ([2, *range(5, 10), 0, 1], 3, 0)],
    3: [([*range(6, IMAGES)], 4, 0), ([], 1, 0), ([5, 4, 3, 2, 1, 0, 7], 7, 1)],
}


def share(rank, world):
    metrics = new_metrics()
    update(metrics, *SHARES[world][rank])
    return results(metrics)


@pytest.mark.parametrize("world", SHARES)
def test_any_number_of_processes_gives_the_same_bits_of_masks(world):
    metrics = new_metrics()
    update(metrics, [*range(IMAGES)], 3)
    expected = results(metrics)
    assert 0 < expected["overlaps"][0]["mIoU"] < 1
    assert 0 < expected["boundaries"][0]["F"] < 1
    for got in by_rank(lambda rank: share(rank, world), world):
        for name, pair in expected.items():
            for one, other in zip(pair, got[name], strict=True):
                assert one.keys() == other.keys()
                for key, value in one.items():
                    np.testing.assert_array_equal(value.numpy(), other[key].numpy(), err_msg=f"{name} {key}")
