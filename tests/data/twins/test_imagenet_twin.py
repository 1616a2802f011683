"""The twins of ImageNet and of a folder: the same for a seed, to be learned, and not by colour."""

import hashlib

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from visionlab.data.images import read_image
from visionlab.data.layouts import folder
from visionlab.data.layouts.imagenet import open_images
from visionlab.data.twins.folder import make as make_folder
from visionlab.data.twins.imagenet import make as make_imagenet

TWINS = {
    "imagenet": (make_imagenet, open_images),
    "folder": (make_folder, lambda root, split: folder.open_classes(root, split, 0.1)),
}
twins = pytest.mark.parametrize(("make", "open_split"), TWINS.values(), ids=TWINS)


def digest(root):
    """Of the names and the pixels or the text of all files: releases of Pillow write other bytes."""
    whole = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        whole.update(str(path.relative_to(root)).encode())
        if path.suffix.lower() in {".png", ".bmp", ".tif", ".webp"}:
            whole.update(read_image(path, 3).tobytes())
        elif path.suffix in {".txt", ".csv", ".xml"}:
            whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


@twins
def test_is_a_function_of_the_seed(tmp_path, make, open_split):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make(tmp_path / name, 20, seed)
    a, b, c = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in "abc"
    )
    assert a == b
    assert a != c


@pytest.mark.parametrize(("make", "expected"), [(make_imagenet, "dc4c6d7eeaf12250"), (make_folder, "2a02cfb31e5cacce")])
def test_a_hash_fixes_it(tmp_path, make, expected):
    make(tmp_path, 20, 0)
    assert digest(tmp_path) == expected


@twins
def test_replaces_nothing_and_needs_two_of_each_class(tmp_path, make, open_split):
    with pytest.raises(ValueError, match="19 training images are too few for 10 classes: give at least 20"):
        make(tmp_path / "few", 19, 0)
    assert not (tmp_path / "few").exists()
    make(tmp_path, 20, 0)
    with pytest.raises(FileExistsError, match="is there already"):
        make(tmp_path, 20, 0)


def edges(image):
    """Histograms of oriented gradients (Dalal and Triggs 2005) in 6 x 6 cells of the image."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (96, 96), interpolation=cv2.INTER_AREA).astype(float)
    down, across = np.gradient(grey)
    bins = (np.arctan2(down, across) % np.pi / np.pi * 9).astype(int) % 9
    strength = np.hypot(down, across)[..., None] * (bins[..., None] == np.arange(9))
    cells = strength.reshape(6, 16, 6, 16, 9).sum((1, 3))
    return np.sqrt(cells / cells.sum()).ravel()


@pytest.mark.slow
@twins
def test_can_be_learned_but_not_by_colour(tmp_path, make, open_split):
    make(tmp_path, 600, 0)
    splits = [open_split(tmp_path, split) for split in ("train", "val")]
    labels = [[records.annotations(i)["label"] for i in range(len(records))] for records in splits]
    images = [[read_image(records.path(i), 3) for i in range(len(records))] for records in splits]
    colours, gradients = (
        [np.stack([feature(image) for image in part]) for part in images]
        for feature in (lambda image: image.mean((0, 1)), edges)
    )
    by_colour = NearestCentroid().fit(colours[0], labels[0]).score(colours[1], labels[1])
    by_edges = LogisticRegression(max_iter=300).fit(gradients[0], labels[0]).score(gradients[1], labels[1])
    print(by_colour, by_edges)
    assert by_colour < 0.25
    assert by_edges > 0.4
