import numpy as np
import pytest

from visionlab.data.augmentation import CropFlip
from visionlab.data.sampling import Keys, mix, sample_seeds


def images_of(n: int, channels: int = 3, height: int = 12, width: int = 10) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (n, height, width, channels), dtype=np.uint8)


def seeds_of(n: int) -> np.ndarray:
    return sample_seeds(1, Keys(2, np.arange(n)))


def slow_crop_flip(image: np.ndarray, seed: np.uint64, padding: int, flip: bool) -> np.ndarray:
    """The same draws, applied to one image pixel by pixel."""
    top = int(mix(seed)) % (2 * padding + 1) - padding
    left = int(mix(seed ^ np.uint64(1))) % (2 * padding + 1) - padding
    mirror = flip and int(mix(seed ^ np.uint64(2))) % 2 == 1
    height, width, _ = image.shape
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            source_y, source_x = y + top, (width - 1 - x if mirror else x) + left
            if 0 <= source_y < height and 0 <= source_x < width:
                result[y, x] = image[source_y, source_x]
    return result


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_equals_a_slow_crop_and_flip(channels, padding, flip):
    images, seeds = images_of(16, channels), seeds_of(16)
    augmented = CropFlip(padding, flip)(images, seeds)
    expected = [slow_crop_flip(image, seed, padding, flip) for image, seed in zip(images, seeds, strict=True)]
    assert augmented.dtype == np.uint8
    np.testing.assert_array_equal(augmented, np.stack(expected))


def test_an_image_does_not_depend_on_the_others():
    images, seeds = images_of(9), seeds_of(9)
    together = CropFlip()(images, seeds)
    shuffle = np.random.default_rng(1).permutation(9)
    np.testing.assert_array_equal(CropFlip()(images[shuffle], seeds[shuffle]), together[shuffle])
    for i in range(9):
        np.testing.assert_array_equal(CropFlip()(images[i : i + 1], seeds[i : i + 1]), together[i : i + 1])


def test_leaves_its_input_alone():
    images = images_of(4)
    before = images.copy()
    CropFlip()(images, seeds_of(4))
    np.testing.assert_array_equal(images, before)


def test_offsets_and_flips_are_uniform_and_independent():
    """Each of 9 x 9 x 2 outcomes as often as the others: chi-squared with 161 degrees of freedom."""
    n, size, padding = 40_500, 12, 4
    image = np.zeros((1, size, size, 1), dtype=np.uint8)
    image[0, 5, 5], image[0, 5, 6] = 1, 2  # where it goes tells the offset, and the order of the two the flip
    augmented = CropFlip(padding)(np.repeat(image, n, axis=0), seeds_of(n))[..., 0]
    rows, columns = np.divmod(augmented.reshape(n, -1).argmax(1), size)
    ones = (augmented == 1).reshape(n, -1).argmax(1) % size
    flipped = ones > columns
    first = np.where(flipped, columns, ones)
    counts = np.zeros((2 * padding + 1, 2 * padding + 1, 2))
    left = np.where(flipped, first - 1, first - 1)
    np.add.at(counts, (rows - 1, left, flipped.astype(int)), 1)
    expected = n / counts.size
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert 105 < chi_squared < 230  # 0.1 % on either side


def test_does_not_flip_what_must_not_be():
    image = np.tile(np.arange(1, 13, dtype=np.uint8)[None, None, :, None], (50, 12, 1, 1))
    augmented = CropFlip(2, flip=False)(image, seeds_of(50))[..., 0].astype(int)
    inside = (augmented[:, 5, 1:] > 0) & (augmented[:, 5, :-1] > 0)
    assert (np.diff(augmented[:, 5])[inside] == 1).all()


def test_negative_padding_is_an_error():
    with pytest.raises(ValueError, match="-1"):
        CropFlip(-1)
