import contextlib
import io
import json
import math
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from visionlab.data.download import Remote, md5
from visionlab.data.layouts import coco
from visionlab.data.layouts.coco import IDS, ObjectRecords, open_split
from visionlab.data.layouts.coco_check import check

# of pycocotools' C code, with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def healthy(twins):
    return twins("coco", 12)


@pytest.fixture
def twin(healthy, tmp_path):
    """A twin that may be damaged."""
    return shutil.copytree(healthy, tmp_path / "twin")


@pytest.fixture(params=["twin", "real"])
def root(request, healthy):
    return healthy if request.param == "twin" else request.getfixturevalue("shared_data") / "coco"


def reference(path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", ["instances", "person_keypoints"])
def test_reads_what_pycocotools_and_torchvision_read(root, split, kind):
    index, folder = open_split(root, kind, split, 2017)
    keypoints = kind == "person_keypoints"
    parts = ("masks", "keypoints") if keypoints else ("masks",)
    records = ObjectRecords(index, folder, np.array([1] if keypoints else IDS), parts=parts)
    path = root / "annotations" / f"{kind}_{split}2017.json"
    truth = reference(path)
    with contextlib.redirect_stdout(io.StringIO()):
        images = CocoDetection(folder, path)
    assert [records.name(i) for i in range(len(records))] == [str(id) for id in images.ids]
    for i, id in enumerate(images.ids):
        assert records.path(i) == folder / truth.imgs[id]["file_name"]
        objects, expected = records.annotations(i)["objects"], truth.imgToAnns[id]
        assert expected == images._load_target(id)
        boxes = np.array([one["bbox"] for one in expected]).reshape(-1, 4)
        assert objects["boxes"].dtype == np.float64
        np.testing.assert_array_equal(objects["boxes"], np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]))
        for key, name in {"labels": "category_id", "ids": "id", "area": "area", "crowd": "iscrowd"}.items():
            assert objects[key].tolist() == [one[name] for one in expected]
        assert objects["masks"].shape == (len(expected), truth.imgs[id]["height"], truth.imgs[id]["width"])
        for mask, one in zip(objects["masks"], expected, strict=True):
            np.testing.assert_array_equal(mask, truth.annToMask(one))
        if keypoints:
            points = np.array([one["keypoints"] for one in expected], np.float64).reshape(-1, 17, 3)
            np.testing.assert_array_equal(objects["keypoints"], points)


def test_counts_of_the_real_sample(shared_data):
    findings = check(shared_data / "coco")
    assert findings.errors == []
    assert findings.images == {"train2017": 60, "val2017": 60}
    labels = findings.labels["train2017"], findings.labels["val2017"]
    assert [len(part) for part in labels] == [520, 461]
    assert [len(np.unique(part)) for part in labels] == [72, 73]
    root, crowds, people = shared_data / "coco", 0, 0
    for split in ("train", "val"):
        crowds += open_split(root, "instances", split, 2017)[0]["crowd"].sum()
        keypoints = open_split(root, "person_keypoints", split, 2017)[0]["keypoints"]
        people += (keypoints[..., 2] > 0).any(1).sum()
    assert (crowds, people) == (9, 108)


def test_a_healthy_twin_has_no_errors(healthy):
    findings = check(healthy)
    assert findings.errors == []
    assert findings.images == {"train2017": 12, "val2017": 4}
    assert any("crowds" in note for note in findings.notes)


def test_images_may_lie_below_images_and_be_of_2014(twin):
    (twin / "images").mkdir()
    for split in ("train", "val"):
        (twin / f"{split}2017").rename(twin / "images" / f"{split}2014")
        for kind in ("instances", "person_keypoints"):
            file = twin / "annotations" / f"{kind}_{split}2017.json"
            file.rename(file.with_name(f"{kind}_{split}2014.json"))
    assert check(twin).errors == []
    index, folder = open_split(twin, "instances", "test", 2014)
    assert folder == twin / "images" / "val2014"
    assert len(index["all"]) == 4


def test_records_are_small_and_open_again_elsewhere(healthy):
    index, folder = open_split(healthy, "instances", "train", 2017)
    records = ObjectRecords(index, folder, np.arange(80), parts=("masks",))
    before = records.annotations(2)["objects"]
    pickled = pickle.dumps(records)
    assert len(pickled) < 2000
    after = pickle.loads(pickled).annotations(2)["objects"]
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("annotations/instances_val2017.json", "instances_val2017.json is missing.*annotations_trainval2017.zip"),
        ("val2017", "val2017 is missing: run `visionlab data download coco --root .*val2017.zip"),
    ],
)
def test_what_is_missing_is_named_with_its_archive(twin, missing, message):
    (twin / missing).rename(twin / "elsewhere")
    with pytest.raises(FileNotFoundError, match=message):
        open_split(twin, "instances", "val", 2017)
    assert [error.kind for error in check(twin).errors] == ["missing-file"]


def test_without_keypoints_there_is_only_a_note(twin):
    (twin / "annotations" / "person_keypoints_val2017.json").unlink()
    findings = check(twin)
    assert findings.errors == []
    assert any("person_keypoints_val2017.json is missing" in note for note in findings.notes)


def test_downloads_what_is_missing_and_nothing_else(healthy, tmp_path, monkeypatch):
    sizes = {"train": 12, "val": 4}
    parts = {"annotations_trainval2017.zip": "annotations", "val2017.zip": "val2017", "train2017.zip": "train2017"}
    assert [(archive.path, archive.urls[0].rsplit("/")[-1]) for archive in coco.ARCHIVES] == [(a, a) for a in parts]
    root = tmp_path / "root"
    root.mkdir()
    archives = []
    for archive, folder in parts.items():
        with zipfile.ZipFile(root / archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in (healthy / folder).iterdir():
                file.write(path, f"{folder}/{path.name}")
        archives.append(Remote(archive, (root / archive).stat().st_size, md5(root / archive), ()))
    monkeypatch.setattr(coco, "ARCHIVES", archives)
    monkeypatch.setattr(coco, "IMAGES", sizes)
    coco.download(root)
    assert check(root).errors == []
    for archive in parts:
        (root / archive).unlink()
    coco.download(root)
    min(root.glob("val2017/*.jpg")).unlink()  # as if unpacking had been interrupted
    with pytest.raises(OSError, match=r"val2017\.zip could not be downloaded.*by hand.*visionlab data download coco"):
        coco.download(root)
    monkeypatch.setattr(coco, "IMAGES", {"train": 118_287, "val": 5_000})
    with pytest.raises(ValueError, match=r"instances_train2017\.json is of other data than the official"):
        coco.download(root)


# what cannot be right stops the run before it starts, and is named by the doctor


def polygon(row):
    return row["segmentation"][0]


def crowd(document):
    return next(row["segmentation"] for row in document["annotations"] if row["iscrowd"])


DEFECTS = {
    "box of NaN": ("box-nan", lambda d, a: a.update(bbox=[1, 2, math.nan, 4])),
    "box of infinity": ("box-nan", lambda d, a: a.update(bbox=[1, 2, math.inf, 4])),
    "box beyond floats": ("box-nan", lambda d, a: a.update(bbox=[1, 2, 10**400, 4])),
    "inverted box": ("box-inverted", lambda d, a: a.update(bbox=[9, 9, -5, 4])),
    "box of three": ("malformed-annotation", lambda d, a: a.update(bbox=[1, 2, 3])),
    "box of strings": ("malformed-annotation", lambda d, a: a.update(bbox=["1", "2", "3", "4"])),
    "no box": ("malformed-annotation", lambda d, a: a.pop("bbox")),
    "area of a string": ("malformed-annotation", lambda d, a: a.update(area="12")),
    "negative area": ("malformed-annotation", lambda d, a: a.update(area=-1)),
    "crowd of two": ("malformed-annotation", lambda d, a: a.update(iscrowd=2)),
    "crowd of a list": ("malformed-annotation", lambda d, a: a.update(iscrowd=[])),
    "category of a string": ("malformed-annotation", lambda d, a: a.update(category_id="1")),
    "id of a float": ("malformed-annotation", lambda d, a: a.update(id=1.5)),
    "huge id": ("malformed-annotation", lambda d, a: a.update(id=2**63)),
    "unknown category": ("unknown-category", lambda d, a: a.update(category_id=12)),
    "unknown image": ("unknown-image", lambda d, a: a.update(image_id=0)),
    "duplicate annotation": ("duplicate-id", lambda d, a: d["annotations"].append(dict(a))),
    "duplicate image": ("duplicate-id", lambda d, a: d["images"].append(dict(d["images"][0]))),
    "no object": ("malformed-file", lambda d, a: d["annotations"].append(7)),
    "image without a name": ("malformed-image", lambda d, a: d["images"].append({"id": 7, "height": 9, "width": 9})),
    "image without pixels": ("malformed-image", lambda d, a: d["images"][0].update(height=0)),
    "image too large": ("malformed-image", lambda d, a: d["images"][0].update(height=100_000, width=100_000)),
    "path upwards": ("path-outside-root", lambda d, a: d["images"][0].update(file_name="../../secret.jpg")),
    "absolute path": ("path-outside-root", lambda d, a: d["images"][0].update(file_name="/etc/passwd")),
    "Windows path": ("path-outside-root", lambda d, a: d["images"][0].update(file_name="..\\secret.jpg")),
    "name with NUL": ("path-outside-root", lambda d, a: d["images"][0].update(file_name="a\0.jpg")),
    "half a character": ("malformed-image", lambda d, a: d["images"][0].update(file_name="\ud800.jpg")),
    "odd polygon": ("malformed-segmentation", lambda d, a: polygon(a).append(1.0)),
    "polygon of strings": ("malformed-segmentation", lambda d, a: a.update(segmentation=[["1"] * 6])),
    "polygon of NaN": ("malformed-segmentation", lambda d, a: a.update(segmentation=[[math.nan] * 6])),
    "polygon far away": ("malformed-segmentation", lambda d, a: a.update(segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]])),
    "endless polygon": ("malformed-segmentation", lambda d, a: a.update(segmentation=[[0, 0, 99, 99] * 100_000])),
    "segmentation of a string": ("malformed-segmentation", lambda d, a: a.update(segmentation="PPYo0")),
    "giant run lengths": (
        "malformed-segmentation",
        lambda d, a: a.update(segmentation={"size": [100_000, 100_000], "counts": [10**10]}),
    ),
    "run lengths too long": ("malformed-segmentation", lambda d, a: crowd(d)["counts"].append(5)),
    "run lengths too short": ("malformed-segmentation", lambda d, a: crowd(d)["counts"].pop()),
    "negative run length": ("malformed-segmentation", lambda d, a: crowd(d)["counts"].extend([-5, 5])),
    "run lengths of strings": ("malformed-segmentation", lambda d, a: crowd(d).update(counts=["1", "2"])),
    "run lengths cut off": ("malformed-segmentation", lambda d, a: crowd(d).update(counts="PPYo")),
    "run lengths of emoji": ("malformed-segmentation", lambda d, a: crowd(d).update(counts="\N{GRINNING FACE}")),
    "run lengths without end": ("malformed-segmentation", lambda d, a: crowd(d).update(counts="o" * 100_000)),
    "no category": ("malformed-file", lambda d, a: d["categories"].pop(7)),
    "other category": ("malformed-file", lambda d, a: d["categories"][7].update(name="lorry")),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_named_by_the_doctor_and_stops_training(twin, defect):
    kind, damage = DEFECTS[defect]
    path = twin / "annotations" / "instances_val2017.json"
    document = json.loads(path.read_text())
    damage(document, next(row for row in document["annotations"] if not row["iscrowd"]))
    path.write_text(json.dumps(document))
    errors = [error for error in check(twin).errors if error.file == path]
    assert errors[0].kind == kind
    assert str(path) in errors[0].message
    assert "\n" not in errors[0].message
    assert len(errors[0].message) < 400
    with pytest.raises(ValueError, match=r"instances_val2017\.json") as caught:
        open_split(twin, "instances", "val", 2017)
    assert "\n" not in str(caught.value)


def test_all_defects_are_reported_not_only_the_first(twin):
    path = twin / "annotations" / "instances_val2017.json"
    document = json.loads(path.read_text())
    first, second, *_ = document["annotations"]
    first["bbox"], second["category_id"] = [1, 2, 3, math.nan], 12
    document["images"][0]["file_name"] = "../x.jpg"
    path.write_text(json.dumps(document))
    errors = {(error.kind, error.id) for error in check(twin).errors if error.file == path}
    assert {
        ("box-nan", str(first["id"])),
        ("unknown-category", str(second["id"])),
        ("path-outside-root", str(document["images"][0]["id"])),
    } <= errors


@pytest.mark.parametrize(
    ("kind", "keypoints"),
    [
        ("malformed-keypoints", [1, 2, 3] * 17),
        ("malformed-keypoints", [1, 2, 1] * 16),
        ("malformed-keypoints", [math.nan, 2, 1] * 17),
        ("malformed-keypoints", "nose"),
        ("keypoint-outside", [5000, 2, 2] * 17),
    ],
)
def test_wrong_keypoints_are_named(twin, kind, keypoints):
    path = twin / "annotations" / "person_keypoints_train2017.json"
    document = json.loads(path.read_text())
    row = document["annotations"][0]
    row["keypoints"] = keypoints
    path.write_text(json.dumps(document))
    errors = [error for error in check(twin).errors if error.file == path]
    assert [(error.kind, error.id) for error in errors] == [(kind, str(row["id"]))]


@pytest.mark.parametrize(("kind", "box"), [("box-empty", [5, 5, 10, 0]), ("box-outside", [5, 5, 10, 500])])
def test_suspicious_boxes_are_kept_and_named(twin, kind, box):
    path = twin / "annotations" / "instances_val2017.json"
    document = json.loads(path.read_text())
    row = document["annotations"][0]
    row["bbox"] = box
    path.write_text(json.dumps(document))
    assert [(error.kind, error.id) for error in check(twin).errors] == [(kind, str(row["id"]))]
    index, _ = open_split(twin, "instances", "val", 2017)
    assert box in index["boxes"].tolist()


@pytest.mark.parametrize("id", [918, 2206849])
def test_the_two_flat_boxes_of_coco_itself_are_only_noted(twin, id):
    path = twin / "annotations" / "instances_train2017.json"
    document = json.loads(path.read_text())
    document["annotations"][0].update(id=id, bbox=[5.5, 5.5, 10, 0])
    path.write_text(json.dumps(document))
    findings = check(twin)
    assert findings.errors == []
    assert any(f"annotation {id}: bbox [5.5, 5.5, 10.0, 0.0] has no area" in note for note in findings.notes)


def shorten(path):
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("missing-image", lambda path: path.unlink()),
        ("empty-image", lambda path: path.write_bytes(b"")),
        ("truncated-image", shorten),
        ("unreadable-image", lambda path: path.write_bytes(b"<html>")),
        ("missing-annotation", lambda path: shutil.copy(path, path.with_name("stray.jpg"))),
        ("leaked-image", lambda path: shutil.copy(next(path.parents[1].glob("train2017/*.jpg")), path)),
    ],
)
def test_images_are_looked_at(twin, kind, damage):
    damage(min(twin.glob("val2017/*.jpg")))
    errors = check(twin).errors
    assert kind in [error.kind for error in errors]
    assert all("val2017" in error.message for error in errors)


def test_what_systems_leave_in_folders_is_no_image(twin):
    for name in (".DS_Store", "Thumbs.db", "._1.jpg"):
        (twin / "val2017" / name).write_bytes(b"system")
    assert check(twin).errors == []


def test_another_year_that_is_there_is_named(twin):
    with pytest.raises(FileNotFoundError, match=r"instances_val2014\.json is missing; of 2017 .* set year to 2017"):
        open_split(twin, "instances", "val", 2014)


def test_an_image_of_another_size_is_named(twin):
    path = twin / "annotations" / "instances_val2017.json"
    document = json.loads(path.read_text())
    crowds = {row["image_id"] for row in document["annotations"] if row["iscrowd"]}
    image = next(image for image in document["images"] if image["id"] not in crowds)
    image["height"] += 1
    path.write_text(json.dumps(document))
    (error,) = check(twin).errors
    assert error.kind == "wrong-size"
    assert image["file_name"] in error.message
