import numpy as np
import pytest
from PIL import Image, ImageDraw

from visionlab.pictures.colours import BLUE
from visionlab.pictures.tags import draw_tag


def draw(picture, box, text, others=()):
    return draw_tag(ImageDraw.Draw(picture), picture.size, box, text, BLUE, list(others))


def test_it_draws_where_it_says():
    picture = Image.new("RGB", (200, 100), (200, 200, 200))
    ((left, top, right, bottom),) = draw(picture, (50, 60, 90, 80), "zebra")
    changed = (np.asarray(picture) != 200).any(axis=-1)
    assert changed[top : bottom + 1, left : right + 1].all()
    changed[top : bottom + 1, left : right + 1] = False
    assert not changed.any()
    assert (left, bottom) == (50, 59)  # upon the box


def test_tags_of_one_place_do_not_cover_each_other():
    picture, places = Image.new("RGB", (200, 200)), []
    for _ in range(8):
        places += draw(picture, (80, 80, 150, 150), "cow", places)
    covered = np.zeros((200, 200), int)
    for left, top, right, bottom in places:
        covered[top : bottom + 1, left : right + 1] += 1
    assert len(places) == 8
    assert covered.max() == 1


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (200, 13), (3, 200)])
def test_without_room_there_is_none(size):
    picture = Image.new("RGB", size)
    assert draw(picture, (0, 0, 0, 0), "cow") == []
    assert not np.asarray(picture).any()
