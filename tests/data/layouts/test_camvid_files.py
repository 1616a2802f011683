import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionlab.data.images import read_image
from visionlab.data.layouts.camvid import CLASSES, OFFICIAL, check, open_split
from visionlab.data.sample import VOID


@pytest.fixture(scope="module")
def made(twins):
    return twins("camvid", 8)


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """A twin to break."""
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(made, tmp_path / "data"))


def first(root, split="train"):
    """The first image of a split, its mask, and the list."""
    folder = root / "CamVid"
    name = min(path.name for path in (folder / split).iterdir())
    return folder / split / name, folder / f"{split}annot" / name, folder / f"{split}.txt"


def read_by_the_book(root, split):
    """As SegNet's tutorial says: the root in place of /SegNet."""
    for line in (root / "CamVid" / f"{split}.txt").read_text().splitlines():
        image, mask = [Path(part.replace("/SegNet", str(root), 1)) for part in line.split()]
        labels = np.asarray(Image.open(mask)).copy()
        labels[labels == 11] = 255
        yield image, np.asarray(Image.open(image)), labels


def compare(root):
    for split in OFFICIAL:
        records = open_split(root, split)
        expected = list(read_by_the_book(root, split))
        assert len(records) == len(expected)
        for index, (path, image, labels) in enumerate(expected):
            assert records.path(index) == path
            assert records.name(index) == f"{split}/{path.name}"
            assert (read_image(records.path(index), 3) == image).all()
            mask = records.annotations(index)["mask"]
            assert mask.dtype == np.uint8
            assert (mask == labels).all()


def test_reads_a_twin_as_the_tutorial_does(root):
    compare(root)


def test_reads_the_real_sample(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path))
    compare(shared_data / "camvid")
    findings = check(shared_data / "camvid")
    assert findings.errors == []
    assert findings.images == {"train": 200, "val": 50, "test": 100}
    assert {tuple(size) for split in OFFICIAL for size in findings.sizes[split].tolist()} == {(180, 240)}
    assert np.bincount(findings.labels["train"]).shape == (11,)
    assert len(findings.notes) == 1
    assert "not the official 367 + 101 + 233" in findings.notes[0]


def test_a_healthy_twin_has_nothing_wrong(root):
    findings = check(root)
    assert findings.errors == []
    assert findings.images == {"train": 8, "val": 4, "test": 4}
    shown = [np.unique(labels[labels != VOID]) for _, _, labels in read_by_the_book(root, "train")]
    assert findings.labels["train"].tolist() == np.concatenate(shown).tolist()
    assert max(findings.labels["train"]) < len(CLASSES)


def test_the_root_may_be_the_folder_itself_and_the_lists_may_have_names_only(root):
    folder = root / "CamVid"
    expected = [open_split(root, split).path(2) for split in OFFICIAL]
    for split in OFFICIAL:
        listing = folder / f"{split}.txt"
        names = [line.split()[0].rsplit("/", 1)[1] for line in listing.read_text().splitlines()]
        listing.write_text("\r\n".join([*names, "", ""]))
    assert [open_split(folder, split).path(2) for split in OFFICIAL] == expected
    assert check(folder).errors == []
    assert (open_split(folder, "val").annotations(2)["mask"] == list(read_masks(root, "val"))[2]).all()


def read_masks(root, split):
    for path in sorted((root / "CamVid" / f"{split}annot").iterdir()):
        labels = np.asarray(Image.open(path))
        yield np.where(labels == 11, 255, labels)


def test_a_split_is_opened_again_from_its_index_until_a_file_changes(root):
    open_split(root, "train")
    cache = Path(os.environ["VISIONLAB_CACHE"])
    (before,) = cache.iterdir()
    open_split(root, "train")
    assert list(cache.iterdir()) == [before]
    _, mask, _ = first(root)
    save(mask, np.full((90, 120), 99, np.uint8))
    with pytest.raises(ValueError, match=f"{mask} has a pixel of 99"):
        open_split(root, "train")


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, "PNG", **options)


def append(listing, text):
    listing.write_text(listing.read_text() + text)


def no_list(image, mask, listing):
    listing.unlink()


def empty_list(image, mask, listing):
    listing.write_text("\n \n")


def binary_list(image, mask, listing):
    listing.write_bytes(b"\xff\xfe\x00")


def huge_list(image, mask, listing):
    with listing.open("ab") as file:
        file.truncate(1 << 32)


def three_names(image, mask, listing):
    append(listing, "a/1.png b/1.png c/1.png\n")


def twice(image, mask, listing):
    append(listing, f"{image.name}\n")


def upwards(image, mask, listing):
    append(listing, "../../../secret.png ../secret.png\n")


def absolute(image, mask, listing):
    append(listing, "/secret.png /secret.png\n")


def no_mask(image, mask, listing):
    mask.unlink()


def truncated_mask(image, mask, listing):
    mask.write_bytes(mask.read_bytes()[:-300])


def colour_mask(image, mask, listing):
    save(mask, np.zeros((90, 120, 3), np.uint8))


def class_12(image, mask, listing):
    save(mask, np.full((90, 120), 12, np.uint8))


def void_255(image, mask, listing):
    save(mask, np.full((90, 120), 255, np.uint8))


def other_size(image, mask, listing):
    save(mask, np.zeros((120, 90), np.uint8))


def no_image(image, mask, listing):
    image.unlink()


def truncated_image(image, mask, listing):
    image.write_bytes(image.read_bytes()[:-300])


def empty_image(image, mask, listing):
    image.write_bytes(b"")


def no_picture(image, mask, listing):
    image.write_bytes(b"<html>404</html>")


def in_two_splits(image, mask, listing):
    shutil.copy(image, sorted((image.parents[1] / "val").iterdir())[1])


LIST, MASK, IMAGE, COPY = "train.txt", "trainannot/0001TP_006690.png", "train/0001TP_006690.png", "val/0016E5_07989.png"
BEFORE_TRAINING = [
    (no_list, "missing-file", LIST, FileNotFoundError),
    (empty_list, "malformed-file", LIST, ValueError),
    (binary_list, "malformed-file", LIST, ValueError),
    (huge_list, "malformed-file", LIST, ValueError),
    (three_names, "malformed-file", LIST, ValueError),
    (twice, "duplicate-id", LIST, ValueError),
    (upwards, "path-outside-root", LIST, ValueError),
    (absolute, "path-outside-root", LIST, ValueError),
    (no_mask, "missing-annotation", MASK, FileNotFoundError),
    (truncated_mask, "unreadable-annotation", MASK, ValueError),
    (colour_mask, "unreadable-annotation", MASK, ValueError),
    (class_12, "palette-out-of-range", MASK, ValueError),
    (void_255, "palette-out-of-range", MASK, ValueError),
]
BY_IMAGE = [
    (other_size, "wrong-size", IMAGE),
    (no_image, "missing-image", IMAGE),
    (truncated_image, "truncated-image", IMAGE),
    (empty_image, "empty-image", IMAGE),
    (no_picture, "unreadable-image", IMAGE),
]
FOUND = [*(case[:3] for case in BEFORE_TRAINING), *BY_IMAGE, (in_two_splits, "leaked-image", COPY)]


@pytest.mark.parametrize(("spoil", "kind", "file"), FOUND, ids=lambda value: getattr(value, "__name__", None))
def test_the_check_names_what_is_wrong(root, spoil, kind, file):
    spoil(*first(root))
    (error,) = check(root).errors
    assert error.kind == kind
    assert error.file == root / "CamVid" / file
    assert str(error.file) in error.message
    assert len(error.message.splitlines()) == 1
    assert (error.line is not None) == (spoil in (three_names, twice, upwards, absolute))


@pytest.mark.parametrize(
    ("spoil", "kind", "file", "error"), BEFORE_TRAINING, ids=lambda value: getattr(value, "__name__", None)
)
def test_wrong_lists_and_labels_stop_a_run_before_it_starts(root, spoil, kind, file, error):
    spoil(*first(root))
    with pytest.raises(error, match=str(root / "CamVid" / file)) as raised:
        open_split(root, "train")
    assert len(str(raised.value).splitlines()) == 1


def test_all_that_is_wrong_is_found(root):
    image, mask, listing = first(root)
    other_image, _, _ = first(root, "val")
    _, other_mask, _ = first(root, "test")
    class_12(image, mask, listing)
    empty_image(image, mask, listing)
    append(listing, "../../x.png\n/y.png\n")
    other_image.unlink()
    other_mask.unlink()
    kinds = sorted(error.kind for error in check(root).errors)
    assert kinds == [
        "empty-image",
        "missing-annotation",
        "missing-image",
        "palette-out-of-range",
        "path-outside-root",
        "path-outside-root",
    ]


def test_files_that_no_list_names_are_noted(root):
    image, _, _ = first(root)
    shutil.copy(image, image.with_name("zzz.png"))
    notes = check(root).notes
    assert [note for note in notes if "holds 1 files" in note and "zzz.png" in note]
