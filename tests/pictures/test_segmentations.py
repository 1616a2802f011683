import numpy as np
import pytest

from visionlab.pictures.colours import WRONG
from visionlab.pictures.grids import fit
from visionlab.pictures.masks import semantic
from visionlab.pictures.segmentations import GAP, compared

CLASSES = ("ground", "thing")


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 60, 3), np.uint8)
    truth, found = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    truth[10:30, 20:40], found[10:30, 30:50] = 1, 1
    truth[:, :5] = 255
    return image, truth, found


def test_the_four_pictures_stand_side_by_side(scene):
    image, truth, found = scene
    sheet = np.asarray(compared(*scene, CLASSES, side=240))
    panels = [sheet[:160, left : left + 240] for left in range(0, sheet.shape[1], 240 + GAP)]
    assert len(panels) == 4
    np.testing.assert_array_equal(panels[0], np.asarray(fit(image, 240)))
    for panel, mask in zip(panels[1:3], (truth, found), strict=True):
        np.testing.assert_array_equal(panel, np.asarray(semantic(image, mask, CLASSES, side=240))[:160])


def test_errors_are_marked_and_void_is_none(scene):
    image, truth, found = scene
    found[:, :5] = 1  # in void
    panel = np.asarray(compared(image, truth, found, CLASSES, side=60))[:40, -128:]
    panel = panel[:, 34:94]  # in the middle above its legend
    wrong = (truth != found) & (truth != 255)
    plain = ~wrong & (truth != 255)
    np.testing.assert_array_equal(panel[plain], image[plain])
    assert (panel[wrong] != image[wrong]).any(axis=1).all()
    np.testing.assert_array_equal(panel[20, 20], WRONG)  # the edge of what is wrong
    assert (panel[:, 0] != WRONG).any(axis=1).all()


def test_masks_of_other_sizes_are_refused(scene):
    image, truth, _ = scene
    with pytest.raises(ValueError, match="must be uint8 of that shape"):
        compared(image, truth[:30], truth[:30], CLASSES)
