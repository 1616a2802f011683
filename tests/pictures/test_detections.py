import numpy as np
import pytest
import torch

from visionlab.pictures.detections import annotated, detected
from visionlab.pictures.objects import objects
from visionlab.pictures.palette import class_colour

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
CLASSES = ("cat", "dog")


def same(one, other):
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_true_objects_have_their_classes_crowds_dashes_and_difficult_ones_thin_lines():
    boxes = [[3.0, 4, 40, 30], [10, 10, 70, 50]]
    target = {
        "boxes": torch.tensor(boxes),
        "labels": torch.tensor([1, 0]),
        "iscrowd": torch.tensor([True, False]),
        "difficult": torch.tensor([False, True]),
        "masks": torch.ones(2, 60, 80, dtype=torch.uint8),
    }
    expected = objects(
        IMAGE,
        np.array(boxes),
        ["dog", "cat"],
        [class_colour(1), class_colour(0)],
        masks=np.ones((2, 60, 80), np.uint8),
        dashed=np.array([True, False]),
        thin=np.array([False, True]),
    )
    same(annotated(IMAGE, target, CLASSES), expected)


def test_only_sure_objects_are_drawn_with_their_scores():
    found = {
        "boxes": torch.tensor([[3.0, 4, 40, 30], [10, 10, 70, 50]]),
        "scores": torch.tensor([0.93, 0.4]),
        "labels": torch.tensor([1, 0]),
        "keypoints": torch.tensor([[[5.0, 6, 1]], [[20, 30, 1]]]),
    }
    joints = np.array([[[5.0, 6, 2]]])
    expected = objects(IMAGE, np.array([[3.0, 4, 40, 30]]), ["dog 93%"], [class_colour(1)], keypoints=joints)
    same(detected(IMAGE, found, CLASSES), expected)
    assert (np.asarray(detected(IMAGE, found, CLASSES, 0.3)) != np.asarray(expected)).any()


@pytest.mark.parametrize("masks", [True, False])
def test_an_image_without_objects_is_left_as_it_is(masks):
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    if masks:
        nothing["masks"] = torch.zeros(0, 60, 80, dtype=torch.uint8)
    same(annotated(IMAGE, nothing, CLASSES, 80), IMAGE)
    same(detected(IMAGE, nothing, CLASSES, side=80), IMAGE)
