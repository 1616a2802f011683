"""The kinds of errors against a slow, obvious reference, one detection at a time as TIDE's own code goes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionlab.metrics.coco_evaluation import OBJECTS, Found, Truth, evaluate
from visionlab.metrics.detection_errors import KINDS, classify_errors, cost_of_errors
from visionlab.metrics.overlaps import box_overlap

CLASSES = 3


def iou(one, other):
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def average_precision(points, objects):
    """Of (score, right) in a stable order, at 101 recalls."""
    ranked = sorted(points, key=lambda point: -point[0])
    curve, right = [], 0
    for n, (_, is_right) in enumerate(ranked, start=1):
        right += is_right
        curve.append((right / objects, right / n))
    return np.mean([max((p for r, p in curve if r >= k / 100 - 1e-12), default=0) for k in range(101)])


def mean_precision(points, objects):
    values = [average_precision([p[1:] for p in points if p[0] == c], objects[c]) for c in range(CLASSES) if objects[c]]
    return np.mean(values) if values else np.nan


def slow_costs(images):
    """By kind: how many errors there are, and what they cost."""
    points, errors, objects = [], [], [0] * CLASSES
    for found, true in images:
        used, meant = {}, {}
        for truth in true:
            objects[truth["label"]] += 1
        for i, one in sorted(enumerate(found), key=lambda pair: -pair[1]["score"]):
            free = [t for t in range(len(true)) if t not in used and true[t]["label"] == one["label"]]
            best = max(free, key=lambda t: (iou(one["box"], true[t]["box"]), t), default=None)
            if best is not None and iou(one["box"], true[best]["box"]) >= 0.5:
                used[best] = i
        for i, one in enumerate(found):
            if i in used.values():
                points.append((one["label"], one["score"], True))
                continue
            overlaps = [iou(one["box"], truth["box"]) for truth in true]
            own = [o if t["label"] == one["label"] else 0 for o, t in zip(overlaps, true, strict=True)]
            other = [o if t["label"] != one["label"] else 0 for o, t in zip(overlaps, true, strict=True)]
            of_used = [o if t in used else 0 for t, o in enumerate(own)]
            kind, target = "both", None
            if not true:
                kind = "background"
            elif 0.1 <= max(own) <= 0.5:
                kind, target = "localization", int(np.argmax(own))
            elif max(other) >= 0.5:
                kind, target = "class", int(np.argmax(other))
            elif max(of_used) >= 0.5:
                kind = "duplicate"
            elif max(overlaps) <= 0.1:
                kind = "background"
            error = {"kind": kind, "label": one["label"], "score": one["score"], "becomes": None}
            errors.append(error)
            if target is not None:
                meant.setdefault(target, []).append(error)
        for target, those in meant.items():
            if target not in used:
                surest = max(those, key=lambda error: error["score"])  # the first of equals
                surest["becomes"] = true[target]["label"]
        for t, truth in enumerate(true):
            if t not in used and t not in meant:
                errors.append({"kind": "missed", "label": truth["label"]})

    def worth(fixed):
        left, count = list(points), list(objects)
        for error in errors:
            if error["kind"] == "missed":
                count[error["label"]] -= fixed == "missed"
            elif error["kind"] != fixed:
                left.append((error["label"], error["score"], False))
            elif error["becomes"] is not None:
                left.append((error["becomes"], error["score"], True))
        return mean_precision(left, count)

    costs = {kind: np.maximum(worth(kind) - worth(None), 0) for kind in KINDS}
    return {kind: sum(error["kind"] == kind for error in errors) for kind in KINDS}, costs


PLACES = st.tuples(st.sampled_from([0, 1, 4, 5, 10]), st.sampled_from([0, 2]))
BOXES = st.tuples(PLACES, st.sampled_from([2, 4, 8, 10])).map(lambda drawn: [*drawn[0], drawn[1], 4])


@st.composite
def worlds(draw):
    images, scores = (
        [],
        iter(draw(st.permutations([k / 64 for k in range(40)]))),
    )  # no ties: their order is another test
    for _ in range(draw(st.integers(1, 3))):
        true = [{"box": box, "label": draw(st.integers(0, CLASSES - 1))} for box in draw(st.lists(BOXES, max_size=5))]
        found = [
            {"box": box, "label": draw(st.integers(0, CLASSES - 1)), "score": next(scores)}
            for box in draw(st.lists(BOXES, max_size=8))
        ]
        images.append((found, true))
    return images


def arrays(images):
    found = [(i, one) for i, (those, _) in enumerate(images) for one in those]
    true = [(i, one) for i, (_, those) in enumerate(images) for one in those]
    whole = {"dtype": np.int64}
    boxes = [np.array([one["box"] for _, one in rows], float).reshape(-1, 4) for rows in (found, true)]
    crowd = np.zeros(len(true), np.bool_)
    images_of = [np.array([i for i, _ in rows], **whole) for rows in (found, true)]
    labels = [np.array([one["label"] for _, one in rows], **whole) for rows in (found, true)]
    scores = np.array([one["score"] for _, one in found], float)
    return (
        Found(images_of[0], labels[0], scores, np.ones(len(found))),
        Truth(images_of[1], labels[1], np.ones(len(true)), crowd, crowd),
        box_overlap(*boxes, crowd),
    )


@settings(max_examples=80, derandomize=True, deadline=None)
@given(worlds())
def test_errors_and_their_costs_equal_the_slow_reference(images):
    found, truth, overlap = arrays(images)
    evaluation = evaluate(found, truth, overlap, CLASSES, OBJECTS)
    errors = classify_errors(evaluation, found, truth, overlap)
    counts, costs = slow_costs(images)
    mine = {kind: int((errors.kinds == i).sum()) for i, kind in enumerate(KINDS)}
    mine["missed"] = int(errors.missed.sum())
    assert mine == counts
    measured = cost_of_errors(evaluation, found, truth, overlap, CLASSES)
    for kind in KINDS:
        assert measured[kind] == pytest.approx(costs[kind], abs=1e-12, nan_ok=True), kind


def test_each_kind_is_recognized():
    box = [0, 0, 10, 10]
    images = [
        (
            [
                {"box": box, "label": 0, "score": 0.9},
                {"box": [0, 0, 10, 9], "label": 0, "score": 0.8},
                {"box": [40, 0, 4, 10], "label": 1, "score": 0.7},
                {"box": [60, 0, 10, 10], "label": 0, "score": 0.6},
                {"box": [60, 0, 4, 10], "label": 0, "score": 0.5},
                {"box": [200, 0, 4, 10], "label": 0, "score": 0.4},
            ],
            [
                {"box": box, "label": 0},
                {"box": [40, 0, 10, 10], "label": 1},
                {"box": [60, 0, 10, 10], "label": 2},
                {"box": [100, 0, 10, 10], "label": 2},
            ],
        )
    ]
    found, truth, overlap = arrays(images)
    evaluation = evaluate(found, truth, overlap, CLASSES, OBJECTS)
    errors = classify_errors(evaluation, found, truth, overlap)
    named = {
        float(found.scores[d]): KINDS[kind]
        for d, kind in zip(evaluation.detections, errors.kinds, strict=True)
        if kind >= 0
    }
    assert named == {0.8: "duplicate", 0.7: "localization", 0.6: "class", 0.5: "both", 0.4: "background"}
    assert errors.missed.tolist() == [False, False, False, True]
