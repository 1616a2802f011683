import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from visionlab.pictures.colours import GREEN, ORANGE, PURPLE, SKY_BLUE
from visionlab.pictures.skeletons import COCO_JOINTS, COCO_LIMBS, draw_skeleton

GREY = (200, 200, 200)


def draw(keypoints, size=(200, 200)):
    picture = Image.new("RGB", size, GREY)
    draw_skeleton(ImageDraw.Draw(picture), np.array(keypoints, float), PURPLE)
    return np.asarray(picture)


def person(**joints):
    """Keypoints of which only the named joints are labelled, as (x, y, visibility)."""
    return [joints.get(name, (0, 0, 0)) for name in COCO_JOINTS]


def is_colour(pixel, colour):
    return tuple(pixel.tolist()) == colour


def test_the_skeleton_is_cocos(shared_data):
    content = json.loads((shared_data / "coco/annotations/person_keypoints_val2017.json").read_text())
    (category,) = content["categories"]
    assert tuple(category["keypoints"]) == COCO_JOINTS
    assert [(one - 1, other - 1) for one, other in category["skeleton"]] == list(COCO_LIMBS)


def test_visible_joints_are_discs_and_hidden_ones_rings():
    picture = draw([[50.5, 50.5, 2], [120.5, 50.5, 1], [90, 120, 0]])
    assert is_colour(picture[50, 50], PURPLE)
    assert is_colour(picture[50, 120], GREY)
    assert is_colour(picture[50, 123], PURPLE)
    assert (picture[100:] == GREY).all()


def test_sides_have_their_colours_and_limbs_join_labelled_joints_only():
    shoulders = {"left_shoulder": (150, 50, 2), "right_shoulder": (50, 50, 1)}
    picture = draw(person(**shoulders, left_elbow=(150, 100, 2), left_ankle=(150, 180, 2)))
    assert is_colour(picture[50, 150], SKY_BLUE)
    assert is_colour(picture[50, 53], ORANGE)
    assert is_colour(picture[50, 100], GREEN)
    assert is_colour(picture[75, 150], SKY_BLUE)
    assert (picture[110:170] == GREY).all()  # the knee between is not labelled
    head = draw(person(nose=(100, 100, 2), left_eye=(150, 50, 2), right_eye=(50, 50, 2)))
    assert is_colour(head[100, 100], GREEN)
    assert is_colour(head[75, 125], SKY_BLUE)
    assert is_colour(head[75, 75], ORANGE)


@pytest.mark.parametrize("joints", [1, 5, 16, 18])
def test_other_numbers_of_joints_are_dots_alone(joints):
    keypoints = [[5 + 10 * i, 20, 2] for i in range(joints)]
    picture = draw(keypoints)
    for x, y, _ in keypoints:
        assert is_colour(picture[y, x], PURPLE)
        assert is_colour(picture[y, x + 5], GREY)


def test_what_cannot_be_drawn_is_left_out():
    nowhere = [[np.nan, 5, 2], [np.inf, 5, 2], [1e300, 5, 2], [5, -1e9, 1]]
    assert (draw(nowhere) == GREY).all()
    assert (draw(np.zeros((0, 3))) == GREY).all()
    assert (draw(person()) == GREY).all()
    assert draw(person(left_hip=(1e300, 0, 2), right_hip=(50, 50, 2))).shape == (200, 200, 3)


def test_small_skeletons_are_drawn_finely():
    large = draw([[20, 20, 2], [120, 120, 2]])
    small = draw([[20, 20, 2], [60, 60, 2]])
    assert (small != GREY).any(axis=-1).sum() < (large != GREY).any(axis=-1).sum()
