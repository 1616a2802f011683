"""Any folder of images: how it is split, and what may be wrong with it."""

import os
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
import torchvision

from visionlab.data.images import read_image
from visionlab.data.layouts.folder import check, class_names, held_out, open_classes, open_images
from visionlab.data.twins.folder import CLASSES


@pytest.fixture(scope="module")
def made(twins):
    return twins("folder", 40)


@pytest.fixture
def root(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "folder"))


def samples(records):
    return [(str(records.path(i)), records.annotations(i)["label"]) for i in range(len(records))]


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))
    return path


def test_reads_what_torchvision_reads(made):
    for split, size in (("train", 40), ("val", 10), ("test", 10)):
        theirs = torchvision.datasets.ImageFolder(made / split)
        records = open_classes(made, split, 0.1)
        assert len(records) == size
        assert sorted(samples(records)) == sorted(theirs.samples)
        assert class_names(made) == theirs.classes == sorted(CLASSES)
        decoded = {path: np.asarray(pixels) for (path, _), (pixels, _) in zip(theirs.samples, theirs, strict=True)}
        for i in range(size):
            pixels = read_image(records.path(i), 3)
            assert np.abs(pixels.astype(int) - decoded[str(records.path(i))]).max() <= 4  # two decoders of JPEG


def test_a_healthy_twin_is_found_good(made):
    found = check(made)
    assert found.errors == []
    assert found.images == {"train": 40, "val": 10, "test": 10}
    assert {split: len(labels) for split, labels in found.labels.items()} == found.images
    assert any("1 files that are no images" in note for note in found.notes)


def test_images_are_held_out_where_there_is_no_val(made):
    everything = samples(open_classes(made, "train", 0.1))
    flat = made / "train"
    train, val, test = (samples(open_classes(flat, split, 0.3)) for split in ("train", "val", "test"))
    assert sorted(train + val) == sorted(everything)
    assert val == test
    assert 4 <= len(val) <= 20
    assert check(flat).errors == []
    assert check(flat).images == {"all": 40}


def test_training_images_are_held_out_where_only_val_is_missing(root):
    shutil.rmtree(root / "val")
    train, val, test = (samples(open_classes(root, split, 0.3)) for split in ("train", "val", "test"))
    assert len(train) + len(val) == 40
    assert all(Path(path).is_relative_to(root / "test") for path, _ in test)
    assert any("holds images of train out" in note for note in check(root).notes)


def test_which_images_are_held_out_depends_on_their_names_alone():
    names = [f"cat/{i}.jpg" for i in range(10_000)]
    val = held_out(names, "val", 0.1)
    assert abs(len(val) - 1000) < 100
    assert val[:3] == ["cat/3.jpg", "cat/13.jpg", "cat/30.jpg"]  # on every machine
    assert sorted(val + held_out(names, "train", 0.1)) == sorted(names)
    assert held_out(names[:5000], "val", 0.1) == [name for name in val if name in set(names[:5000])]
    assert set(val) <= set(held_out(names, "val", 0.2))
    accents = [f"pâté/{i}.jpg" for i in range(100)]
    other = [unicodedata.normalize("NFD", name) for name in accents]  # as macOS writes names
    assert [other.index(name) for name in held_out(other, "val", 0.3)] == [
        accents.index(name) for name in held_out(accents, "val", 0.3)
    ]


def test_images_without_classes_lie_at_any_depth(made, tmp_path):
    parts = [open_images(made, split, 0.2) for split in ("train", "val")]
    names = sorted(part.name(i) for part in parts for i in range(len(part)))
    assert names == sorted(
        str(path.relative_to(made)) for path in made.rglob("*") if path.is_file() and path.suffix != ".txt"
    )
    assert parts[0].annotations(0) == {}
    image(tmp_path / "flat" / "a.png")
    found = check(tmp_path / "flat")
    assert found.errors == []
    assert found.images == {"all": 1}
    assert any("without classes" in note for note in found.notes)


def test_hidden_files_and_folders_are_left_out(root):
    (root / "train" / "disc" / "._1.jpg").write_bytes(b"of a Mac")
    image(root / "train" / ".ipynb_checkpoints" / "1.png")
    assert len(class_names(root)) == 10
    assert len(open_classes(root, "train", 0.1)) == 40
    assert check(root).errors == []


def test_a_new_image_is_noticed(root):
    before = len(open_classes(root, "train", 0.1))
    image(root / "train" / "disc" / "more" / "deeper" / "new.png")
    assert len(open_classes(root, "train", 0.1)) == before + 1


def test_links_to_folders_are_followed(root, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for split in ("train", "val"):
        (linked / split).symlink_to(root / split)
    assert len(open_classes(linked, "train", 0.1)) == 40


def empty_class(root):
    (root / "train" / "empty").mkdir()
    return root / "train" / "empty"


def other_class(root):
    return image(root / "val" / "comet" / "1.png").parent


def loop(root):
    (root / "train" / "disc" / "again").symlink_to(root / "train")
    return root / "train" / "disc" / "again"


def odd_name(root):
    name = os.fsencode(root / "train" / "disc") + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes(b"x")
    return root / "train" / "disc"


def no_images(root):
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    return root / "val"


LISTED = {
    empty_class: ("missing-image", "has no images to train on"),
    other_class: ("unknown-category", "is no class"),
    loop: ("malformed-name", "is a link to a folder above it"),
    odd_name: ("malformed-name", "not UTF-8"),
    no_images: ("missing-image", "has no images for val"),
}


@pytest.mark.parametrize("damage", LISTED)
def test_what_is_wrong_with_the_folders_stops_a_run_before_it_starts(root, damage):
    kind, message = LISTED[damage]
    path = damage(root)
    assert [(e.kind, str(path) in e.message) for e in check(root).errors] == [(kind, True)]
    with pytest.raises(ValueError, match=message) as raised:
        [open_classes(root, split, 0.1) for split in ("train", "val", "test")]
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({"train": "training", "val": "validation"}, "training", "name it train"),
        ({"train": "Train", "val": "Val", "test": "Test"}, "Test", "name it test"),
        ({"train": None}, "test", "there is no train beside it"),
        ({"train": None, "val": None, "test": "validation"}, "validation", "name it val"),
        ({"val": "valid"}, "valid", "name it val"),
        ({"test": "testing"}, "testing", "name it test"),
    ],
)
def test_splits_by_other_names_are_neither_classes_nor_passed_over(root, before, after, says):
    for name, other in before.items():
        shutil.rmtree(root / name) if other is None else (root / name).rename(root / other)
    for call in (lambda: class_names(root), lambda: open_classes(root, "train", 0.1)):
        with pytest.raises(ValueError, match=f"{root / after} looks like a split, not a class: {says}"):
            call()
    (error,) = check(root).errors
    assert str(root / after) in error.message


def test_a_class_may_have_the_name_of_a_split(root):
    valid = image(root / "alone" / "valid" / "1.png").parent
    image(root / "alone" / "invalid" / "1.png")
    assert class_names(valid.parent) == ["invalid", "valid"]
    image(root / "train" / "test" / "1.png")
    assert "test" in class_names(root)


def test_images_beside_the_classes_are_noted(root):
    stray = image(root / "train" / "stray.png")
    image(root / "train" / "zebra.png")
    found = check(root)
    assert found.errors == []
    assert found.images["train"] == 40
    assert any(f"2 images outside of the folders of classes, the first {stray}" in note for note in found.notes)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-400])


def bomb(path):
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    path.write_bytes(data)


FILES = {
    "empty": (lambda path: path.write_bytes(b""), "empty-image"),
    "text": (lambda path: path.write_text("no image"), "unreadable-image"),
    "truncated": (truncated, "truncated-image"),
    "bomb": (bomb, "unreadable-image"),
    "copied": (lambda path: shutil.copy(path, path.parents[2] / "val" / "disc" / "copy.jpg"), "leaked-image"),
}


@pytest.mark.parametrize("name", FILES)
def test_each_bad_file_is_named(root, name):
    damage, kind = FILES[name]
    path = next(path for path in sorted((root / "train" / "disc").glob("*.jpg")) if b"\xff\xc0" in path.read_bytes())
    damage(path)
    (error,) = check(root).errors
    assert error.kind == kind
    assert str(path) in error.message


def test_what_is_no_folder_is_named(tmp_path):
    assert [error.kind for error in check(tmp_path / "nowhere").errors] == ["missing-file"]
    for call in (
        lambda: open_classes(tmp_path / "nowhere", "train", 0.1),
        lambda: open_images(tmp_path / "nowhere", "train", 0.1),
    ):
        with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
            call()
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match=r"<class>/\*"):
        class_names(tmp_path / "bare")
    with pytest.raises(ValueError, match="has no images for train"):
        open_images(tmp_path / "bare", "train", 0.1)


def test_reads_the_real_images_as_torchvision_does(shared_data):
    root = shared_data / "imagenet" / "one_per_class"
    theirs = torchvision.datasets.ImageFolder(root)
    assert check(root).errors == []
    parts = [samples(open_classes(root, split, 0.05)) for split in ("val",)]
    with pytest.raises(ValueError, match="has no images to train on"):  # one image of a class is held out
        open_classes(root, "train", 0.05)
    assert set(parts[0]) < set(theirs.samples)
    everything = open_images(root, "train", 0.05)
    for i in range(0, len(everything), 4):
        with theirs.loader(str(everything.path(i))) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert np.abs(read_image(everything.path(i), 3).astype(int) - pixels).max() <= 4
