"""ImageNet on disk: its three layouts, its boxes, and what may be wrong with either."""

import re
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torchvision

from visionlab.data.images import read_image
from visionlab.data.layouts.imagenet import class_names, find, open_images
from visionlab.data.layouts.imagenet_boxes import open_boxes
from visionlab.data.layouts.imagenet_check import check
from visionlab.data.twins.imagenet import CLASSES

IMAGES, XML = Path("ILSVRC/Data/CLS-LOC"), Path("ILSVRC/Annotations/CLS-LOC")
TENCH = "n01440764"


@pytest.fixture(scope="module")
def made(twins):
    return twins("imagenet", 30)


@pytest.fixture
def root(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "imagenet"))


def of_devkit(root):
    """Turn Kaggle's layout into the development kit's."""
    for split in ("train", "val"):
        (root / IMAGES / split).rename(root / split)
    (root / "LOC_val_solution.csv").unlink()
    (root / IMAGES / "test").rename(root / "test")
    (root / IMAGES).rmdir()
    return root


def by_class(root):
    """Turn the development kit's layout into that of folders by class, the labels known from Kaggle's table."""
    rows = (root / "LOC_val_solution.csv").read_text().splitlines()[1:]
    of_devkit(root)
    for row in rows:
        name, text = row.split(",")
        folder = root / "val" / text.split()[0]
        folder.mkdir(exist_ok=True)
        (root / "val" / f"{name}.JPEG").rename(folder / f"{name}.JPEG")
    shutil.rmtree(root / "ILSVRC2012_devkit_t12")
    return root


def table(records):
    """The label of each image, by the last part of its name."""
    return {records.path(i).name: records.annotations(i)["label"] for i in range(len(records))}


def test_the_three_layouts_give_the_same_labels(made, tmp_path):
    roots = {"Kaggle's folders": made}
    for title, change in (("the development kit's", of_devkit), ("folders by class", by_class)):
        roots[title] = change(Path(shutil.copytree(made, tmp_path / change.__name__)))
    tables = []
    for title, root in roots.items():
        found = check(root)
        assert found.errors == []
        assert any(f"in the layout of {title}, with 10 classes" in note for note in found.notes)
        assert found.images == {"train": 30, "val": 10}
        tables.append([table(open_images(root, split)) for split in ("train", "val")])
        assert class_names(find(root))[:3] == ["tench", "vine snake", "English springer"]
    assert tables[0] == tables[1] == tables[2]
    wnids = sorted(CLASSES)
    assert tables[0][0] == {
        path.name: wnids.index(path.parent.name) for path in (made / IMAGES / "train").rglob("*.JPEG")
    }


def test_the_boxes_tell_the_classes_if_nothing_else_does(root):
    with_tables = table(open_images(root, "val"))
    (root / "LOC_val_solution.csv").unlink()
    shutil.rmtree(root / "ILSVRC2012_devkit_t12")
    assert table(open_images(root, "val")) == with_tables
    shutil.rmtree(root / XML / "val")
    with pytest.raises(FileNotFoundError, match=r"neither .*LOC_val_solution\.csv nor .*ground_truth\.txt"):
        open_images(root, "val")
    assert "missing-file" in {error.kind for error in check(root).errors}


def test_torchvision_reads_the_development_kit_alike(root, monkeypatch):
    of_devkit(root)
    archive = root / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    metas = {**torchvision.datasets.imagenet.ARCHIVE_META, "devkit": (archive.name, None)}
    monkeypatch.setattr(torchvision.datasets.imagenet, "ARCHIVE_META", metas)
    torchvision.datasets.imagenet.parse_devkit_archive(root)
    wnid_to_classes, val_wnids = torchvision.datasets.imagenet.load_meta_file(root)
    assert wnid_to_classes == {wnid: tuple(words.split(", ")) for wnid, words in CLASSES.items()}
    ours = table(open_images(root, "val"))
    files = sorted(path.name for path in (root / "val").iterdir())
    assert [sorted(CLASSES)[ours[file]] for file in files] == val_wnids
    for file, wnid in zip(files, val_wnids, strict=True):  # as torchvision does with the images
        (root / "val" / wnid).mkdir(exist_ok=True)
        (root / "val" / file).rename(root / "val" / wnid / file)
    for split in ("train", "val"):
        theirs = torchvision.datasets.ImageNet(root, split)
        records = open_images(root, split)
        assert [(str(records.path(i)), records.annotations(i)["label"]) for i in range(len(records))] == theirs.samples
        for i, (image, _) in enumerate(theirs):
            pixels = read_image(records.path(i), 3).astype(int)
            assert np.abs(pixels - np.asarray(image)).max() <= 4  # two decoders of JPEG


def test_odd_files_are_images_like_others(made):
    for wnid, name in (("n01739381", "n01739381_1309"), ("n02105855", "n02105855_2933")):
        path = made / IMAGES / "train" / wnid / f"{name}.JPEG"
        assert read_image(path, 3).shape[2] == 3
    heads = {path.read_bytes()[:4] for path in (made / IMAGES).rglob("*.JPEG")}
    assert b"\x89PNG" in heads
    assert any(b"damaged" in path.read_bytes()[:80] for path in (made / IMAGES).rglob("*.JPEG"))


def test_two_classes_of_one_name_are_told_apart(root):
    path = root / "LOC_synset_mapping.txt"
    path.write_text(path.read_text().replace("parachute, chute", "church"))
    assert class_names(find(root))[-1] == "church (n03888257)"
    path.unlink()
    assert class_names(find(root)) == sorted(CLASSES)


def test_boxes_live_between_pixels(made):
    """The overlap of the challenge, which counts pixels, is the overlap of our boxes."""
    boxes = {}
    for split in ("train", "val"):
        records = open_boxes(made, split)
        for i in range(len(records)):
            objects = records.annotations(i)["objects"]
            height, width = read_image(records.path(i), 3).shape[:2]
            assert (objects["boxes"][:, :2] >= 0).all()
            assert (objects["boxes"][:, 2:] <= (width, height)).all()
            assert set(objects["labels"]) == {records.annotations(i)["label"]}
            boxes[records.path(i).stem] = objects["boxes"]
        rows = (made / f"LOC_{split}_solution.csv").read_text().splitlines()[1:]
        for row in rows:
            name, text = row.split(",")
            corners = np.array([word for word in text.split() if not word.startswith("n")], dtype=float).reshape(-1, 4)
            np.testing.assert_array_equal(boxes[name], corners + np.array([0, 0, 1, 1]))
    assert len(open_boxes(made, "train")) == 20  # of 30
    assert {len(b) for b in boxes.values()} == {1, 2}


def test_names_in_english_are_the_images_class_and_other_classes_are_left_out(root):
    path = sorted((root / XML / "train" / TENCH).glob("*.xml"))[0]
    text = path.read_text()
    one = text[text.index("\t<object>") : text.index("</annotation>")]
    path.write_text(
        text.replace("</annotation>", one.replace(TENCH, "n03888257") + one.replace(TENCH, "Tench") + "</annotation>")
    )
    records = open_boxes(root, "train")
    at = [records.path(i).stem for i in range(len(records))].index(path.stem)
    assert len(records.annotations(at)["objects"]["boxes"]) == 2 * one.count("<object>")
    found = check(root)
    assert found.errors == []
    assert any("boxes of train are of another class" in note for note in found.notes)


def an_xml(root):
    return sorted((root / XML / "train" / TENCH).glob("*.xml"))[0]


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def a_val_xml(root):
    return root / XML / "val" / "ILSVRC2012_val_00000003.xml"


def in_box(root, tag, value, which=an_xml):
    path = which(root)
    text = path.read_text()
    start = text.index(f"<{tag}>") + len(tag) + 2
    path.write_text(text[:start] + value + text[text.index(f"</{tag}>") :])
    return path


def add_line(path, line):
    path.write_text(path.read_text() + line + "\n")
    return path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


MAPPING, SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"

LISTS = {  # what is done to a list, the kind of finding, and whether it is that of the development kit
    "mapping without a name": (lambda r: add_line(r / MAPPING, "n09999999"), "malformed-file"),
    "mapping of no wnid": (lambda r: add_line(r / MAPPING, "tench a fish"), "malformed-file"),
    "mapping twice": (lambda r: add_line(r / MAPPING, f"{TENCH} tench"), "duplicate-id"),
    "mapping not text": (lambda r: write(r / MAPPING, b"\xff\xfe\x00"), "malformed-file"),
    "solution of an unknown class": (lambda r: change(r / SOLUTION, ",n0", ",n9"), "unknown-category"),
    "solution twice": (
        lambda r: add_line(r / SOLUTION, f"ILSVRC2012_val_00000001,{TENCH} 1 2 3 4 "),
        "duplicate-id",
    ),
    "solution of a missing image": (
        lambda r: add_line(r / SOLUTION, f"ILSVRC2012_val_00000099,{TENCH} 1 2 3 4 "),
        "missing-image",
    ),
    "solution out of the root": (lambda r: add_line(r / SOLUTION, f"../../x,{TENCH} 1 2 3 4 "), "malformed-file"),
    "solution without a class": (lambda r: add_line(r / SOLUTION, "ILSVRC2012_val_00000099,"), "malformed-file"),
    "solution with other columns": (lambda r: change(r / SOLUTION, "ImageId", "Image"), "malformed-file"),
    "image without a class": (
        lambda r: shutil.copy(
            next((r / IMAGES / "val").iterdir()), r / IMAGES / "val" / "ILSVRC2012_val_00000098.JPEG"
        ),
        "missing-annotation",
    ),
    "folder of no wnid": (lambda r: write(r / IMAGES / "train" / "cats" / "1.JPEG", b"x"), "unknown-category"),
    "class without images": (lambda r: (r / IMAGES / "train" / "n01440765").mkdir(), "missing-image"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_wrong_list_stops_a_run_before_it_starts(root, name):
    damage, kind = LISTS[name]
    damage(root)
    errors = check(root).errors
    assert kind in {error.kind for error in errors}
    with pytest.raises(ValueError, match=re.escape(str(root))) as raised:
        (class_names(find(root)), open_images(root, "train"), open_images(root, "val"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("line", ["99", "-1", "x", "", "9" * 5000])
def test_a_wrong_id_in_the_development_kit_stops_a_run(root, line):
    of_devkit(root)
    path = root / TRUTH
    path.write_text("\n".join([line, *path.read_text().splitlines()[1:]]) + "\n")
    with pytest.raises(ValueError, match=r"ground_truth\.txt, line 1: "):
        open_images(root, "val")
    assert {"unknown-category", "missing-annotation"} <= {error.kind for error in check(root).errors}


def beyond(root):
    return in_box(root, "xmax", "9000", a_val_xml)


BOXES = {
    "not a number": (lambda r: in_box(r, "xmin", "left"), "malformed-file", r"xml, line \d+: .*no numbers"),
    "NaN": (lambda r: in_box(r, "ymin", "nan"), "box-nan", r"xml, line \d+: .*not finite"),
    "infinite": (lambda r: in_box(r, "xmax", "1e999"), "box-nan", r"xml, line \d+: .*not finite"),
    "inverted": (lambda r: in_box(r, "xmax", "-7", a_val_xml), "box-inverted", r"xml, line \d+: .*wrong order"),
    "outside": (lambda r: in_box(r, "xmin", "400", beyond), "box-outside", r"xml, line \d+: .*is outside of"),
    "no corner": (lambda r: change(an_xml(r), "<xmin>", "<x></x><xmin></xmin><y>"), "malformed-file", r"xml"),
    "cut off": (lambda r: write(an_xml(r), an_xml(r).read_bytes()[:200]), "malformed-file", r"xml, line \d+"),
    "empty": (lambda r: write(an_xml(r), b""), "malformed-file", r"xml"),
    "another document": (lambda r: write(an_xml(r), b"<svg/>"), "malformed-file", r"<svg>"),
    "a size of nothing": (lambda r: in_box(r, "width", "0"), "malformed-file", r"size of 0 x"),
    "no object": (
        lambda r: write(an_xml(r), b"<annotation><size><width>5</width><height>5</height></size></annotation>"),
        "missing-annotation",
        "has no box",
    ),
    "an entity": (
        lambda r: change(
            an_xml(r), "<annotation>", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>'
        ),
        "malformed-file",
        "document type declaration",
    ),
    "a million laughs": (
        lambda r: write(
            an_xml(r),
            b'<!DOCTYPE a [<!ENTITY a "ha">'
            + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
            + b"]><annotation>&j;</annotation>",
        ),
        "malformed-file",
        "document type declaration",
    ),
    "deep": (lambda r: write(an_xml(r), b"<annotation>" * 9_000), "malformed-file", "nested"),
    "long": (lambda r: write(an_xml(r), b"<annotation>" + b" " * 2_000_000), "malformed-file", "the limit is"),
}


@pytest.mark.parametrize("name", BOXES)
def test_a_wrong_box_is_named_and_the_image_can_be_skipped(root, name):
    damage, kind, message = BOXES[name]
    path = damage(root)
    start = time.process_time()
    errors = [error for error in check(root).errors if error.file == path]
    assert [error.kind for error in errors] in ([kind], [kind, "wrong-size"])
    records = open_boxes(root, "val" if path.parent.name == "val" else "train")
    assert time.process_time() - start < 5
    assert len(records.problems) == 1
    at = [records.path(i).stem for i in range(len(records))].index(path.stem)
    with pytest.raises(ValueError, match=message) as raised:
        records.annotations(at)
    assert str(path) in str(raised.value)


def test_what_does_not_fit_is_named(root):
    lost = an_xml(root).with_name(f"{TENCH}_z.xml")
    path = in_box(root, "width", "777")
    shutil.copy(path, lost)
    (root / XML / "val" / "ILSVRC2012_val_00000001.xml").unlink()
    lists = root / "ILSVRC/ImageSets/CLS-LOC"
    add_line(lists / "train_cls.txt", f"{TENCH}/{TENCH}_5 31")
    add_line(lists / "train_cls.txt", "../../secret 32")
    leaked = next((root / IMAGES / "train" / TENCH).glob("*.JPEG"))
    shutil.copy(leaked, root / IMAGES / "val" / "ILSVRC2012_val_00000002.JPEG")
    moved = next((root / IMAGES / "train" / "n03888257").glob("*.JPEG"))
    moved.rename(root / IMAGES / "train" / TENCH / moved.name)
    kinds = {error.kind for error in check(root).errors}
    assert {"unknown-image", "missing-annotation", "missing-image", "path-outside-root", "leaked-image"} <= kinds
    assert {"wrong-size", "unknown-category"} <= kinds
    wrong = {error.file.stem for error in check(root).errors if error.kind == "wrong-size"}
    assert wrong == {path.stem, "ILSVRC2012_val_00000002"}
    with pytest.raises(ValueError, match=r"ILSVRC2012_val_00000001\.xml is missing"):
        open_boxes(root, "val")


@pytest.mark.parametrize("part", ["train", "val", XML])
def test_what_is_missing_is_named_with_how_to_get_it(root, part):
    shutil.rmtree(root / (part if part == XML else IMAGES / part))
    with pytest.raises(FileNotFoundError, match="visionlab data info imagenet"):
        open_boxes(root, "train")


def test_reads_the_real_images_as_torchvision_does(shared_data):
    root = shared_data / "imagenet" / "imagenette224"
    for split, size in (("train", 1300), ("val", 300)):
        theirs = torchvision.datasets.ImageFolder(root / split)
        records = open_images(root, split)
        assert len(records) == size
        assert [(str(records.path(i)), records.annotations(i)["label"]) for i in range(size)] == theirs.samples
        for i in range(0, size, 25):
            assert np.abs(read_image(records.path(i), 3).astype(int) - np.asarray(theirs[i][0])).max() <= 4


def test_reads_the_real_boxes(shared_data, tmp_path):
    real = shared_data / "imagenet"
    root = tmp_path / "real"
    (root / IMAGES).mkdir(parents=True)
    (root / IMAGES / "train").symlink_to(real / "imagenette224" / "train")
    (root / IMAGES / "val").symlink_to(real / IMAGES / "val")
    (root / "ILSVRC" / "Annotations").symlink_to(real / "ILSVRC" / "Annotations")
    (root / MAPPING).symlink_to(real / MAPPING)
    records = open_boxes(root, "val")
    boxes = [records.annotations(i)["objects"]["boxes"] for i in range(len(records))]
    assert (len(boxes), sum(map(len, boxes)), records.problems) == (200, 326, [])
    rows = [line.split(",") for line in (real / "wsol_original_coordinates/localization.txt").read_text().split()]
    sizes = [line.split(",") for line in (real / "wsol_original_coordinates/image_sizes.txt").read_text().split()]
    scale = {name: 224 / np.array([int(width), int(height)] * 2) for name, width, height in sizes}
    for i in range(len(records)):
        name = f"val/{records.name(i)}"
        original = np.array([row[1:] for row in rows if row[0] == name], dtype=float)
        theirs = np.round(original * scale[name]) + np.array([0, 0, 1, 1])
        assert np.abs(boxes[i][np.lexsort(boxes[i].T)] - theirs[np.lexsort(theirs.T)]).max() <= 1
    names = class_names(find(root))
    assert names == [
        *("tench", "English springer", "cassette player", "chain saw", "church"),
        *("French horn", "garbage truck", "gas pump", "golf ball", "parachute"),
    ]


def test_reads_a_true_annotation(shared_data, tmp_path):
    from visionlab.data.layouts.findings import Findings
    from visionlab.data.layouts.imagenet_boxes import read_boxes

    (path,) = (shared_data / "imagenet" / "true_ilsvrc_xml_sample").rglob("*.xml")
    found = Findings()
    content = read_boxes(path, TENCH, "train", found)
    assert found.errors == []
    assert (content.size, content.boxes.tolist()) == ((375, 500), [[34, 128, 431, 306]])
