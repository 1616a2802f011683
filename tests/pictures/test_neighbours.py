import numpy as np
import pytest

from visionlab.pictures.grids import grid
from visionlab.pictures.neighbours import neighbours


def plain(value):
    return np.full((8, 8, 1), value, np.uint8)


def test_pairs_begin_with_the_nearest():
    generated, nearest = [plain(i) for i in (10, 20, 30)], [plain(i) for i in (110, 120, 130)]
    picture = neighbours(generated, nearest, [3.0, 1.25, 2.0], pairs=2)
    title = "Generated images and the nearest training images"
    captions = ["generated", "1.25 away", "generated", "2 away"]
    expected = grid([plain(i) for i in (20, 120, 30, 130)], captions, cell=96, title=title)
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize("counts", [(0, 0, 0), (2, 1, 2), (2, 2, 1)])
def test_pairs_must_be_pairs(counts):
    images, nearest, distances = counts
    with pytest.raises(ValueError, match=f"not {images}, {nearest} and {distances}"):
        neighbours([plain(0)] * images, [plain(0)] * nearest, [0.0] * distances)
