"""Files of detections: read back they are what was written, and their metrics are those of the run."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tiny_detectors import noisy
from visionlab.data import predictions as files
from visionlab.data.coco import COCOInstances, COCOKeypoints
from visionlab.data.openimages import OpenImagesDetection
from visionlab.data.voc import VOCDetection
from visionlab.metrics.by_objects import found_rows, joined
from visionlab.metrics.openimages import with_size

LABEL_MAP = [{"id": 7, "index": 0, "name": "cat"}, {"id": 12, "index": 1, "name": "sofa"}]
HEIGHT, WIDTH = 427, 640


def table(found, sizes=None):
    """What was found in images, by name, as metrics keep it; and the names."""
    parts = {"xywh", *({"masks", "keypoints"} & next(iter(found.values())).keys())}
    rows = [with_size(found_rows(one, *parts), *(sizes[name] if sizes else (0, 0))) for name, one in found.items()]
    return joined(rows), list(found)


def scored(data, found_by_name):
    metrics = data.metrics()
    data.setup("test")
    dataset = data.datasets["test"]
    for batch in data.test_dataloader():
        found = [
            found_by_name(dataset.name(i), target)
            for i, target in zip(batch["ids"].tolist(), batch["targets"], strict=True)
        ]
        for metric in metrics.values():
            metric.update(found, batch)
    return {f"{p}/{name}": value for p, metric in metrics.items() for name, value in metric.compute().items()}


def run_of(data):
    """The metrics of a run, what it found, by name, and the sizes of the images."""
    generator, found, sizes = np.random.default_rng(0), {}, {}

    def find(name, target):
        found[name] = noisy(target, generator, data.num_classes)
        return found[name]

    metrics = scored(data, find)
    dataset = data.datasets["test"]
    for i in range(len(dataset)):
        sizes[dataset.name(i)] = dataset.image(i).shape[:2]
    return metrics, found, sizes


def assert_same(metrics, others):
    for name, value in metrics.items():
        np.testing.assert_array_equal(value.numpy(), others[name].numpy(), err_msg=name)


@pytest.mark.parametrize(("module", "kinds"), [(COCOInstances, ("bbox", "segm")), (COCOKeypoints, ("keypoints",))])
def test_cocos_files_have_the_metrics_of_the_run_and_of_pycocotools(twins, tmp_path, module, kinds):
    root = twins("coco")
    data = module(str(root), batch_size=4, num_workers=0)
    metrics, found, _ = run_of(data)
    rows, names = table(found)
    files.write_coco(tmp_path, [rows], names, data.label_map)
    for kind in kinds:
        path = tmp_path / f"{kind}.json"
        back = files.read_coco(path, data.label_map)
        protocol = {"bbox": "coco_box", "segm": "coco_mask", "keypoints": "coco_keypoint"}[kind]
        with contextlib.redirect_stdout(io.StringIO()):
            name = "person_keypoints" if kind == "keypoints" else "instances"
            truth = COCO(root / "annotations" / f"{name}_val2017.json")
            evaluation = COCOeval(truth, truth.loadRes(str(path)), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = [value for name, value in metrics.items() if name.startswith(f"{protocol}/")]
        official = [float(value) for value in values[: len(evaluation.stats)]]
        np.testing.assert_allclose(np.nan_to_num(official, nan=-1), evaluation.stats, atol=1e-12, rtol=0)
        assert official[0] > 0.1
        for image, one in back.items():
            for key in one.keys() - ({"boxes"} if kind != "bbox" else set()):
                assert torch.equal(one[key], found[image][key]), (image, key)
        assert back.keys() == {image for image, one in found.items() if len(one["labels"])}


def test_vocs_files_have_the_metrics_of_the_run(twins, tmp_path):
    data = VOCDetection(str(twins("voc")), batch_size=4, num_workers=0)
    metrics, found, _ = run_of(data)
    assert 0 < metrics["voc07_11pt/mAP"] < 1
    files.write_voc(tmp_path, *table(found), data.label_map, "test")
    assert len(list(tmp_path.glob("comp4_det_test_*.txt"))) == 20
    back = files.read_voc(tmp_path, data.label_map, "test")
    assert_same(metrics, scored(data, lambda name, _: back.get(name, files.nothing_found())))


def test_open_images_files_have_the_metrics_of_the_run(twins, tmp_path):
    data = OpenImagesDetection(str(twins("openimages")), batch_size=4, num_workers=0)
    metrics, found, sizes = run_of(data)
    assert 0 < metrics["v2/mAP"] < 1
    rows, names = table(found, sizes)
    files.write_openimages(tmp_path, [rows], names, data.label_map)
    back = files.read_openimages(tmp_path / "boxes.csv", data.label_map, sizes)
    assert_same(metrics, scored(data, lambda name, _: back.get(name, files.nothing_found())))


# all float32 boxes of images, not only round ones
NUMBERS = st.floats(0, 5000, width=32)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.floats(0, 1, width=32), st.integers(0, 1)), max_size=6)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(ROWS)
def test_numbers_are_kept_to_the_last_bit(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("files")
    rows = sorted(rows, key=lambda row: -row[4])
    sides = torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 2, 2).sort(dim=1).values
    found = {
        "boxes": sides.reshape(-1, 4),
        "scores": torch.tensor([row[4] for row in rows], dtype=torch.float32),
        "labels": torch.tensor([row[5] for row in rows], dtype=torch.int64),
    }
    sizes = {"42": (HEIGHT, WIDTH)}
    objects, names = table({"42": found}, sizes)
    files.write_coco(folder, [objects], names, LABEL_MAP)
    files.write_openimages(folder, [objects], names, LABEL_MAP)
    files.write_voc(folder, objects, names, LABEL_MAP, "val", competition=3)
    backs = [
        files.read_coco(folder / "bbox.json", LABEL_MAP),
        files.read_openimages(folder / "boxes.csv", LABEL_MAP, sizes),
        files.read_voc(folder, LABEL_MAP, "val", competition=3),
    ]
    for back in backs[:2]:
        one = back.get("42", files.nothing_found())
        for name, value in found.items():
            assert torch.equal(one[name], value), name
    for label in (0, 1):  # a file a class, so order between classes is lost where scores are equal
        one = backs[2].get("42", files.nothing_found())
        for name, value in found.items():
            mine, whole = one[name][one["labels"] == label], value[found["labels"] == label]
            torch.testing.assert_close(mine, whole, rtol=0, atol=2**-29, msg=name)


def test_masks_in_open_images_tables(tmp_path):
    masks = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.uint8)
    masks[0, 3:9, 5:50] = 1
    found = {
        "boxes": torch.zeros(2, 4),
        "scores": torch.tensor([0.5, 0.25]),
        "labels": torch.tensor([1, 0]),
        "masks": masks,
    }
    sizes = {"a1": (HEIGHT, WIDTH)}
    rows, names = table({"a1": found}, sizes)
    files.write_openimages(tmp_path, [rows], names, LABEL_MAP)
    back = files.read_openimages(tmp_path / "masks.csv", LABEL_MAP, sizes)["a1"]
    for name in ("masks", "scores", "labels"):
        assert torch.equal(back[name], found[name])
    assert back["boxes"].tolist() == [[5, 3, 50, 9], [0, 0, 0, 0]]


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not a list of results"):
        files.read_coco(path, LABEL_MAP)
    path.write_text(json.dumps([{"image_id": 1, "category_id": 8, "score": 1, "bbox": [0, 0, 1, 1]}]))
    with pytest.raises(ValueError, match="there is no category 8"):
        files.read_coco(path, LABEL_MAP)
    path.write_text("ImageID,Label\n")
    with pytest.raises(ValueError, match="expected the columns ImageID, LabelName"):
        files.read_openimages(path, LABEL_MAP, {})
    path.write_text("ImageID,LabelName,Score,XMin,XMax,YMin,YMax\na,/m/1,1,0,1,0,1\n")
    with pytest.raises(ValueError, match="line 2: there is no class '/m/1'"):
        files.read_openimages(path, LABEL_MAP, {})
    (tmp_path / "comp4_det_val_cat.txt").write_text("a 0.5 1 2 3\n")
    with pytest.raises(ValueError, match="line 1: expected image, score and four sides"):
        files.read_voc(tmp_path, LABEL_MAP, "val")
