import contextlib
import io
import json
import shutil

import pytest
from PIL import Image
from pycocotools.coco import COCO

from visionlab.data.coco_format import COCOFormatDetection
from visionlab.data.layouts.coco_check import check_format


@pytest.fixture
def root(twins, tmp_path):
    """A twin that may be damaged."""
    return shutil.copytree(twins("coco_format", 12), tmp_path / "twin")


def change(root, damage, split="val"):
    path = root / "annotations" / f"{split}.json"
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    return path


def kinds(root, **places):
    return [error.kind for error in check_format(root, **places).errors]


def test_a_healthy_twin_has_no_errors_and_pycocotools_reads_it(root):
    findings = check_format(root)
    assert findings.errors == []
    assert findings.images == {"train": 12, "val": 4}
    assert findings.classes == 10
    data = COCOFormatDetection(str(root), batch_size=2)
    data.prepare_data()
    for split, labels in findings.labels.items():
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(root / "annotations" / f"{split}.json")
        assert len(truth.anns) == len(labels)
        records = data.records(split)
        assert [records.name(i) for i in range(len(records))] == [str(id) for id in truth.imgs]
        for i, id in enumerate(truth.imgs):
            objects = records.annotations(i)["objects"]
            assert objects["xywh"].tolist() == [row["bbox"] for row in truth.imgToAnns[id]]
            names = [truth.cats[row["category_id"]]["name"] for row in truth.imgToAnns[id]]
            assert [data.classes[label] for label in objects["labels"]] == names


DEFECTS = {
    "malformed-file": lambda d: d.pop("categories"),
    "malformed-annotation": lambda d: d["annotations"][0].update(bbox=["1", "2", "3", "4"]),
    "box-empty": lambda d: d["annotations"][0].update(bbox=[5, 5, 10, 0]),
    "box-outside": lambda d: d["annotations"][0].update(bbox=[5, 5, 10, 500]),
    "unknown-category": lambda d: d["annotations"][0].update(category_id=7),
    "other-categories": lambda d: d["categories"][0].update(name="lorry"),
    "missing-image": lambda d: d["images"][0].update(file_name="nowhere.jpg"),
    "duplicate-image": lambda d: d["images"][0].update(file_name=d["images"][1]["file_name"]),
    "wrong-size": lambda d: d["images"][0].update(height=300, width=300),
}


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_is_named(root, kind):
    path = change(root, DEFECTS[kind])
    found = [error for error in check_format(root).errors if error.kind == kind]
    assert len(found) == 1
    assert str(path) in found[0].message or str(root / "val") in found[0].message
    assert "\n" not in found[0].message


@pytest.mark.parametrize("missing", ["train", "val", "annotations/train.json", "annotations/val.json"])
def test_what_is_missing_is_named(root, missing):
    (root / missing).rename(root / "elsewhere")
    (error,) = check_format(root).errors
    assert (error.kind, error.file) == ("missing-file", root / missing)


def test_a_picture_in_two_splits_is_named(root):
    shutil.copy(min(root.glob("train/*.jpg")), min(root.glob("val/*.jpg")))
    assert "leaked-image" in kinds(root)


def test_stray_images_are_named_and_what_systems_leave_is_not(root):
    for name in (".DS_Store", "Thumbs.db", "._000000000001.jpg", "list.txt"):
        (root / "val" / name).write_bytes(b"system")
    assert kinds(root) == []
    shutil.copy(min(root.glob("val/*.jpg")), root / "val" / "stray.JPG")
    assert kinds(root) == ["missing-annotation"]


def test_files_and_folders_may_have_other_names_and_be_shared(root):
    (root / "images").mkdir()
    for path in root.glob("*/*.jpg"):
        path.rename(root / "images" / path.name)
    places = {"train_images": "images", "val_images": "images", "val_annotations": "valid.json"}
    (root / "annotations" / "val.json").rename(root / "valid.json")
    assert kinds(root, **places) == []
    COCOFormatDetection(str(root), batch_size=2, **places).prepare_data()


def test_test_images_are_looked_at_where_there_are_some(root):
    shutil.copy(root / "annotations" / "val.json", root / "annotations" / "test.json")
    assert kinds(root) == ["missing-file"]
    shutil.copytree(root / "val", root / "test")
    assert set(kinds(root)) == {"leaked-image"}
    for i, path in enumerate(sorted(root.glob("test/*.jpg"))):
        with Image.open(path) as image:
            image.rotate(180).save(path)
        assert kinds(root).count("leaked-image") == 3 - i


def test_wrong_masks_are_none_of_its_business(root):
    change(root, lambda d: d["annotations"][0].update(segmentation=[[1, 2, 3]]))
    assert kinds(root) == []


def test_images_that_are_all_elsewhere_are_named_before_training(root):
    path = change(root, lambda d: [row.update(file_name=f"val/{row['file_name']}") for row in d["images"]])
    with pytest.raises(FileNotFoundError, match=r"val/val/\S+\.jpg is missing, as are all of the first 4") as error:
        COCOFormatDetection(str(root), batch_size=2).prepare_data()
    assert str(path) in str(error.value)
