import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_presets import extent, white_rectangle

from visionlab.data.augmentation import MEAN_COLOUR
from visionlab.data.mosaic import Mosaic
from visionlab.data.sample import VOID, Sample

SEEDS = st.integers(0, 2**64 - 1)


def numbered(samples: list[Sample]) -> list[Sample]:
    """Tells samples apart on a canvas: those of image i have the classes 2 i and 2 i + 1, and objects of label i."""
    for i, sample in enumerate(samples):
        sample["mask"] += 2 * i
        sample["objects"]["labels"][:] = i
    return samples


def covered(done: Sample) -> list[np.ndarray]:
    """What each of the images covers, as boxes."""
    return [extent(done["mask"] // 2 == i) for i in range(4)]


def divide(size: int, x: int, y: int) -> np.ndarray:
    return np.array([[0, 0, x, y], [x, 0, size, y], [0, y, x, size], [x, y, size, size]])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_box_mask_and_keypoints_stay_on_the_object(data):
    samples = []
    for _ in range(4):
        height, width = data.draw(st.integers(30, 90)), data.draw(st.integers(30, 90))
        left, top = data.draw(st.integers(0, width - 12)), data.draw(st.integers(0, height - 12))
        right, bottom = data.draw(st.integers(left + 10, width)), data.draw(st.integers(top + 10, height))
        samples.append(white_rectangle(height, width, left, top, right, bottom))
    size = data.draw(st.integers(32, 97))
    done = Mosaic(size)(numbered(samples), data.draw(SEEDS))

    assert done["image"].shape == (size, size, 3)
    assert done["mask"].shape == (size, size)
    objects, regions = done["objects"], covered(done)
    x, y = regions[0][2:]
    assert size / 4 <= min(x, y) <= max(x, y) <= size * 3 / 4
    for region, quarter in zip(regions, divide(size, x, y), strict=True):
        inner = [0 if edge in (0, size) else 1 for edge in quarter]
        np.testing.assert_array_equal(region * inner, quarter * inner)
        assert (region[:2] >= quarter[:2]).all()
        assert (region[2:] <= quarter[2:]).all()
    assert (done["image"][done["mask"] == VOID] == MEAN_COLOUR).all()

    for i, region in enumerate(regions):
        seen = (done["image"].mean(-1) >= 128) & (done["mask"] // 2 == i)
        rows = np.flatnonzero(objects["labels"] == i)
        if len(rows) == 0:
            assert not seen.any() or (extent(seen)[2:] - extent(seen)[:2]).min() <= 1
            continue
        (box,), (mask,), (points,) = (objects[key][rows] for key in ("boxes", "masks", "keypoints"))
        np.testing.assert_array_equal(mask, done["mask"] == 2 * i + 1)
        assert (box[2:] - box[:2]).min() >= 1
        assert (box[:2] >= region[:2]).all()
        assert (box[2:] <= region[2:]).all()
        if (box[2:] - box[:2]).min() >= 3:  # a sliver may fall between the pixels
            np.testing.assert_allclose(box, extent(seen), atol=1.01)
            np.testing.assert_allclose(box, extent(mask), atol=1.01)
        corners = box[[[0, 1], [2, 1], [0, 3], [2, 3]]]
        for point, corner, v in zip(points, corners, [2, 2, 1, 1], strict=True):
            if point[2] > 0:
                assert point[2] == v
                np.testing.assert_allclose(point[:2], corner, atol=1e-6)
            else:  # the box was clipped there
                assert (point == 0).all()
                assert np.isin(corner, region).any()


def test_what_is_not_resized_is_as_slow_copying_makes_it():
    draw = np.random.default_rng(0)
    for seed in range(10):
        samples = [white_rectangle(*shape, 3, 4, 15, 19) for shape in [(20, 20), (20, 11), (13, 20), (20, 1)]]
        for i, sample in enumerate(samples):
            sample["image"] = draw.integers(0, 256, sample["image"].shape, dtype=np.uint8)
            sample["mask"][:] = i
            sample["objects"]["masks"] = draw.integers(0, 2, (1, *sample["mask"].shape), dtype=np.uint8)
            sample["objects"]["boxes"][:] = 0, 0, *sample["mask"].shape[::-1]
        done = Mosaic(20, scale=(1, 1))(samples, seed)
        x, y = extent(done["mask"] == 0)[2:].astype(int)
        masks = np.zeros((4, 20, 20), dtype=np.uint8)
        for row in range(20):
            for column in range(20):
                i = 2 * (row >= y) + (column >= x)
                height, width = samples[i]["mask"].shape
                there = row - y if row >= y else height - y + row, column - x if column >= x else width - x + column
                inside = 0 <= there[0] < height and 0 <= there[1] < width
                pixel = samples[i]["image"][there] if inside else MEAN_COLOUR
                np.testing.assert_array_equal(done["image"][row, column], pixel)
                assert done["mask"][row, column] == (i if inside else VOID)
                masks[i, row, column] = samples[i]["objects"]["masks"][0][there] if inside else 0
        np.testing.assert_array_equal(done["objects"]["masks"], masks)


def test_images_shrink_with_antialiasing_and_grow_smoothly():
    stripes = white_rectangle(80, 120, 0, 0, 1, 1)
    stripes["image"][:] = 0
    stripes["image"][:, ::2] = 255
    done = Mosaic(80, scale=(0.25, 0.25))([stripes] * 4, 0)  # each pixel is the mean of three pairs of stripes
    assert set(np.unique(done["image"][done["mask"] != VOID])) <= {127, 128}
    step = white_rectangle(8, 8, 4, 0, 8, 8)
    assert len(np.unique(Mosaic(64, scale=(1, 1))([step] * 4, 0)["image"])) > 4


def test_resampling_of_masks_is_centred():
    """An enlarged or shrunken mask is the one that Pillow makes, pixel by pixel."""
    sample = white_rectangle(40, 60, 0, 0, 60, 40)
    mask = sample["mask"] = np.random.default_rng(0).integers(0, 20, (40, 60), dtype=np.uint8)
    sample["objects"]["masks"] = mask[None] % 2
    for size in (100, 370):
        done = Mosaic(size, scale=(0.25, 0.25))([sample] * 4, 0)
        left, top, right, bottom = extent(done["mask"] != VOID).astype(int)
        small = Image.fromarray(mask).resize(((right - left) // 2, (bottom - top) // 2), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(done["mask"][top:bottom, left:right], np.tile(np.asarray(small), (2, 2)))
        np.testing.assert_array_equal(done["objects"]["masks"].max(0), done["mask"] % 2 * (done["mask"] != VOID))


def test_the_point_and_the_scales_cover_their_ranges():
    shape, points, sides = (40, 80), set(), set()
    for seed in range(200):
        done = Mosaic(100, scale=(0.1, 0.25))(numbered([white_rectangle(*shape, 0, 0, 80, 40) for _ in range(4)]), seed)
        for box in covered(done):  # a quarter is at least as long as they are
            width, height = box[2:] - box[:2]
            assert abs(width - 2 * height) <= 1
            sides.add(int(width))
        points.add(tuple(covered(done)[0][2:]))
    assert sides == set(range(10, 26))
    assert [min(sum(points, ())), max(sum(points, ()))] == [25, 75]
    assert len(points) > 150


def test_rows_of_objects_are_chosen_together():
    samples = [white_rectangle(60, 60, 5, 5, 55, 55) for _ in range(4)]
    for i, sample in enumerate(samples):
        objects = {key: np.repeat(value, 3, axis=0) for key, value in sample["objects"].items()}
        objects["boxes"][1:] = [[0, 0, 3, 3], [57, 57, 60, 60]]  # at two outer corners
        more = {"crowd": np.arange(3) == 1, "difficult": np.arange(3) == 2, "ids": 10 * i + np.arange(3)}
        numbers = {"area": np.ones(3), "xywh": np.ones((3, 4)), "labels": np.arange(3)}
        sample["objects"] = {**objects, **more, **numbers}
    lengths = set()
    for seed in range(30):
        done = Mosaic(50)(samples, seed)["objects"]
        assert done.keys() == samples[0]["objects"].keys() - {"area", "xywh"}
        assert {len(value) for value in done.values()} == {len(done["ids"])}
        np.testing.assert_array_equal(done["labels"], done["ids"] % 10)
        np.testing.assert_array_equal(done["crowd"], done["ids"] % 10 == 1)
        np.testing.assert_array_equal(done["difficult"], done["ids"] % 10 == 2)
        for key, value in done.items():
            assert value.dtype == samples[0]["objects"][key].dtype
        lengths.add(len(done["ids"]))
    assert len(lengths) > 2
    assert max(lengths) < 12


def test_a_box_beyond_its_image_ends_with_what_is_seen_of_that():
    samples = numbered([white_rectangle(30, 40, 0, 0, 40, 30) for _ in range(4)])
    for sample in samples:
        sample["objects"]["boxes"] += [-9, -9, 9, 9]
    for seed in range(10):
        done = Mosaic(64)(samples, seed)
        np.testing.assert_array_equal(done["objects"]["boxes"], covered(done))


@pytest.mark.parametrize("without", [1, 4])
def test_images_without_objects(without):
    samples = numbered([white_rectangle(50, 60, 0, 0, 60, 50) for _ in range(4)])
    for sample in samples[:without]:
        sample["objects"] = {key: value[:0] for key, value in sample["objects"].items()}
    done = Mosaic(48)(samples, 5)["objects"]
    n = 4 - without
    shapes = {key: value.shape for key, value in done.items()}
    assert shapes == {"boxes": (n, 4), "labels": (n,), "masks": (n, 48, 48), "keypoints": (n, 4, 3)}
    assert done["labels"].tolist() == list(range(without, 4))


def test_samples_stay_as_they_were():
    samples, untouched = ([white_rectangle(50, 60, 10, 10, 55, 30)] * 4 for _ in range(2))
    assert Mosaic(48)(samples, 0).keys() == samples[0].keys()
    assert pickle.dumps(samples) == pickle.dumps(untouched)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(count=st.integers(1, 200), seed=SEEDS, data=st.data())
def test_others_are_others(count, seed, data):
    index = data.draw(st.integers(0, count - 1))
    others = Mosaic(64).others(index, count, seed)
    assert len(others) == 3
    assert all(0 <= other < count for other in others)
    assert index not in others or count == 1
    assert len(set(others)) == 3 or count < 4


def test_any_image_may_join():
    assert {other for seed in range(200) for other in Mosaic(64).others(4, 20, seed)} == set(range(20)) - {4}


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_how_often(p):
    share = np.mean([len(Mosaic(64, p).others(0, 9, seed)) == 3 for seed in range(1000)])
    assert share == pytest.approx(p, abs=0.05 * (0 < p < 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 1}, "size must be at least 2 pixels, not 1"),
        ({"p": 1.5}, r"p must lie in \[0, 1\], not 1.5"),
        ({"scale": (0, 1)}, r"scale .* above 0.*\(0, 1\)"),
        ({"scale": [1.5, 0.5]}, r"the smaller first.*\(1.5, 0.5\)"),
        ({"scale": (0.5, float("nan"))}, "nan"),
    ],
)
def test_impossible_arguments_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mosaic(**{"size": 64, **arguments})


@pytest.mark.parametrize("entry", [{"label": 3}, {"labels": np.zeros(5, np.float32)}])
def test_labels_of_whole_images_are_an_error(entry):
    with pytest.raises(ValueError, match=r"mosaic.*no one label"):
        Mosaic(64)([{"image": np.zeros((9, 9, 3), np.uint8), **entry}] * 4, 0)
