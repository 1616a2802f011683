"""COCO's average precision against pycocotools, on published cases and on random ones with all that is nasty."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visionlab.metrics.coco import PCK, BoxAP, KeypointAP, MaskAP
from visionlab.metrics.coco_evaluation import KEYPOINTS, Found, Truth, evaluate
from visionlab.metrics.keypoints import COCO_SIGMAS, keypoint_overlap

CLASSES = 3
HEIGHT, WIDTH = 20, 24

quiet = contextlib.redirect_stdout(io.StringIO())


def reference(truth, results, kind, sigmas=None):
    """pycocotools' evaluation of an annotation document and a list of results."""
    with quiet:
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        # loadRes refuses an empty list
        found = coco.loadRes(results) if results else COCO()
        if not results:
            found.dataset = {**truth, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(coco, found, kind)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def document(targets, classes=CLASSES):
    """The targets as an annotation document."""
    annotations = []
    for image, target in enumerate(targets):
        for i in range(len(target["labels"])):
            one = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": int(target["labels"][i]),
                "bbox": target["xywh"][i].tolist(),
                "area": float(target["area"][i]),
                "iscrowd": int(target["iscrowd"][i]),
            }
            if "masks" in target:
                one["segmentation"] = rle.encode(np.asfortranarray(target["masks"][i].numpy()))
            if "keypoints" in target:
                one["keypoints"] = target["keypoints"][i].double().flatten().tolist()
                one["num_keypoints"] = int((target["keypoints"][i, :, 2] > 0).sum())
            annotations.append(one)
    images = [{"id": i, "height": HEIGHT, "width": WIDTH} for i in range(len(targets))]
    return {"images": images, "annotations": annotations, "categories": [{"id": i} for i in range(classes)]}


def results(predictions, kind):
    """The predictions as COCO's results list."""
    rows = []
    for image, one in enumerate(predictions):
        boxes = one["boxes"].double()
        for i in range(len(one["scores"])):
            row = {"image_id": image, "category_id": int(one["labels"][i]), "score": float(one["scores"][i])}
            if kind == "bbox":
                row["bbox"] = [*boxes[i, :2].tolist(), *(boxes[i, 2:] - boxes[i, :2]).tolist()]
            elif kind == "segm":
                row["segmentation"] = rle.encode(np.asfortranarray(one["masks"][i].numpy()))
            else:
                row["keypoints"] = one["keypoints"][i].double().flatten().tolist()
            rows.append(row)
    return rows


def evaluated(metric, predictions, targets, size=2):
    """The metric's results, added in batches."""
    for start in range(0, len(targets), size):
        ids = torch.arange(start, min(start + size, len(targets)))
        chosen = slice(start, start + size)
        metric.update(predictions[chosen], {"images": [], "targets": targets[chosen], "ids": ids})
    return metric.compute()


def assert_equals_pycocotools(metrics, expected):
    official = [float(metrics[name]) for name in list(metrics)[: len(expected.stats)]]
    assert np.nan_to_num(official, nan=-1).tolist() == expected.stats.tolist()
    precision = expected.eval["precision"][:, :, :, 0, -1]
    known = precision[0, 0] > -1
    per_class = metrics["average_precision_per_class"].numpy()
    assert (~np.isnan(per_class)).tolist() == known.tolist()
    np.testing.assert_allclose(per_class[known], precision[..., known].mean(axis=(0, 1)), rtol=1e-12)
    curves = metrics["precision_recall_per_class"].numpy()
    assert curves[known].tolist() == precision[0][:, known].T.tolist()
    if known.any():
        np.testing.assert_allclose(metrics["precision_recall"].numpy(), precision[..., known].mean(-1), rtol=1e-12)


# scores of few values and boxes on a grid: ties everywhere, overlaps on the thresholds, areas on the limits of ranges
SCORES = st.sampled_from([0.125, 0.25, 0.5, 0.75])
SIDES = st.sampled_from([1, 2, 3, 4, 8, 16, 32, 48, 64, 96])
AREAS = st.sampled_from([0.0, 1.0, 1024.0, 1024.5, 4000.0, 9216.0, 9217.0, 20000.0])
PLACES = st.sampled_from([0, 1, 2, 4, 16])


@st.composite
def boxes(draw, most):
    rows = draw(st.lists(st.tuples(PLACES, PLACES, SIDES, SIDES), max_size=most))
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


@st.composite
def images(draw, *, masks=False, keypoints=0, most=14):
    xywh = draw(boxes(6))
    n = len(xywh)
    target = {
        "boxes": torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1).float(),
        "xywh": xywh,
        "labels": torch.tensor(draw(st.lists(st.integers(0, CLASSES - 1), min_size=n, max_size=n)), dtype=torch.int64),
        "iscrowd": torch.tensor(draw(st.lists(st.sampled_from([False] * 4 + [True]), min_size=n, max_size=n))).bool(),
        "area": torch.tensor(draw(st.lists(AREAS, min_size=n, max_size=n)), dtype=torch.float64),
    }
    # what was found is often what is there
    found = draw(boxes(most))
    near = draw(st.lists(st.integers(0, max(n - 1, 0)), max_size=6)) if n else []
    found = torch.cat([found, xywh[near]])
    k = len(found)
    labels = draw(st.lists(st.integers(0, CLASSES - 1), min_size=k, max_size=k))
    prediction = {
        "boxes": torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], 1).float(),
        "scores": torch.tensor(draw(st.lists(SCORES, min_size=k, max_size=k)), dtype=torch.float32),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    if masks:
        target["masks"], prediction["masks"] = (painted(one, generator) for one in (xywh, found))
    if keypoints:
        shape = (keypoints, 3)
        target["keypoints"] = torch.from_numpy(generator.integers(0, 3, (n, *shape)) * [40, 40, 1]).float()
        noise = generator.integers(0, 3, (k, *shape))
        target["keypoints"][: n // 3, :, 2] = 0
        prediction["keypoints"] = torch.from_numpy(noise * [40, 40, 1]).float()
        for i, which in enumerate(near):
            moved = target["keypoints"][which].clone()
            moved[:, 0] += draw(st.sampled_from([0, 0.5, 3, 11]))
            prediction["keypoints"][k - len(near) + i] = moved
    return prediction, target


def painted(xywh, generator):
    """Boxes as masks, with some pixels left out."""
    masks = np.zeros((len(xywh), HEIGHT, WIDTH), np.uint8)
    for mask, (x, y, w, h) in zip(masks, xywh.int().tolist(), strict=True):
        mask[y : y + h, x : x + w] = 1
    return torch.from_numpy(masks & (generator.random(masks.shape) < generator.choice([1, 0.9, 0.6])))


def split(drawn):
    return [one for one, _ in drawn], [one for _, one in drawn]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.lists(images(), min_size=1, max_size=4))
def test_boxes_equal_pycocotools(drawn):
    predictions, targets = split(drawn)
    metrics = evaluated(BoxAP(CLASSES), predictions, targets)
    assert_equals_pycocotools(metrics, reference(document(targets), results(predictions, "bbox"), "bbox"))


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(images(masks=True), min_size=1, max_size=3))
def test_masks_equal_pycocotools(drawn):
    predictions, targets = split(drawn)
    metrics = evaluated(MaskAP(CLASSES), predictions, targets)
    assert_equals_pycocotools(metrics, reference(document(targets), results(predictions, "segm"), "segm"))


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(images(keypoints=17), min_size=1, max_size=3))
def test_keypoints_equal_pycocotools(drawn):
    predictions, targets = split(drawn)
    metrics = evaluated(KeypointAP(CLASSES), predictions, targets)
    assert_equals_pycocotools(metrics, reference(document(targets), results(predictions, "keypoints"), "keypoints"))


@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.lists(images(keypoints=4), min_size=1, max_size=2))
def test_keypoints_have_the_sigmas_that_are_given(drawn):
    predictions, targets = split(drawn)
    sigmas = (0.1, 0.05, 0.02, 0.3)
    metrics = evaluated(KeypointAP(CLASSES, sigmas), predictions, targets)
    expected = reference(document(targets), results(predictions, "keypoints"), "keypoints", sigmas)
    assert_equals_pycocotools(metrics, expected)


@pytest.mark.parametrize("seed", range(3))
def test_many_detections_of_many_classes_equal_pycocotools(seed):
    generator = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(6):
        n, k = generator.integers(0, 12), 400  # more than count of some classes
        corners = generator.uniform(0, 60, (n, 2))
        xywh = np.concatenate([corners, generator.uniform(1, 150, (n, 2))], 1)
        near = xywh[generator.integers(0, n, k)] + generator.normal(0, 4, (k, 4)) if n else np.ones((k, 4))
        near[:, 2:] = near[:, 2:].clip(min=0)
        targets.append(
            {
                "boxes": torch.zeros(n, 4),
                "xywh": torch.from_numpy(xywh),
                "labels": torch.from_numpy(generator.integers(0, CLASSES, n)),
                "iscrowd": torch.from_numpy(generator.random(n) < 0.1),
                "area": torch.from_numpy(xywh[:, 2:].prod(1) * 0.7),
            }
        )
        predictions.append(
            {
                "boxes": torch.from_numpy(np.concatenate([near[:, :2], near[:, :2] + near[:, 2:]], 1)).float(),
                "scores": torch.from_numpy(generator.integers(0, 40, k) / 64).float(),
                "labels": torch.from_numpy(generator.integers(0, CLASSES, k)),
            }
        )
    metric = BoxAP(CLASSES)
    metrics = evaluated(metric, predictions, targets)
    assert_equals_pycocotools(metrics, reference(document(targets), results(predictions, "bbox"), "bbox"))
    kept = [np.bincount(rows["labels"]) for batch in metric.batches for rows in batch["found"]]
    assert max(map(max, kept)) == 100


CASES = [
    ("instances_val2014_100.json", "instances_val2014_fakebbox100_results.json", "bbox", 0),
    pytest.param(
        *("instances_val2014_100.json", "instances_val2014_fakesegm100_results.json", "segm", 1), marks=pytest.mark.slow
    ),
    ("instances_val2014_100_bbox_area_no_crowd.json", "instances_val2014_fakebbox100_results.json", "bbox", 2),
]


@pytest.mark.parametrize(("truth", "found", "kind", "case"), CASES)
def test_published_numbers_of_cocoapi(shared_data, truth, found, kind, case):
    folder = shared_data / "vectors" / "coco_eval"
    with quiet:
        coco = COCO(folder / truth)
    rows = json.loads((folder / found).read_text())
    labels = {id: i for i, id in enumerate(sorted(coco.cats))}
    predictions, targets = [], []
    for image in sorted(coco.imgs):
        objects = coco.imgToAnns[image]
        xywh = torch.tensor([one["bbox"] for one in objects], dtype=torch.float64).reshape(-1, 4)
        targets.append(
            {
                "boxes": xywh.float(),
                "xywh": xywh,
                "labels": torch.tensor([labels[one["category_id"]] for one in objects], dtype=torch.int64),
                "iscrowd": torch.tensor([bool(one["iscrowd"]) for one in objects], dtype=torch.bool),
                "area": torch.tensor([one["area"] for one in objects], dtype=torch.float64),
            }
        )
        mine = [row for row in rows if row["image_id"] == image]
        predictions.append(
            {
                "scores": torch.tensor([row["score"] for row in mine], dtype=torch.float64),
                "labels": torch.tensor([labels[row["category_id"]] for row in mine], dtype=torch.int64),
            }
        )
        if kind == "segm":
            size = (coco.imgs[image]["height"], coco.imgs[image]["width"])
            targets[-1]["masks"] = stacked([coco.annToMask(one) for one in objects], size)
            predictions[-1]["masks"] = stacked([rle.decode(row["segmentation"]) for row in mine], size)
        else:
            corners = torch.tensor([row["bbox"] for row in mine], dtype=torch.float64).reshape(-1, 4)
            corners[:, 2:] += corners[:, :2]
            predictions[-1]["boxes"] = corners
    metric = (MaskAP if kind == "segm" else BoxAP)(len(labels))
    metrics = evaluated(metric, predictions, targets, size=7)
    expected = json.loads((folder / "expected.json").read_text())["cases"][case]
    official = [float(value) for value in list(metrics.values())[:12]]
    np.testing.assert_allclose(official, expected["full_precision"], atol=expected.get("tolerance", 1e-12), rtol=0)
    if "published_3_decimals" in expected:
        assert [round(value, 3) for value in official] == expected["published_3_decimals"]


def stacked(masks, size):
    return torch.from_numpy(np.stack([*masks, np.zeros(size, np.uint8)])[:-1])


def test_published_numbers_of_keypoints(shared_data):
    folder = shared_data / "vectors" / "keypoints_oks"
    truth = json.loads((folder / "gt_dataset.json").read_text())
    found = json.loads((folder / "dt_dataset.json").read_text())
    places = {image: i for i, image in enumerate(sorted(one["id"] for one in truth["images"]))}
    objects = truth["annotations"]
    crowd = np.array([bool(one["iscrowd"]) for one in objects])
    keypoints, others = (
        np.array([row["keypoints"] for row in rows], float).reshape(-1, 17, 3) for rows in (objects, found)
    )
    areas, boxes_ = np.array([one["area"] for one in objects]), np.array([one["bbox"] for one in objects], float)
    widths_heights = np.array([row["bbox"][2:] for row in found])  # as these results have boxes, too
    evaluation = evaluate(
        Found(
            np.array([places[row["image_id"]] for row in found]),
            np.zeros(len(found), np.int64),
            np.array([row["score"] for row in found]),
            widths_heights.prod(axis=1),
        ),
        Truth(
            np.array([places[one["image_id"]] for one in objects]),
            np.zeros(len(objects), np.int64),
            areas,
            crowd,
            crowd | ~(keypoints[..., 2] > 0).any(axis=1),
        ),
        keypoint_overlap(others, keypoints, areas, boxes_, np.array(COCO_SIGMAS)),
        1,
        KEYPOINTS,
    )
    expected = json.loads((folder / "expected.json").read_text())["cases"][0]["expected"]
    np.testing.assert_allclose(list(evaluation.official().values()), expected, rtol=1e-12)


def test_the_score_of_an_image_is_its_own_average_precision():
    def box(x):
        return [x, 0, x + 10, 10]

    targets = [
        {"boxes": torch.tensor([box(0), box(20)]).float(), "labels": torch.tensor([0, 1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
        {"boxes": torch.tensor([box(0)]).float(), "labels": torch.tensor([2])},
    ]
    predictions = [
        {
            "boxes": torch.tensor([box(50), box(0), box(20)]).float(),
            "scores": torch.tensor([0.9, 0.8, 0.7]),
            "labels": torch.tensor([0, 0, 1]),
        },
        {"boxes": torch.tensor([box(0)]).float(), "scores": torch.tensor([0.5]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([box(0)]).float(), "scores": torch.tensor([0.5]), "labels": torch.tensor([1])},
    ]
    metric = BoxAP(CLASSES)
    evaluated(metric, predictions, targets)
    assert metric.records["box_objects"].tolist() == [2, 0, 1]
    assert metric.records["box_found"].tolist() == [2, 0, 0]
    score = metric.records["box_score"]
    assert score[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert score[1].isnan()
    assert score[2] == 0


def test_keypoints_within_a_part_of_the_box_are_correct():
    target = {
        "boxes": torch.tensor([[0.0, 0, 50, 100], [200, 0, 250, 100]]),
        "labels": torch.tensor([0, 0]),
        "keypoints": torch.tensor([[[10.0, 10, 2], [20, 20, 1], [0, 0, 0]], [[210, 10, 2], [220, 20, 1], [0, 0, 0]]]),
    }
    prediction = {
        "boxes": torch.tensor([[0.0, 0, 50, 100]]),
        "labels": torch.tensor([0]),
        "scores": torch.tensor([0.5]),
        "keypoints": torch.tensor([[[10.0, 30, 1], [20, 40.5, 1], [3, 3, 1]]]),
    }
    metric = PCK(1)
    metrics = evaluated(metric, [prediction], [target])
    assert metrics["PCK"] == 0.25  # 20 pixels are a fifth of 100; nothing of the second object is found
    assert metrics["PCK_per_keypoint"][:2].tolist() == [0.5, 0]
    assert metrics["PCK_per_keypoint"][2].isnan()
    assert metric.records["pck"].tolist() == [0.25]


@pytest.mark.parametrize("metric", [BoxAP, MaskAP, KeypointAP])
def test_classes_must_be_some(metric):
    with pytest.raises(ValueError, match="num_classes must be at least 1, not 0"):
        metric(0)


def test_keypoints_must_be_as_many_as_sigmas():
    drawn = {"boxes": torch.zeros(1, 4), "labels": torch.zeros(1, dtype=torch.int64), "keypoints": torch.zeros(1, 5, 3)}
    with pytest.raises(ValueError, match="expected 17 keypoints"):
        evaluated(KeypointAP(1), [{**drawn, "scores": torch.ones(1)}], [drawn])


def test_a_part_must_be_positive():
    with pytest.raises(ValueError, match="alpha must be more than 0, not 0"):
        PCK(1, 0)
