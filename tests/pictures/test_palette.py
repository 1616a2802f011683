from itertools import combinations

import cv2
import numpy as np
import pytest

from visionlab.pictures.colours import SKY_BLUE, VERMILLION
from visionlab.pictures.palette import DISTINCT, class_colour


def lab(colour):
    pixel = np.array(colour, np.float32)[None, None] / 255
    return cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB)[0, 0]


@pytest.mark.parametrize(("classes", "apart"), [(6, 17), (21, 16), (81, 7), (DISTINCT, 5)])
def test_no_two_classes_look_alike(classes, apart):
    colours = [lab(class_colour(label)) for label in range(classes)]
    assert min(np.linalg.norm(one - other) for one, other in combinations(colours, 2)) > apart


def test_red_and_green_alone_never_tell_classes_apart():
    # Viénot, Brettel and Mollon 1999, an independent model of dichromacy: red and green become one mixture of both
    for share in (0.11238, 0.29275):
        seen = []
        for label in range(21):
            red, green, blue = (np.array(class_colour(label)) / 255) ** 2.2
            yellow = share * red + (1 - share) * green
            seen.append(lab(255 * np.array([yellow, yellow, blue]) ** (1 / 2.2)))
        assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 8


def test_a_colour_depends_on_its_label_alone():
    assert class_colour(0) == VERMILLION
    assert class_colour(1) == SKY_BLUE
    assert class_colour(DISTINCT + 3) == class_colour(3)
    assert all(type(channel) is int and 0 <= channel <= 255 for label in range(99) for channel in class_colour(label))
