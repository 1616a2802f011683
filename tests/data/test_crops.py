from collections import Counter

import albumentations as A
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from visionlab.data.crops import RandomIoUCrop, ZoomOut
from visionlab.data.sample import Sample
from visionlab.data.transforms import SampleAlbumentations

HEIGHT, WIDTH = 60, 90


def sample(boxes: list[list[int]]) -> Sample:
    """An image whose every pixel tells where it was."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    objects = {"boxes": np.array(boxes, dtype=np.float64).reshape(-1, 4), "labels": np.arange(len(boxes))}
    return {"image": np.stack([x, y, x * 0 + 1], axis=-1).astype(np.uint8), "objects": objects}


BOXES = [[5, 5, 30, 25], [40, 10, 85, 50], [10, 40, 25, 55]]


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7])
def test_a_patch_overlaps_an_object_enough_and_keeps_those_with_their_centre_inside(overlap):
    whole = 0
    for seed in range(60):
        done = SampleAlbumentations([RandomIoUCrop(min_overlaps=(overlap, 1.0))])(sample(BOXES), seed)
        image, objects = done["image"], done["objects"]
        height, width = image.shape[:2]
        left, top = image[0, 0, :2].tolist()
        if (height, width) == (HEIGHT, WIDTH):
            whole += 1
            continue
        assert 0.3 * WIDTH - 1 <= width <= WIDTH
        assert 0.3 * HEIGHT - 1 <= height <= HEIGHT
        assert 0.5 <= width / height <= 2
        old = np.array(BOXES, dtype=np.float64)
        centres = (old[:, :2] + old[:, 2:]) / 2
        inside = ((centres > [left, top]) & (centres < [left + width, top + height])).all(1)
        np.testing.assert_array_equal(objects["labels"], np.flatnonzero(inside))
        patch = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float64)
        assert box_iou(patch, torch.from_numpy(old[inside])).max() >= overlap
        clipped = (old[inside] - [left, top, left, top]).clip(0, [width, height, width, height])
        np.testing.assert_allclose(objects["boxes"], clipped, atol=1e-4)
    assert 5 < whole < 55


def test_an_image_without_objects_stays_whole():
    done = SampleAlbumentations([RandomIoUCrop()])(sample([]), 3)
    assert done["image"].shape == (HEIGHT, WIDTH, 3)


def test_overlaps_that_never_end_are_an_error():
    with pytest.raises(ValueError, match="must have 1"):
        RandomIoUCrop(min_overlaps=(0.5,))


def test_zooming_out_puts_the_whole_image_somewhere_on_the_canvas():
    zoom = SampleAlbumentations([ZoomOut(max_ratio=3.0, fill=(9, 8, 7), p=1)])
    ratios, places = [], Counter()
    for seed in range(60):
        given = sample(BOXES)
        done = zoom(given, seed)
        image = done["image"]
        rows, columns = np.nonzero(image[..., 2] == 1)
        top, left = rows.min(), columns.min()
        np.testing.assert_array_equal(image[top : top + HEIGHT, left : left + WIDTH], given["image"])
        assert ((image == (9, 8, 7)).all(-1) | (image[..., 2] == 1)).all()
        np.testing.assert_allclose(
            done["objects"]["boxes"], given["objects"]["boxes"] + [left, top, left, top], atol=1e-4
        )
        assert abs(image.shape[0] / HEIGHT - image.shape[1] / WIDTH) < 0.03
        ratios.append(image.shape[1] / WIDTH)
        places[left > (image.shape[1] - WIDTH) / 2, top > (image.shape[0] - HEIGHT) / 2] += 1
    assert min(ratios) < 1.3
    assert 2.7 < max(ratios) <= 3
    assert len(places) == 4


def test_shrinking_canvas_is_an_error():
    with pytest.raises(ValueError, match=r"max_ratio.*0\.5"):
        ZoomOut(max_ratio=0.5)


@pytest.mark.filterwarnings("ignore:Argument")
def test_unknown_arguments_are_found_as_in_those_of_albumentations():
    with pytest.raises(ValueError, match="ZoomOut has no argument side_range"):
        SampleAlbumentations([A.HorizontalFlip(), ZoomOut(side_range=(1, 4))])
