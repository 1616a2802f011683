import hashlib
import json

import pytest

from visionlab.data.twins import coco_format
from visionlab.data.twins.coco import CATEGORIES, make


def digest(root) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    content = b"".join(path.relative_to(root).as_posix().encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


def test_a_seed_fixes_every_byte(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(tmp_path / name, 4, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_has_what_is_odd_about_coco(tmp_path):
    make(tmp_path, 24, seed=0)
    document = json.loads((tmp_path / "annotations" / "instances_train2017.json").read_text())
    assert list(document) == ["info", "licenses", "images", "annotations", "categories"]
    assert [len(document["images"]), len(document["categories"])] == [24, 80]
    rows = document["annotations"]
    assert {row["image_id"] for row in rows} < {image["id"] for image in document["images"]}  # some have no object
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert {names[row["category_id"]] for row in rows} == set(CATEGORIES)
    assert max(row["category_id"] for row in rows) == 90
    crowds = [row for row in rows if row["iscrowd"]]
    assert {type(row["segmentation"]) for row in crowds} == {dict}
    assert all(sum(row["segmentation"]["counts"]) == row["segmentation"]["size"][0] * row["segmentation"]["size"][1]
               for row in crowds)  # fmt: skip
    assert max(len(row["segmentation"]) for row in rows if not row["iscrowd"]) > 1  # polygons
    people = json.loads((tmp_path / "annotations" / "person_keypoints_train2017.json").read_text())
    assert [category["name"] for category in people["categories"]] == ["person"]
    assert {len(row["keypoints"]) for row in people["annotations"]} == {51}
    assert all(row["num_keypoints"] == sum(v > 0 for v in row["keypoints"][2::3]) for row in people["annotations"])
    assert len(list((tmp_path / "val2017").glob("*.jpg"))) == 6


def test_has_what_is_odd_about_other_files_in_cocos_format(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        coco_format.make(tmp_path / name, 24, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
    document = json.loads((tmp_path / "a" / "annotations" / "train.json").read_text())
    assert list(document) == ["images", "annotations", "categories"]
    assert [category["id"] for category in document["categories"]] == list(range(10, 110, 10))
    rows = document["annotations"]
    assert {row["category_id"] for row in rows} == set(range(10, 110, 10))
    assert not any({"segmentation", "keypoints"} & row.keys() for row in rows)
    assert {row["image_id"] for row in rows} < {image["id"] for image in document["images"]}
    assert {row["iscrowd"] for row in rows} == {0, 1}
    with pytest.raises(FileExistsError, match="train is there already"):
        coco_format.make(tmp_path / "a", 24, 0)


def test_overwrites_nothing_and_wants_a_few_images(tmp_path):
    with pytest.raises(ValueError, match="3 training images are too few: give at least 4"):
        make(tmp_path / "a", 3, seed=0)
    make(tmp_path / "b", 4, seed=0)
    before = digest(tmp_path / "b")
    with pytest.raises(FileExistsError, match="train2017 is there already"):
        make(tmp_path / "b", 4, seed=1)
    assert digest(tmp_path / "b") == before
