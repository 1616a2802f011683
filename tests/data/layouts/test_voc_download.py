import shutil
import tarfile
from pathlib import Path

import pytest
from torchvision.datasets.voc import DATASET_YEAR_DICT

from visionlab.data.download import Remote, md5
from visionlab.data.layouts.voc import ARCHIVES, Archive, ImageSet, download
from visionlab.data.layouts.voc_check import check


@pytest.fixture(scope="module")
def twin(twins):
    return twins("voc", 20)


def test_a_download_leaves_other_data_alone(twin):
    with pytest.raises(ValueError, match=r"trainval\.txt has 25 images, not the official 5,011"):
        download(twin)


def test_a_download_unpacks_what_is_not_there_yet(twin, monkeypatch):
    root = Path("new")
    root.mkdir()
    with tarfile.open(root / "some.tar", "w") as tar:
        tar.add(twin / "VOCdevkit" / "VOC2007", "VOCdevkit/VOC2007")
    remote = Remote("some.tar", (root / "some.tar").stat().st_size, md5(root / "some.tar"), ())
    archive = Archive(remote, "VOCdevkit/VOC2007", ImageSet(2007, "trainval"), 25)
    monkeypatch.setattr("visionlab.data.layouts.voc.ARCHIVES", (archive,))
    download(root)
    assert check(root).errors == []
    (root / "some.tar").unlink()
    download(root)  # has nothing to do
    next((root / "VOCdevkit" / "VOC2007" / "JPEGImages").glob("*.jpg")).rename("gone.jpg")
    with pytest.raises(OSError, match=r"some\.tar could not be downloaded"):
        download(root)


@pytest.mark.parametrize("place", ["VOC2007", "."])
def test_a_download_finds_what_the_readers_find(twin, monkeypatch, place):
    shutil.copytree(twin / "VOCdevkit" / "VOC2007", "there/VOC2007")
    root = Path("there") if place == "VOC2007" else Path("there/VOC2007")
    remote = Remote("some.tar", 10, "0" * 32, ())
    archive = Archive(remote, "VOCdevkit/VOC2007", ImageSet(2007, "trainval"), 25)
    other = Archive(remote, "VOCdevkit/VOC2012", ImageSet(2012, "trainval"), 25)
    monkeypatch.setattr("visionlab.data.layouts.voc.ARCHIVES", (archive, other) if place == "." else (archive,))
    download(root)  # has nothing to do
    next(Path("there/VOC2007/JPEGImages").glob("*.jpg")).unlink()
    with pytest.raises(ValueError, match=r"VOC2007 lacks images of 2007/trainval.*unpack into VOCdevkit/VOC2007"):
        download(root)
    if place == ".":
        root = root.rename("pascal")
        with pytest.raises(ValueError, match="its name does not say which"):
            download(root)


def test_the_checksums_are_torchvisions():
    for archive, key in zip(ARCHIVES, ("2007", "2007-test", "2012"), strict=True):
        theirs = DATASET_YEAR_DICT[key]
        ours = archive.remote
        assert (ours.path, ours.md5) == (theirs["filename"], theirs["md5"])  # addresses move
        assert archive.folder == theirs["base_dir"]
