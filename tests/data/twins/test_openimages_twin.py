import csv
import hashlib

import numpy as np
import pytest
from PIL import Image

from visionlab.data.layouts.openimages import OpenImages
from visionlab.data.layouts.openimages_check import check
from visionlab.data.layouts.openimages_tables import FLAGS
from visionlab.data.twins.openimages import make


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(root):
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return whole.hexdigest()


def test_a_healthy_twin_has_nothing_wrong(tmp_path):
    make(tmp_path / "twin", 16, 0)
    findings = check(tmp_path / "twin")
    assert findings.errors == []
    assert findings.images == {"train": 16, "val": 4, "test": 4}
    table = rows(tmp_path / "twin/annotations/oidv6-train-annotations-bbox.csv")
    assert len(findings.labels["train"]) == len(table)
    assert findings.sizes["train"].shape == (16, 2)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        make(tmp_path / name, 8, seed)
    assert digest(tmp_path / "one") == digest(tmp_path / "same") != digest(tmp_path / "other")


def test_it_overwrites_nothing_and_needs_a_few_images(tmp_path):
    with pytest.raises(ValueError, match="give at least 8"):
        make(tmp_path, 7, 0)
    (tmp_path / "annotations").mkdir()
    with pytest.raises(FileExistsError, match="annotations"):
        make(tmp_path, 8, 0)


def test_what_the_official_tables_have_is_there(tmp_path):
    make(tmp_path, 64, 0)
    tables = tmp_path / "annotations"
    boxes = rows(tables / "oidv6-train-annotations-bbox.csv")
    assert len(boxes[0]) == 21
    assert len(rows(tables / "test-annotations-bbox.csv")[0]) == 13
    for name in FLAGS[:4]:
        assert {row[name] for row in boxes} == {"-1", "0", "1"}
    assert {row["Source"] for row in boxes} == {"xclick", "activemil"}
    images = {row["ImageID"] for row in rows(tables / "train-images-boxable-with-rotation.csv")}
    masks = rows(tables / "train-annotations-object-segmentation.csv")
    assert {row["ImageID"] for row in masks} < {row["ImageID"] for row in boxes} < images
    for row in masks:
        assert row["MaskPath"] == f"{row['ImageID']}_{row['LabelName'].replace('/', '')}_{row['BoxID']}.png"
    labels = rows(tables / "oidv7-train-annotations-human-imagelabels.csv")
    assert {row["Confidence"] for row in labels} == {"0", "1"}
    assert {row["ImageID"] for row in labels} == images
    relations = rows(tables / "oidv6-train-annotations-vrd.csv")
    assert {row["RelationshipLabel"] for row in relations} == {"on", "at", "is"}
    assert {Image.open(path).mode for path in (tmp_path / "train").iterdir()} == {"L", "RGB"}


def test_a_mask_fills_its_box(tmp_path):
    make(tmp_path, 8, 0)
    for row in rows(tmp_path / "annotations/train-annotations-object-segmentation.csv"):
        with Image.open(tmp_path / "masks/train" / row["MaskPath"]) as image:
            assert image.mode == "1"
            ys, xs = np.nonzero(np.asarray(image))
            found = np.array([xs.min(), xs.max() + 1, ys.min(), ys.max() + 1]) / np.repeat(image.size, 2)
        expected = [float(row[name]) for name in ("BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax")]
        assert np.abs(found - expected).max() < 0.02  # a pixel of the mask


def test_relationships_are_indexed(tmp_path):
    make(tmp_path, 8, 0)
    table = OpenImages(tmp_path).relationships("train")
    expected = rows(tmp_path / "annotations/oidv6-train-annotations-vrd.csv")
    assert table["relation"].tolist() == [row["RelationshipLabel"].encode() for row in expected]
    assert table["second"].tolist() == [row["LabelName2"].encode() for row in expected]
    boxes = [[float(row[f"{side}2"]) for side in ("XMin", "YMin", "XMax", "YMax")] for row in expected]
    np.testing.assert_array_equal(table["second_boxes"], boxes)
    names = np.repeat(table["ids"], np.diff(table["offsets"])).tolist()
    assert names == [row["ImageID"].encode() for row in expected]
