import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from visionlab.data.digits import Digits
from visionlab.data.layouts import digits


def test_every_image_is_in_one_split():
    data = Digits(batch_size=32)
    sizes = {split: len(data.dataset(split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 1295, "val": 143, "test": 359}
    counts = sum(np.bincount(data.dataset(split).labels) for split in sizes)
    assert counts.tolist() == np.bincount(load_digits().target).tolist()


def test_the_test_split_is_always_the_same_fifth_of_each_class():
    tests = [Digits(batch_size=32, val_fraction=fraction).dataset("test") for fraction in (0.1, 0.4)]
    np.testing.assert_array_equal(tests[0].images, tests[1].images)
    share = np.bincount(tests[0].labels) / np.bincount(load_digits().target)
    assert np.abs(share - 0.2).max() < 0.005
    assert tests[0].labels[:12].tolist() == [0, 3, 7, 0, 1, 2, 4, 5, 0, 0, 9, 3]


def test_grey_levels_span_the_bytes():
    images, labels = digits.read()
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == np.uint8
    levels = np.unique(images)
    assert levels.tolist() == [round(level * 255 / 16) for level in range(17)]
    np.testing.assert_array_equal(np.rint(images[..., 0] * (16 / 255)), load_digits().images)
    assert labels.tolist() == load_digits().target.tolist()


@pytest.mark.parametrize("size", [8, 28, 32])
def test_is_resized_bilinearly(size):
    data = Digits(batch_size=32, image_size=size)
    images = data.dataset("test").images
    small = Digits(batch_size=32, image_size=8).dataset("test").images
    assert images.shape == (359, size, size, 1)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(small[:20, ..., 0].astype(np.float32))[:, None], (size, size), mode="bilinear"
    )
    assert np.abs(expected[:, 0].numpy() - images[:20, ..., 0]).max() <= 1


def test_reads_a_picture_as_it_reads_the_digits(tmp_path):
    data = Digits(batch_size=32)
    Image.fromarray(Digits(batch_size=32, image_size=8).dataset("test").images[0, ..., 0]).save(tmp_path / "digit.png")
    np.testing.assert_array_equal(data.read(tmp_path / "digit.png"), data.dataset("test").images[0])


def test_a_size_below_one_is_an_error():
    with pytest.raises(ValueError, match="image_size must be at least 1, not 0"):
        Digits(batch_size=32, image_size=0)
