import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionlab.data.layouts.openimages import OpenImages
from visionlab.data.layouts.openimages_check import check

TRAIN_BOXES = "annotations/oidv6-train-annotations-bbox.csv"
TRAIN_MASKS = "annotations/train-annotations-object-segmentation.csv"
TRAIN_LABELS = "annotations/train-annotations-human-imagelabels-boxable.csv"
TRAIN_IMAGES = "annotations/train-images-boxable-with-rotation.csv"
CLASSES = "annotations/oidv7-class-descriptions-boxable.csv"
HIERARCHY = "annotations/bbox_labels_600_hierarchy.json"


@pytest.fixture(scope="module")
def healthy(twins) -> Path:
    return twins("openimages", 8)


@pytest.fixture
def root(healthy, tmp_path) -> Path:
    return shutil.copytree(healthy, tmp_path / "openimages")


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def set_field(path, row, column, value):
    """Change one field of a row, counted from 0 after the header."""
    table = rows(path)
    table[row][column] = value
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def change_line(path, number, change):
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[number] = change(lines[number])
    path.write_text("".join(lines), encoding="utf-8")


def first_mask(root):
    return root / "masks/train" / rows(root / TRAIN_MASKS)[0]["MaskPath"]


def first_image(root):
    return root / "train" / f"{rows(root / TRAIN_MASKS)[0]['ImageID']}.jpg"


def open_boxes(root):
    OpenImages(root).boxes("train", None, "raise")


def open_masks(root):
    OpenImages(root).masks("train", None, "raise")


def open_labels(root):
    OpenImages(root).labels("train", "boxable", None, "raise")


def read_all_masks(root):
    records = OpenImages(root).masks("train", None, "raise")
    [records.annotations(i) for i in range(len(records))]


def read_hierarchy(root):
    OpenImages(root).ancestors(OpenImages(root).classes("boxable", None).ids)


def opposite(root):
    row = rows(root / TRAIN_BOXES)[1]
    set_field(root / TRAIN_BOXES, 1, "XMin", row["XMax"])
    set_field(root / TRAIN_BOXES, 1, "XMax", row["XMin"])


def twice(root):
    change_line(root / TRAIN_MASKS, 1, lambda line: line + line)


def deep(root):
    (root / HIERARCHY).write_text('{"LabelName": "/m/0bl9f", "Subcategory": [' * 100_000)


def turned(root):
    height, width = np.asarray(Image.open(first_image(root))).shape[:2]
    Image.new("1", (2 * width, height)).save(first_mask(root))


# what is done to a healthy folder, its kind, its file, and what training does that meets it before the first batch
WRONG = {
    "a class of a box": (
        lambda root: set_field(root / TRAIN_BOXES, 1, "LabelName", "/m/0zzz"),
        ("unknown-category", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "NaN": (lambda root: set_field(root / TRAIN_BOXES, 1, "YMin", "nan"), ("box-nan", TRAIN_BOXES, 3), open_boxes),
    "infinite": (
        lambda root: set_field(root / TRAIN_BOXES, 1, "YMax", "1e999"),
        ("box-nan", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "inverted": (opposite, ("box-inverted", TRAIN_BOXES, 3), open_boxes),
    "pixels": (
        lambda root: set_field(root / TRAIN_BOXES, 1, "YMax", "57"),
        ("box-outside", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "no number": (
        lambda root: set_field(root / TRAIN_BOXES, 1, "YMax", "low"),
        ("malformed-file", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "nothing": (
        lambda root: set_field(root / TRAIN_BOXES, 1, "YMax", ""),
        ("malformed-file", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "too few fields": (
        lambda root: change_line(root / TRAIN_BOXES, 2, lambda line: line.rpartition(",")[0] + "\n"),
        ("malformed-file", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "too many fields": (
        lambda root: change_line(root / TRAIN_BOXES, 2, lambda line: "1," + line),
        ("malformed-file", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "a flag": (
        lambda root: set_field(root / TRAIN_BOXES, 1, "IsGroupOf", "2"),
        ("malformed-file", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "no such column": (
        lambda root: change_line(root / TRAIN_BOXES, 0, lambda line: line.replace("XMin", "Left")),
        ("malformed-file", TRAIN_BOXES, None),
        open_boxes,
    ),
    "not UTF-8": (
        lambda root: (root / TRAIN_BOXES).write_bytes((root / TRAIN_BOXES).read_bytes() + b"\xff\xfe"),
        ("malformed-file", TRAIN_BOXES, None),
        open_boxes,
    ),
    "an image that is not in the list": (
        lambda root: set_field(root / TRAIN_BOXES, 1, "ImageID", "ffffffffffffffff"),
        ("unknown-image", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "an image elsewhere": (
        lambda root: set_field(root / TRAIN_BOXES, 1, "ImageID", "../../secret"),
        ("path-outside-root", TRAIN_BOXES, 3),
        open_boxes,
    ),
    "an absolute path": (
        lambda root: set_field(root / TRAIN_IMAGES, 1, "ImageID", "/etc/passwd"),
        ("path-outside-root", TRAIN_IMAGES, 3),
        open_boxes,
    ),
    "an image twice": (
        lambda root: set_field(root / TRAIN_IMAGES, 1, "ImageID", rows(root / TRAIN_IMAGES)[0]["ImageID"]),
        ("duplicate-id", TRAIN_IMAGES, 3),
        open_boxes,
    ),
    "a class twice": (
        lambda root: change_line(root / CLASSES, 1, lambda line: line + line),
        ("duplicate-id", CLASSES, 3),
        open_boxes,
    ),
    "a class without id": (
        lambda root: change_line(root / CLASSES, 2, lambda line: "Owl\n"),
        ("malformed-file", CLASSES, 3),
        open_boxes,
    ),
    "half a label": (
        lambda root: set_field(root / TRAIN_LABELS, 1, "Confidence", "0.5"),
        ("malformed-file", TRAIN_LABELS, 3),
        open_labels,
    ),
    "a class of a label": (
        lambda root: set_field(root / TRAIN_LABELS, 1, "LabelName", "Owl"),
        ("unknown-category", TRAIN_LABELS, 3),
        open_labels,
    ),
    "a mask elsewhere": (
        lambda root: set_field(root / TRAIN_MASKS, 1, "MaskPath", "../../train/a.png"),
        ("path-outside-root", TRAIN_MASKS, 3),
        open_masks,
    ),
    "a mask twice": (twice, ("duplicate-id", TRAIN_MASKS, 3), open_masks),
    "no mask": (lambda root: first_mask(root).unlink(), ("missing-annotation", None, None), read_all_masks),
    "a broken mask": (
        lambda root: first_mask(root).write_bytes(b"nothing"),
        ("unreadable-mask", None, None),
        read_all_masks,
    ),
    "a mask of another shape": (turned, ("size-mismatch", None, None), read_all_masks),
    "no image": (lambda root: first_image(root).unlink(), ("missing-image", None, None), open_boxes),
    "a hierarchy of other classes": (
        lambda root: (root / HIERARCHY).write_text((root / HIERARCHY).read_text().replace("/m/0k4j", "/m/0")),
        ("unknown-category", HIERARCHY, None),
        read_hierarchy,
    ),
    "a hierarchy without names": (
        lambda root: (root / HIERARCHY).write_text('{"LabelName": "/m/0bl9f", "Part": [{}]}'),
        ("malformed-file", HIERARCHY, None),
        read_hierarchy,
    ),
    "a deep hierarchy": (deep, ("malformed-file", HIERARCHY, None), read_hierarchy),
    "no classes": (lambda root: (root / CLASSES).unlink(), ("missing-file", ".", None), open_boxes),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_found_and_stops_training_before_it_starts(root, case):
    spoil, (kind, file, line), train = WRONG[case]
    spoil(root)
    found = [error for error in check(root).errors if error.kind == kind]
    assert found
    if file is not None:
        assert (found[0].file, found[0].line) == (root / file, line)
    assert str(found[0].file) in found[0].message
    assert "\n" not in found[0].message
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        train(root)
    assert "\n" not in str(raised.value)
    assert str(found[0].file if file is None else root / file).removesuffix("/.") in str(raised.value)


def test_all_is_found_not_the_first(root):
    for row in (1, 3, 5):
        set_field(root / TRAIN_BOXES, row, "YMin", "nan")
    set_field(root / TRAIN_LABELS, 0, "Confidence", "2")
    first_image(root).write_bytes(b"nothing")
    kinds = sorted(error.kind for error in check(root).errors)
    assert kinds == ["box-nan", "box-nan", "box-nan", "malformed-file", "unreadable-image"]


def test_boxes_without_area_or_a_little_outside_are_kept_and_noted(root):
    set_field(root / TRAIN_BOXES, 1, "XMin", rows(root / TRAIN_BOXES)[1]["XMax"])
    set_field(root / TRAIN_BOXES, 2, "YMax", "1.000400")
    findings = check(root)
    assert findings.errors == []
    assert any("1 boxes without area (lines 3)" in note for note in findings.notes)
    assert any("1 boxes a little outside of their image (lines 4)" in note for note in findings.notes)
    table = OpenImages(root).box_table("train")
    assert 1.0004 in table["boxes"][:, 3]
