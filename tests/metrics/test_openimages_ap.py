"""Open Images' average precision against the published cases of TensorFlow's evaluators, and a slow reference."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visionlab.metrics.openimages import OpenImagesAP

CLASSES = 3
FLAT = np.eye(CLASSES, dtype=bool)


def evaluated(images, ancestors, protocol, **arguments):
    """Of images with ``gt``, ``dt`` and ``verified``, all with rows of (label, box, group or score, mask)."""
    metric = OpenImagesAP(ancestors, protocol, **arguments)
    for i, image in enumerate(images):
        found, true = tensors(image["dt"]), tensors(image["gt"])
        prediction = {**found, "scores": torch.tensor([row[2] for row in image["dt"]], dtype=torch.float64)}
        target = {**true, "iscrowd": torch.tensor([row[2] for row in image["gt"]], dtype=torch.bool)}
        batch = {"images": [torch.zeros(3, 9, 9)], "targets": [target], "ids": torch.tensor([i])}
        if protocol == "challenge":
            labels = torch.full((1, len(ancestors)), torch.nan)
            for label, there in image["verified"].items():
                labels[0, label] = float(there)
            batch["labels"] = labels
        metric.update([prediction], batch)
    return metric.compute()


def tensors(rows):
    table = {
        "boxes": torch.tensor([row[1] for row in rows], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([row[0] for row in rows], dtype=torch.int64),
    }
    if rows and len(rows[0]) > 3:
        table["masks"] = torch.tensor([row[3] for row in rows], dtype=torch.uint8)
    return table


def published(case):
    images = {}
    for one in case["gt"]:
        groups = one.get("group_of", [False] * len(one["classes"]))
        images[one["image"]] = {
            "gt": joined(one, groups),
            "dt": [],
            "verified": {label - 1: True for label in one.get("verified_image_labels", [])},
        }
    for one in case["dt"]:
        images[one["image"]]["dt"] = joined(one, one["scores"])
    return list(images.values())


def joined(one, third):
    columns = [[label - 1 for label in one["classes"]], one["boxes"], third]
    return list(zip(*columns, *([one["masks"]] if "masks" in one else []), strict=True))


@pytest.mark.parametrize(
    ("number", "protocol", "arguments"),
    [
        (0, "v2", {}),
        (1, "challenge", {"group_of_weight": 0.5}),
        (2, "challenge", {"of": "masks"}),
    ],
)
def test_published_cases(shared_data, number, protocol, arguments):
    file = shared_data / "vectors" / "openimages_eval" / "tf_object_detection_vectors.json"
    content = json.loads(file.read_text())
    case = content["cases"][number]
    names = {**content["categories"], **case.get("categories", {})}
    metrics = evaluated(published(case), FLAT, protocol, **arguments)
    values = {f"AP/{names[str(i + 1)]}": float(v) for i, v in enumerate(metrics["average_precision_per_class"])}
    for name, value in case["expected"].items():
        mine = float(metrics["mAP"]) if name == "mAP" else values[name]
        assert mine == pytest.approx(value, abs=1e-7), name


def share(one, other, of_found):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    first, second = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (first if of_found else first + second - common)


def slow(images, ancestors, challenge, weight):
    """The average precision of each class, one detection at a time."""

    def up(rows):
        return [(above, *row[1:]) for row in rows for above in np.flatnonzero(ancestors[row[0]])]

    values = []
    for label in range(CLASSES):
        points, objects = [], 0.0
        for image in images:
            true = [row for row in up(image["gt"]) if row[0] == label]
            found = [row for row in (up(image["dt"]) if challenge else image["dt"]) if row[0] == label]
            plain, groups = [r for r in true if not r[2]], [r for r in true if r[2]]
            objects += len(plain) + weight * len(groups)
            yes = {a for one, there in image["verified"].items() if there for a in np.flatnonzero(ancestors[one])}
            no = {a for one, there in image["verified"].items() if not there for a in np.flatnonzero(ancestors[:, one])}
            if challenge and not true and label not in yes | no:
                continue
            taken, surest = set(), {}
            for _, box, score in sorted(found, key=lambda row: -row[2]):
                overlaps = [share(box, r[1], False) for r in plain]
                if overlaps and max(overlaps) >= 0.5 and (which := int(np.argmax(overlaps))) not in taken:
                    taken.add(which)
                    points.append((score, 1))
                    continue
                inside = [share(box, r[1], True) for r in groups]
                if inside and max(inside) >= 0.5:
                    surest.setdefault(int(np.argmax(inside)), score)
                else:
                    points.append((score, 0))
            points += [(score, weight) for score in surest.values() if weight > 0]
        gains = np.array([gain for _, gain in sorted(points, key=lambda point: -point[0])])
        if objects == 0:
            values.append(np.nan)
            continue
        right, wrong = np.cumsum(gains), np.cumsum(gains <= 0)
        precision, recall = right / (right + wrong), right / objects
        values.append(
            sum((r - p) * max(precision[i:]) for i, (p, r) in enumerate(zip([0, *recall], recall, strict=False)))
        )
    return values


PLACES = st.sampled_from([0, 1, 2, 4, 5])
BOXES = st.tuples(PLACES, PLACES, st.sampled_from([1, 2, 3, 6]), st.sampled_from([1, 2, 6])).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
LABELS = st.integers(0, CLASSES - 1)
HIERARCHIES = st.sampled_from(
    [FLAT, np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1]], bool), np.tril(np.ones((3, 3), bool)).T]
)


@st.composite
def worlds(draw):
    scores, images = iter(draw(st.permutations([k / 64 for k in range(1, 41)]))), []
    for _ in range(draw(st.integers(1, 3))):
        gt = draw(st.lists(st.tuples(LABELS, BOXES, st.booleans()), max_size=5))
        dt = [(label, box, next(scores)) for label, box in draw(st.lists(st.tuples(LABELS, BOXES), max_size=7))]
        images.append({"gt": gt, "dt": dt, "verified": draw(st.dictionaries(LABELS, st.booleans(), max_size=2))})
    return images


@settings(max_examples=100, derandomize=True, deadline=None)
@given(worlds(), HIERARCHIES, st.sampled_from([("v2", 0.0), ("challenge", 1.0), ("challenge", 0.25)]))
def test_boxes_equal_the_slow_reference(images, ancestors, how):
    protocol, weight = how
    metrics = evaluated(images, ancestors, protocol, **({"group_of_weight": weight} if weight else {}))
    expected = slow(images, ancestors, protocol == "challenge", weight)
    np.testing.assert_allclose(metrics["average_precision_per_class"].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="protocol must be v2 or challenge, not 'v3'"):
        OpenImagesAP(FLAT, "v3")
    with pytest.raises(ValueError, match="of must be boxes or masks, not 'points'"):
        OpenImagesAP(FLAT, "v2", "points")
    row = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    with pytest.raises(ValueError, match="the challenge wants `labels`"):
        OpenImagesAP(FLAT, "challenge").update(
            [row], {"images": [torch.zeros(3, 9, 9)], "targets": [row], "ids": torch.tensor([0])}
        )
