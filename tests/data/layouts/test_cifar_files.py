import hashlib
import io
import pickle
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from visionlab.data.download import Remote
from visionlab.data.layouts.cifar import CIFAR10, CIFAR100, CIFAR100_COARSE, CLASSES100, SUPERCLASSES
from visionlab.data.twins.cifar import make_cifar10, make_cifar100


@pytest.fixture
def root(tmp_path):
    make_cifar10(tmp_path, images=25, seed=0)
    return tmp_path


def change(path, **entries):
    content = {key.decode(): value for key, value in pickle.loads(path.read_bytes(), encoding="bytes").items()}
    path.write_bytes(pickle.dumps({**content, **entries}))


def test_reads_the_true_files(shared_data):
    """Against the pickle module itself, on real images."""
    folder = shared_data / "cifar10" / "cifar-10-batches-py"
    expected = [
        pickle.loads((folder / f"data_batch_{i}").read_bytes(), encoding="bytes")  # the bytes are known
        for i in range(1, 6)
    ]
    images, labels = CIFAR10.read(shared_data / "cifar10", "train")
    assert images.shape == (3660, 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert labels.tolist() == [label for batch in expected for label in batch[b"labels"]]
    rows = np.concatenate([batch[b"data"] for batch in expected])
    for i in (0, 731, 732, 3659):
        red, green, blue = rows[i].reshape(3, 32, 32)
        np.testing.assert_array_equal(images[i], np.stack([red, green, blue], axis=-1))
    assert len(CIFAR10.read(shared_data / "cifar10", "test")[1]) == 732


def test_checks_the_true_files(shared_data):
    findings = CIFAR10.check(shared_data / "cifar10")
    assert findings.errors == []
    assert {split: len(labels) for split, labels in findings.labels.items()} == {"train": 3660, "test": 732}
    (note,) = findings.notes  # it is a subset
    assert "data_batch_1" in note
    assert "batches.meta" not in note  # which is the official one


def test_classes_are_the_official_ones():
    assert len(SUPERCLASSES) == 20
    assert len(set(CLASSES100)) == 100
    assert list(SUPERCLASSES) == sorted(SUPERCLASSES)
    assert (CLASSES100[0], CLASSES100[23], CLASSES100[52], CLASSES100[99]) == ("apple", "cloud", "oak_tree", "worm")


def test_labels_of_cifar100_are_fine_or_coarse(tmp_path):
    make_cifar100(tmp_path, images=200, seed=0)
    images, fine = CIFAR100.read(tmp_path, "train")
    _, coarse = CIFAR100_COARSE.read(tmp_path, "train")
    assert images.shape == (200, 32, 32, 3)
    for fine_label, coarse_label in zip(fine, coarse, strict=True):
        assert CLASSES100[fine_label] in SUPERCLASSES[CIFAR100_COARSE.classes[coarse_label]]


@pytest.mark.parametrize("file", CIFAR10.md5s)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_file_is_named_whichever_split_is_read(root, file, split):
    (root / CIFAR10.folder / file).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{file} is missing: run `visionlab data download cifar10 --root {root}`"
    ):
        CIFAR10.read(root, split)
    assert [error for error in CIFAR10.check(root).errors if f"{file} is missing" in error.message]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_batch_1 is missing.*cifar-10-python.tar.gz"):
        CIFAR10.read(tmp_path / "nowhere", "train")


def test_a_cut_file_is_named(root):
    path = root / CIFAR10.folder / "data_batch_4"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="data_batch_4 is not a whole pickle"):
        CIFAR10.read(root, "train")
    findings = CIFAR10.check(root)
    assert len(findings.errors) == 1
    assert "data_batch_4" in findings.errors[0].message
    assert list(findings.labels) == ["test"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"labels": [0, 1, 2, 3]}, "test_batch holds 10 images but 4 labels"),
        ({"labels": [0] * 11}, "test_batch holds 10 images but 11 labels"),
        ({"labels": [0] * 7 + [10, 0, 0]}, r"test_batch, row 7: label 10 is not in 0\.\.9"),
        ({"labels": [0, -1] + [0] * 8}, r"test_batch, row 1: label -1 is not in 0\.\.9"),
        ({"labels": ["cat"] * 10}, r"test_batch, row 0: label 'cat'"),
        ({"labels": None}, "test_batch has no list named 'labels'"),
        ({"data": np.zeros((10, 3072))}, r"float64 \(10, 3072\); expected uint8"),
        ({"data": np.zeros((10, 784), np.uint8)}, r"uint8 \(10, 784\); expected uint8 \(images, 3072\)"),
        ({"data": [1, 2]}, "test_batch has no ndarray named 'data'"),
    ],
)
def test_wrong_contents_are_named(root, entries, message):
    change(root / CIFAR10.folder / "test_batch", **entries)
    with pytest.raises(ValueError, match=message):
        CIFAR10.read(root, "test")
    assert len(CIFAR10.check(root).errors) == 1


def test_a_pickle_of_something_else_is_named(root):
    (root / CIFAR10.folder / "test_batch").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="test_batch holds a list; expected a dict"):
        CIFAR10.read(root, "test")


def test_other_class_names_are_an_error(root):
    change(root / CIFAR10.folder / "batches.meta", label_names=["cat", "dog"])
    for read in (lambda: CIFAR10.read(root, "train"), lambda: CIFAR10.read(root, "test")):
        with pytest.raises(ValueError, match=r"batches.meta names other classes than cifar10 has: \['cat', 'dog'\]"):
            read()
    assert "batches.meta" in CIFAR10.check(root).errors[0].message


def archive_of(root, layout):
    """The files below ``root`` as the publisher's archive, and the layout whose checksums it has."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(root / layout.folder, layout.folder)
    content = buffer.getvalue()
    remote = Remote(layout.archive.path, len(content), hashlib.md5(content).hexdigest(), ("http://127.0.0.1:9/none",))
    md5s = {file: hashlib.md5((root / layout.folder / file).read_bytes()).hexdigest() for file in layout.md5s}
    return content, replace(layout, archive=remote, md5s=md5s)


def test_an_archive_that_lies_there_is_unpacked_without_a_network(root, tmp_path_factory):
    content, layout = archive_of(root, CIFAR10)
    other = tmp_path_factory.mktemp("other")
    (other / layout.archive.path).write_bytes(content)
    assert layout.absent(other)
    layout.download(other)
    assert layout.check(other).errors == []
    assert layout.check(other).notes == []
    np.testing.assert_array_equal(layout.read(other, "train")[0], CIFAR10.read(root, "train")[0])
    (other / layout.archive.path).unlink()
    layout.download(other)  # the official files are there: nothing to do


def test_downloading_mends_a_half_extracted_folder(root, tmp_path_factory):
    content, layout = archive_of(root, CIFAR10)
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(root / layout.folder, other / layout.folder)
    (other / layout.folder / "data_batch_2").unlink()
    (other / layout.folder / "data_batch_3").write_bytes(b"\x80\x02}")
    (other / layout.archive.path).write_bytes(content)
    layout.download(other)
    assert layout.check(other).errors == []


def test_downloading_does_not_replace_a_twin(root):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="holds other data than the official"):
        CIFAR10.download(root)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_without_a_network_the_error_says_which_file_to_put_where(root, tmp_path_factory):
    content, layout = archive_of(root, CIFAR10)
    other = tmp_path_factory.mktemp("other")
    with pytest.raises(OSError, match=r"cifar-10-python.tar.gz could not be downloaded") as caught:
        layout.download(other)
    message = str(caught.value)
    assert f"{len(content):,} bytes, md5 {layout.archive.md5}" in message
    assert f"visionlab data download cifar10 --root {other}" in message
