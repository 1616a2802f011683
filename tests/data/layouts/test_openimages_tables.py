import csv
import http.server
import json
import shutil
import threading
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionlab.data.layouts.openimages import OpenImages, download, read_images
from visionlab.data.layouts.openimages_check import check
from visionlab.data.layouts.openimages_classes import read_ancestors, read_classes
from visionlab.data.layouts.openimages_tables import FLAGS, flag, read_boxes, read_labels, read_masks, refuse

TRAIN_BOXES = "annotations/oidv6-train-annotations-bbox.csv"
TRAIN_MASKS = "annotations/train-annotations-object-segmentation.csv"
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


def test_a_folder_without_tables_says_what_is_missing(tmp_path):
    (error, *_) = check(tmp_path).errors
    assert error.kind == "missing-file"
    with pytest.raises(FileNotFoundError, match="visionlab data download openimages"):
        OpenImages(tmp_path).boxes("val", None, "raise")


@pytest.mark.parametrize("folder", ["", "metadata", "annotations"])
@pytest.mark.parametrize("version", ["", "oidv6-", "oidv7-"])
def test_tables_of_any_version_are_found_where_people_keep_them(tmp_path, folder, version):
    (tmp_path / folder).mkdir(exist_ok=True)
    path = tmp_path / folder / f"{version}validation-annotations-bbox.csv"
    path.write_text("")
    assert OpenImages(tmp_path).table("boxes", "val").samefile(path)


def test_the_newest_version_is_read(tmp_path):
    for name in ("train-annotations-bbox.csv", "oidv6-train-annotations-bbox.csv"):
        (tmp_path / name).write_text("")
    assert OpenImages(tmp_path).table("boxes", "train").name == "oidv6-train-annotations-bbox.csv"


@pytest.mark.parametrize("drop", [[], ["IsInside"], ["Source", "Confidence", *FLAGS]])
def test_columns_are_found_by_name_whatever_their_number_and_order(tmp_path, drop):
    names = ["LabelName", "YMax", "XMin", "XMax", "YMin", "ImageID", "Source", "Confidence", *reversed(FLAGS)]
    values = dict(
        zip(names, ["/m/0", "0.9", "0.1", "0.8", "0.2", "ab", "xclick", "1", "1", "0", "1", "0", "-1"], strict=True)
    )
    kept = [name for name in names if name not in drop]
    path = tmp_path / "boxes.csv"
    path.write_text(",".join(kept) + "\n" + ",".join(values[name] for name in kept) + "\n")
    ((ids, lines, columns),) = read_boxes(path, ["/m/0"], refuse)
    assert (ids.tolist(), lines.tolist()) == ([b"ab"], [2])
    np.testing.assert_array_equal(columns["boxes"], [[0.1, 0.2, 0.8, 0.9]])
    for name in FLAGS:
        assert flag(columns["flags"], name).tolist() == [-1 if name in drop else int(values[name])]


def test_an_unsorted_table_gives_what_the_sorted_one_does(root, tmp_path):
    sorted_table = OpenImages(root).box_table("train")
    other = shutil.copytree(root, tmp_path / "other")
    header, *lines = (other / TRAIN_BOXES).read_text().splitlines(keepends=True)
    ids = sorted({line.split(",")[0] for line in lines})
    of_image = {one: [line for line in lines if line.startswith(one)] for one in ids}
    mixed = [of_image[one].pop(0) for _ in range(40) for one in reversed(ids) if of_image[one]]
    assert sorted(mixed) == sorted(lines)
    (other / TRAIN_BOXES).write_text(header + "".join(mixed))
    table = OpenImages(other).box_table("train")
    for name in ("ids", "offsets", "labels", "boxes", "flags"):
        np.testing.assert_array_equal(table[name], sorted_table[name])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x" * (1 << 17), "no column"),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax\n" + "x" * (1 << 17), "line 2: longer"),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax\n" + f"{'a' * 90},/m/0,0,1,0,1\n", "line 2: ImageID is longer"),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax\na\0b,/m/0,0,1,0,1\n", "line 2"),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax\n" + f"a,/m/0,{'9' * 5000},1,0,1\n", "not finite"),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax,XMin\na,/m/0,0,1,0,1,0\n", "no column XMin"),
        ('ImageID,LabelName,XMin,XMax,YMin,YMax\n"a\n",/m/0,0,1,0,1\n', "line 2"),
    ],
    ids=["no end", "a long line", "a long id", "NUL", "a huge number", "a column twice", "a quoted end of line"],
)
def test_hostile_tables_are_refused_in_a_line_and_do_no_harm(tmp_path, content, says):
    path = tmp_path / "boxes.csv"
    path.write_text(content)
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ValueError, match=says) as raised:
        list(read_boxes(path, ["/m/0"], refuse))
    assert time.process_time() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert len(str(raised.value)) < 1000


def test_masks_of_one_image_without_end_are_refused_before_memory_is_taken(root, monkeypatch):
    monkeypatch.setattr("visionlab.data.layouts.openimages_records.MASK_PIXELS", 1 << 19)
    path = root / TRAIN_MASKS
    row = rows(path)[0]
    line = ",".join(row.values())
    more = (line.replace(row["MaskPath"], f"{row['ImageID']}_{i}.png") + "\n" for i in range(300))
    path.write_text(",".join(row.keys()) + "\n" + "".join(more))
    for i in range(300):
        (root / "masks/train" / f"{row['ImageID']}_{i}.png").touch()
    records = OpenImages(root).masks("train", None, "raise")
    with pytest.raises(ValueError, match=r"300 masks .* pixels together"):
        records.annotations(0)


def test_the_hierarchy_equals_a_slow_walk(healthy):
    classes = read_classes(healthy / CLASSES)
    tree = json.loads((healthy / HIERARCHY).read_text())
    expected = {(name, name) for name in classes.ids}

    def walk(node, above):
        for one in above:
            expected.add((node["LabelName"], one))
        for child in node.get("Subcategory", []):
            walk(child, [*above, node["LabelName"]])

    for child in tree["Subcategory"]:
        walk(child, [])
    found = OpenImages(healthy).ancestors(classes.ids)
    assert {(classes.ids[i], classes.ids[j]) for i, j in np.argwhere(found)} == expected
    named = {classes.names[j] for j in found[classes.names.index("Bicycle")].nonzero()[0]}
    assert named == {"Bicycle", "Land vehicle", "Vehicle", "Sports equipment"}  # its wheel is a part of it, no kind


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (["Oul"], "did you mean 'Owl'"),
        (["Owl", "/m/09d5_"], "wanted twice"),
        (["/m/0zzz"], "there is no class '/m/0zzz'"),
    ],
)
def test_a_class_that_cannot_be_chosen(healthy, wanted, says):
    with pytest.raises(ValueError, match=says):
        OpenImages(healthy).classes("boxable", wanted)


def test_a_name_of_two_classes_is_asked_about(tmp_path):
    (tmp_path / "class-descriptions.csv").write_text('/m/01,Jaguar\n/m/02,"Jaguar"\n/m/03,"Night, evening"\n')
    layout = OpenImages(tmp_path)
    assert layout.classes("all", ["Night, evening", "/m/02"]) == (("/m/03", "/m/02"), ("Night, evening", "Jaguar"))
    with pytest.raises(ValueError, match=r"several classes 'Jaguar'.*/m/01, /m/02"):
        layout.classes("all", ["Jaguar"])


@pytest.fixture
def publisher(tmp_path, monkeypatch):
    """Serves two tables as of a ``kind``, with ``headers`` beside its own."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self):
            for name, value in self.server.headers:
                self.send_header(name, value)
            super().end_headers()

        def guess_type(self, path):
            return self.server.kind

        def log_message(self, *_):
            self.server.asked.append(f"{self.command} {self.path}")

    for place, content in (("v7/one.csv", "ImageID,Source\n"), ("v5/class-descriptions.csv", "/m/01,Owl\n")):
        (tmp_path / "server" / place).parent.mkdir(parents=True)
        (tmp_path / "server" / place).write_text(content)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "server")))
    server.asked, server.headers, server.kind = [], [], "text/csv"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("visionlab.data.layouts.openimages.STORAGE", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("visionlab.data.layouts.openimages.ADDRESSES", ("v7/one.csv", "v5/class-descriptions.csv"))
    yield server
    server.shutdown()
    server.server_close()


def test_tables_are_downloaded_once(tmp_path, monkeypatch, publisher):
    download(tmp_path / "root")
    assert (tmp_path / "root/annotations/class-descriptions.csv").read_text() == "/m/01,Owl\n"
    first = len(publisher.asked)
    download(tmp_path / "root")
    assert len(publisher.asked) == first
    monkeypatch.setattr("visionlab.data.layouts.openimages.ADDRESSES", ("v7/gone.csv",))
    with pytest.raises(OSError, match=r"gone\.csv could not be downloaded .*404"):
        download(tmp_path / "root")


def test_a_web_page_is_not_a_table(tmp_path, publisher):
    for place in ("v7/one.csv", "v5/class-descriptions.csv"):  # a login, said to be a table
        (tmp_path / "server" / place).write_text("<!doctype html>")
    with pytest.raises(OSError, match=r"one\.csv could not be downloaded .*another file"):
        download(tmp_path / "root")
    publisher.kind = "text/html"
    with pytest.raises(OSError, match=r"one\.csv could not be downloaded .*the answer is a web page"):
        download(tmp_path / "root")
    assert list((tmp_path / "root/annotations").iterdir()) == []


def test_a_table_that_is_a_web_page_is_downloaded_again(tmp_path, publisher):
    (tmp_path / "root/annotations").mkdir(parents=True)
    (tmp_path / "root/annotations/one.csv").write_text("<!doctype html>")
    download(tmp_path / "root")
    assert (tmp_path / "root/annotations/one.csv").read_text() == "ImageID,Source\n"


def test_the_checksum_that_the_server_knows_is_compared(tmp_path, publisher):
    publisher.headers = [("x-goog-hash", "crc32c=AAAAAA=="), ("x-goog-hash", "md5=kAFQmDzST7DWlj99KOF/cg==")]  # of abc
    with pytest.raises(OSError, match=r"wrong checksum.*md5 900150983cd24fb0d6963f7d28e17f72"):
        download(tmp_path / "root")


def test_the_real_classes_and_hierarchy(shared_data):
    folder = shared_data / "openimages/metadata"
    classes = read_classes(folder / "class-descriptions-boxable.csv")
    assert len(classes.ids) == 601
    assert classes.names[0] == "Tortoise"
    ancestors = read_ancestors(folder / "bbox_labels_600_hierarchy.json", classes.ids)  # holds no other class
    names = {classes.names[j] for j in ancestors[classes.names.index("Knife")].nonzero()[0]}
    assert names == {"Knife", "Kitchen utensil", "Kitchenware", "Tool", "Weapon"}


def test_the_real_boxes_equal_those_of_a_plain_reader(shared_data, tmp_path):
    classes = read_classes(shared_data / "openimages/metadata/class-descriptions-boxable.csv").ids
    total = 0
    for split in ("train", "validation", "test"):
        source = shared_data / f"openimages/boxes_reduced_columns/openimage-sub-{split}-annotations-bbox.csv"
        path = tmp_path / source.name  # its ids are paths there
        path.write_text(source.read_text().replace(f"./images_openimages/{split}/", "").replace(".jpg", ""))
        table = rows(path)
        total += len(table)
        parts = list(read_boxes(path, classes, refuse))
        boxes = np.concatenate([columns["boxes"] for _, _, columns in parts])
        expected = [[float(row[side]) for side in ("XMin", "YMin", "XMax", "YMax")] for row in table]
        np.testing.assert_array_equal(boxes, expected)
        labels = np.concatenate([columns["labels"] for _, _, columns in parts])
        assert [classes[label] for label in labels] == [row["LabelName"] for row in table]
        assert [one.decode() for ids, _, _ in parts for one in ids] == [row["ImageID"] for row in table]
        with pytest.raises(ValueError, match="is not an image id"):
            list(read_boxes(source, classes, refuse))
    assert total == 11_438


def test_real_rows_with_the_official_columns(shared_data):
    folder = shared_data / "openimages/excerpts_true_columns"
    classes = read_classes(shared_data / "openimages/metadata/class-descriptions-boxable.csv").ids
    ((ids, _, columns),) = read_boxes(folder / "oidv6-train-annotations-bbox.csv", classes, refuse)
    assert set(ids.tolist()) == {b"000002b66c9c498e"}
    np.testing.assert_array_equal(columns["boxes"][0], [0.0125, 0.148438, 0.195312, 0.5875])
    assert flag(columns["flags"], "IsTruncated").tolist() == [1, 1, 0]
    ((_, _, masks),) = read_masks(folder / "train-annotations-object-segmentation.csv", classes, refuse)
    assert masks["masks"][0] == b"677c122b0eaa5d16_m04yx4_9a041d52.png"
    ((_, _, labels),) = read_labels(folder / "train-annotations-human-imagelabels-boxable.csv", classes, refuse)
    assert labels["positive"].tolist() == [False, True, False, False]
    images = read_images(folder / "train-images-boxable-with-rotation.csv", "train", refuse)
    assert images.tolist() == [b"4fa8054781a4c382", b"b37f763ae67d0888"]
    with pytest.raises(ValueError, match="has no image of validation"):
        read_images(folder / "train-images-boxable-with-rotation.csv", "val", refuse)


def test_the_real_pictures(shared_data, tmp_path):
    shutil.copytree(shared_data / "openimages/images", tmp_path / "train")
    shutil.copy(shared_data / "openimages/metadata/class-descriptions-boxable.csv", tmp_path)
    names = sorted(path.stem for path in (tmp_path / "train").iterdir())
    boxes = "".join(f"{name},/m/0k4j,0,1,0,1\n" for name in names)
    (tmp_path / "train-annotations-bbox.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\n" + boxes)
    findings = check(tmp_path)
    assert findings.errors == []
    assert findings.images == {"train": 2}
    records = OpenImages(tmp_path).boxes("train", ["Car"], "raise")
    for i, name in enumerate(names):
        assert records.name(i) == name
        with Image.open(records.path(i)) as image:
            np.testing.assert_array_equal(records.annotations(i)["objects"]["boxes"], [[0, 0, *image.size]])


def test_the_format_as_another_library_wrote_it(shared_data, tmp_path):
    root = tmp_path / "v6"
    shutil.copytree(shared_data / "openimages/format_fixture_SYNTHETIC_datumaro/v6", root)
    # its class file is of the full vocabulary, and so are its boxes
    shutil.copy(root / "annotations/oidv6-class-descriptions.csv", root / "annotations/class-descriptions-boxable.csv")
    layout = OpenImages(root)
    records = layout.boxes("train", None, "raise")
    assert [records.name(i) for i in range(len(records))] == ["b"]
    height, width = np.asarray(Image.open(root / "images/train/b.jpg")).shape[:2]
    objects = records.annotations(0)["objects"]
    np.testing.assert_allclose(objects["boxes"], [[0.2 * width, 0.3 * height, width, 0.5 * height]], rtol=1e-15)
    assert objects["crowd"].tolist() == [False]  # -1, unknown
    assert OpenImages(root).boxes("test", None, "raise").annotations(0)["objects"]["crowd"].tolist() == [True]
    assert OpenImages(root).masks("train", None, "raise").annotations(0)["objects"]["masks"].shape == (1, height, width)
    labels = layout.labels("train", "all", None, "raise")
    np.testing.assert_array_equal(labels.annotations(0)["labels"], [1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(labels.annotations(1)["labels"], [0, np.nan, np.nan, np.nan])
    assert layout.ancestors(("/m/0", "/m/1")).tolist() == [[True, False], [True, True]]
