import numpy as np
import pytest

from visionlab.pictures.perturbations import Attacked, amplified, budget_curve, three_panels


def test_the_largest_change_is_black_or_white_and_none_is_grey():
    delta = np.array([[[0.0], [0.02]], [[-0.04], [0.01]]], np.float32)
    shown, factor = amplified(delta)
    assert factor == pytest.approx(12.5)
    assert shown[..., 0].tolist() == [[128, 191], [0, 159]]
    still, factor = amplified(np.zeros((2, 2, 3), np.float32))
    assert factor == 1
    assert (still == 128).all()


def test_a_row_an_image_and_a_frame_that_says_what_became_of_it():
    image = np.full((8, 8, 3), 0.5, np.float32)
    pixels = (image * 255).astype(np.uint8)
    rows = [Attacked(image, image + 0.1, pixels, pixels, "cat", "cat", stayed) for stayed in (True, False)]
    sheet = np.asarray(three_panels(rows, cell=64))
    colours = {tuple(colour) for colour in sheet.reshape(-1, 3)}
    assert {(0, 114, 178), (213, 94, 0)} <= colours
    one = np.asarray(three_panels(rows[:1], cell=64))
    assert (213, 94, 0) not in {tuple(colour) for colour in one.reshape(-1, 3)}
    assert sheet.shape[0] > one.shape[0]


def test_a_curve_needs_a_value_for_each_budget():
    drawn = budget_curve([8 / 255, 0, 4 / 255], [0.1, 0.9, float("nan")], "top1", 0.1, "linf")
    assert (0, 114, 178) in {tuple(colour) for colour in np.asarray(drawn).reshape(-1, 3)}
    with pytest.raises(ValueError, match="as many values as budgets"):
        budget_curve([0.1], [], "top1", 0.1, "l2")
