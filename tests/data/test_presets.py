import warnings

import albumentations as A
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from PIL import Image

from visionlab.data import presets
from visionlab.data.augmentation import Transform
from visionlab.data.sample import VOID, Sample
from visionlab.data.transforms import SampleAlbumentations

CORNERS = [(0, 1), (2, 3)]  # of a rectangle: left and right above, left and right below
PRESETS = {
    "classification_train": presets.classification_train(48, scale=(0.3, 1.0)),
    "classification_eval": presets.classification_eval(48),
    "localization_train": presets.localization_train(48),
    "localization_eval": presets.localization_eval(48),
    "dense_train": presets.dense_train(64, photometric=0.5),
    "detection_train": presets.detection_train(),
    "large_scale_jitter": presets.large_scale_jitter(64, scale=(0.5, 2.0)),
    "ssd_train": presets.ssd_train(),
    "generation": presets.generation(48),
}
for _preset in PRESETS.values():
    _preset.flip_pairs = CORNERS


def white_rectangle(height: int, width: int, left: int, top: int, right: int, bottom: int) -> Sample:
    """One object on black, with keypoints at its four corners."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[top:bottom, left:right] = 255
    mask = image[..., 0] // 255
    corners = [[left, top, 2], [right, top, 2], [left, bottom, 1], [right, bottom, 1]]
    return {
        "image": image,
        "mask": mask.copy(),
        "objects": {
            "boxes": np.array([[left, top, right, bottom]], dtype=np.float64),
            "labels": np.array([3]),
            "masks": mask[None],
            "keypoints": np.array([corners], dtype=np.float64),
        },
    }


def extent(pixels: np.ndarray) -> np.ndarray:
    """The box around the pixels that are true."""
    y, x = np.nonzero(pixels)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], dtype=np.float64)


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_box_mask_and_keypoints_stay_on_the_object(name, data):
    height, width = data.draw(st.integers(40, 90)), data.draw(st.integers(40, 90))
    left, top = data.draw(st.integers(0, width - 12)), data.draw(st.integers(0, height - 12))
    # at most half of the image, for distorted contrast is relative to the image's mean
    right = data.draw(st.integers(left + 10, min(width, left + 12 + width // 2)))
    bottom = data.draw(st.integers(top + 10, min(height, top + 12 + height // 2)))
    done = PRESETS[name](white_rectangle(height, width, left, top, right, bottom), data.draw(st.integers(0, 2**64 - 1)))

    seen = (done["image"].mean(-1) > 90) & (done["mask"] != VOID)  # colours may be distorted; padding is void
    objects, size = done["objects"], done["image"].shape[1::-1]
    assert done["image"].shape[:2] == done["mask"].shape == objects["masks"].shape[1:]
    if len(objects["boxes"]) == 0:
        if name != "ssd_train" and seen.any():  # SSD drops objects whose centre is outside
            assert (extent(seen)[2:] - extent(seen)[:2]).min() <= 2
        return
    (box,), (mask,), (points,) = objects["boxes"], objects["masks"], objects["keypoints"]
    if (box[2:] - box[:2]).min() < 3:
        return  # a sliver may fall between the pixels
    np.testing.assert_allclose(box, extent(seen), atol=1.01)
    np.testing.assert_allclose(box, extent(mask), atol=1.01)
    np.testing.assert_array_equal(mask, done["mask"] == 1)
    corners = box[[[0, 1], [2, 1], [0, 3], [2, 3]]]
    for point, corner, v in zip(points, corners, [2, 2, 1, 1], strict=True):
        if point[2] > 0:
            assert point[2] == v
            np.testing.assert_allclose(point[:2], corner, atol=1.01)  # sizes are whole, the scale is not
        else:
            assert (point == 0).all()
            assert (corner <= 1.01).any() or (corner >= np.array(size) - 1.01).any()


@pytest.mark.parametrize("name", PRESETS)
def test_an_image_without_objects(name):
    sample = white_rectangle(50, 60, 10, 10, 30, 30)
    sample["objects"] = {key: value[:0] for key, value in sample["objects"].items()}
    done = PRESETS[name](sample, 5)
    height, width = done["image"].shape[:2]
    shapes = {key: value.shape for key, value in done["objects"].items()}
    assert shapes == {"boxes": (0, 4), "labels": (0,), "masks": (0, height, width), "keypoints": (0, 4, 3)}


@pytest.mark.parametrize("name", ["classification_train", "classification_eval", "generation", "localization_eval"])
@pytest.mark.parametrize("shape", [(30, 70, 3), (90, 31, 3), (17, 17, 3)])
def test_square_images_of_the_size_asked(name, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    done = PRESETS[name]({"image": image, "label": 4}, 0)
    assert done["image"].shape == (48, 48, 3)
    assert done["label"] == 4


def test_localization_never_crops_through_an_object():
    transform = PRESETS["localization_train"]
    for seed in range(50):
        done = transform(white_rectangle(90, 70, 40, 10, 60, 80), seed)
        left, top, right, bottom = done["objects"]["boxes"][0]
        assert done["objects"]["masks"][0].sum() == pytest.approx((right - left) * (bottom - top), rel=0.15)
        assert (right - left) / (bottom - top) != pytest.approx(20 / 70, rel=1e-3)  # it was resized to a square


def test_evaluation_is_the_middle_and_takes_no_chance():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    transform = presets.classification_eval(56)  # of a short side of 64: nothing is resized
    for seed in (0, 1):
        np.testing.assert_array_equal(transform({"image": image}, seed)["image"], image[4:60, 20:76])


def test_evaluation_shrinks_with_antialiasing():
    """A pattern finer than the result becomes even grey, as with Pillow; without antialiasing it would not."""
    fine = np.zeros((256, 256, 3), dtype=np.uint8)
    fine[:, ::2] = 255
    small = presets.classification_eval(64, crop_ratio=1.0)({"image": fine}, 0)["image"]
    reference = np.asarray(Image.fromarray(fine).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(small.astype(int) - reference).max() <= 16  # Pillow's triangle reaches past the border of a pixel
    assert np.ptp(small) == 0


def test_large_scale_jitter_covers_its_range():
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    sample = {"image": image, "mask": np.zeros((40, 80), dtype=np.uint8)}
    transform = presets.large_scale_jitter(100, scale=(0.2, 0.6), flip=0)
    widths = set()
    for seed in range(200):
        box = extent(transform(sample, seed)["mask"] == 0)
        assert (box[:2] == 0).all()
        assert abs(box[2] - 2 * box[3]) <= 2  # the aspect ratio stays
        widths.add(int(box[2]))
    assert min(widths) >= 20
    assert max(widths) <= 60
    assert len(widths) > 30


def test_photometric_distortion_moves_nothing():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    sample = white_rectangle(32, 32, 4, 4, 20, 20)
    sample["image"] = image
    distort = SampleAlbumentations(presets.photometric_distortion(1.0))
    done = [distort(sample, seed) for seed in range(10)]
    assert len({each["image"].tobytes() for each in done}) == 10
    for each in done:
        np.testing.assert_allclose(each["objects"]["boxes"], sample["objects"]["boxes"], atol=1e-4)
        np.testing.assert_array_equal(each["objects"]["masks"], sample["objects"]["masks"])
    unchanged = SampleAlbumentations(presets.photometric_distortion(0.0))
    np.testing.assert_array_equal(unchanged(sample, 0)["image"], image)


def test_impossible_crop_ratio_is_an_error():
    with pytest.raises(ValueError, match=r"crop_ratio.*1\.5"):
        presets.classification_eval(224, crop_ratio=1.5)


class Holder:
    def __init__(self, transform: Transform | None = None) -> None:
        self.transform = transform


@pytest.mark.parametrize(
    "recipe",
    [
        "{class_path: visionlab.data.presets.classification_train, init_args: {size: 224, scale: [0.2, 1.0]}}",
        "{class_path: visionlab.data.presets.large_scale_jitter, init_args: {size: 64, flip_pairs: [[1, 2]]}}",
        "{class_path: visionlab.data.presets.ssd_train}",
        """{class_path: visionlab.data.transforms.SampleAlbumentations, init_args: {transforms: [
             {class_path: visionlab.data.crops.ZoomOut, init_args: {fill: [124, 116, 104]}},
             {class_path: albumentations.OneOf, init_args: {transforms: [{class_path: albumentations.Blur},
               {class_path: albumentations.RandomResizedCrop, init_args: {size: [10, 10]}}]}}]}}""",
    ],
)
def test_a_recipe_names_presets_and_pipelines_and_survives_its_dump(recipe, tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(Holder, "data")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*a tuple is serialized as list")
        dumped = parser.dump(parser.parse_args([f"--data={__name__}.Holder", f"--data.transform={recipe}"]))
        (tmp_path / "recipe.yaml").write_text(dumped)
        again = parser.parse_args(["--config", str(tmp_path / "recipe.yaml")])
        assert parser.dump(again) == dumped
    transform = parser.instantiate(again).data.transform
    assert isinstance(transform, SampleAlbumentations)
    sample = white_rectangle(30, 40, 5, 5, 20, 20)
    del sample["objects"]["keypoints"]
    assert transform(sample, 0)["image"].dtype == np.uint8


def test_resampling_of_masks_is_centred():
    """An enlarged or shrunken mask is the one that Pillow makes, pixel by pixel."""
    mask = np.random.default_rng(0).integers(0, 20, (40, 60), dtype=np.uint8)
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    for size in (13, 90):
        resize = SampleAlbumentations([A.SmallestMaxSize(size, mask_interpolation=6)])
        done = resize({"image": image, "mask": mask}, 0)["mask"]
        reference = Image.fromarray(mask).resize(done.shape[::-1], Image.Resampling.NEAREST)
        np.testing.assert_array_equal(done, np.asarray(reference))
