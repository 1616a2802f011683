import gzip
import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from visionlab.data.layouts.mnist import FASHION_MNIST, MNIST, read_idx, read_split
from visionlab.data.twins.mnist import make_fashion_mnist, make_mnist

FILES = [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


@pytest.fixture
def root(tmp_path):
    make_mnist(tmp_path, images=20, seed=0)
    return tmp_path


def idx(array: np.ndarray, magic: bytes | None = None) -> bytes:
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return (magic or bytes([0, 0, 8, array.ndim])) + sizes + array.astype(np.uint8).tobytes()


def test_reads_the_true_files(shared_data):
    folder = shared_data / "mnist" / "MNIST" / "raw"
    images, labels = read_split(folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz", 10)
    assert images.shape == (10_000, 28, 28, 1)
    assert images.dtype == np.uint8
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    raw = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    np.testing.assert_array_equal(images[42].ravel(), np.frombuffer(raw, np.uint8, 784, offset=16 + 42 * 784))


def test_checks_the_true_files(shared_data):
    findings = MNIST.check(shared_data / "mnist")
    assert [error.message.split(" is missing")[0].split("/")[-1] for error in findings.errors] == FILES[:2]
    assert findings.notes == []  # what is there is official
    assert len(findings.labels["test"]) == 10_000


@pytest.mark.parametrize(("layout", "make"), [(MNIST, make_mnist), (FASHION_MNIST, make_fashion_mnist)])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("in_root", [True, False])
def test_reads_packed_and_plain_files_in_either_place(tmp_path, layout, make, packed, in_root):
    make(tmp_path, 20, 0)
    expected = [layout.read(tmp_path, split) for split in ("train", "test")]
    for path in (tmp_path / layout.folder).iterdir():
        target = tmp_path / path.name if in_root else path
        content = path.read_bytes()
        path.unlink()
        if packed:
            target.write_bytes(content)
        else:
            target.with_suffix("").write_bytes(gzip.decompress(content))
    for split, (images, labels) in zip(("train", "test"), expected, strict=True):
        got = layout.read(tmp_path, split)
        np.testing.assert_array_equal(got[0], images)
        np.testing.assert_array_equal(got[1], labels)
    assert len(layout.check(tmp_path).notes) == (1 if packed else 0)


def test_two_folders_never_mix(root, tmp_path_factory):
    """Files in the root are not taken for those that are missing in the data set's own folder."""
    make_mnist(other := tmp_path_factory.mktemp("other"), 30, 1)
    for file in FILES[:2]:
        shutil.copy(other / MNIST.folder / file, root / file)
        (root / MNIST.folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=r"MNIST/raw/train-images-idx3-ubyte.gz is missing"):
        MNIST.read(root, "train")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_file_is_named_whichever_split_is_read(root, file, split):
    (root / MNIST.folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{file} is missing.*visionlab data download mnist --root {root}"):
        MNIST.read(root, split)
    assert len(MNIST.check(root).errors) == 1


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("packed", [True, False])
def test_a_cut_file_is_named(root, file, packed):
    path = root / MNIST.folder / file
    content = path.read_bytes()
    if not packed:
        path.unlink()
        path = path.with_suffix("")
        content = gzip.decompress(content)
    for length in (0, 3, 6, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=path.name):
            MNIST.read(root, "train" if file.startswith("train") else "test")
        assert path.name in MNIST.check(root).errors[0].message


def test_a_flipped_bit_is_found(root):
    path = root / MNIST.folder / FILES[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is cut or damaged"):
        MNIST.read(root, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>404</html>", r"no idx file of 1 dimensions: it starts with the bytes 3c 68 74 6d, not 00 00 08 01"),
        (idx(np.zeros((2, 3))), "no idx file of 1 dimensions"),
        (idx(np.zeros(3), bytes([0, 0, 13, 1])), "no idx file"),  # floats
        (idx(np.zeros(3)) + b"\0", "announces 3 values, it holds 4"),
        (b"\0\0\x08\x01\xff\xff\xff\xff" + bytes(9), "announces 4294967295 values, it holds 9"),
    ],
)
def test_wrong_files_are_named(tmp_path, content, message):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(path, 1)
    path.write_bytes(content)


def test_what_is_not_packed_is_named(tmp_path):
    path = tmp_path / "labels.gz"
    path.write_bytes(idx(np.zeros(3)))
    with pytest.raises(ValueError, match=r"labels.gz is cut or damaged"):
        read_idx(path, 1)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 28, 28)), np.zeros(4), "labels holds 4 labels, but .*images 3 images"),
        (np.zeros((3, 32, 28)), np.zeros(3), "images holds images of 32 x 28 pixels; expected 28 x 28"),
        (np.zeros((4, 28, 28)), np.array([0, 9, 10, 12]), r"labels, row 2: label 10 is not in 0\.\.9"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, images, labels, message):
    (tmp_path / "images").write_bytes(idx(images))
    (tmp_path / "labels").write_bytes(idx(labels))
    with pytest.raises(ValueError, match=message):
        read_split(tmp_path / "images", tmp_path / "labels", 10)


def test_downloading_takes_what_lies_there(root):
    """Official files are left alone, and the error is about the first that is not there."""

    def as_it_lies_there(remote):
        content = (root / remote.path).read_bytes()
        return replace(remote, size=len(content), md5=hashlib.md5(content).hexdigest(), urls=("http://127.0.0.1:9/",))

    remotes = tuple(map(as_it_lies_there, MNIST.remotes))
    official = replace(MNIST, remotes=remotes)
    official.download(root)
    (root / remotes[2].path).unlink()
    with pytest.raises(
        OSError, match=r"t10k-images-idx3-ubyte.gz could not be downloaded.*visionlab data download mnist"
    ):
        official.download(root)


def test_downloading_does_not_replace_a_twin(root):
    with pytest.raises(ValueError, match="holds readable data already"):
        MNIST.download(root)
