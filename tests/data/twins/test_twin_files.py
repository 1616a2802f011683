import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from visionlab.data.twins.files import (
    voc_colours,
    write_cmyk_jpeg,
    write_jpeg,
    write_mask_png,
    write_palette_png,
    write_png,
)


@pytest.fixture
def picture():
    """Smooth, so that JPEG keeps it, and different in every quarter."""
    y, x = np.mgrid[:48, :64]
    return np.stack([4 * x, 5 * y, 255 - 2 * x - 2 * y], axis=-1).astype(np.uint8)


def far(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


def test_same_pixels_give_the_same_bytes(tmp_path, picture):
    for i in range(2):
        write_jpeg(tmp_path / f"a{i}.jpg", picture, progressive=True, orientation=6)
        write_cmyk_jpeg(tmp_path / f"b{i}.jpg", picture)
        write_palette_png(tmp_path / f"c{i}.png", picture[..., 0])
        write_mask_png(tmp_path / f"d{i}.png", picture[..., 0] > 99, bits=1)
    for letter in ("a", "b"):
        assert (tmp_path / f"{letter}0.jpg").read_bytes() == (tmp_path / f"{letter}1.jpg").read_bytes()
    for letter in ("c", "d"):
        assert (tmp_path / f"{letter}0.png").read_bytes() == (tmp_path / f"{letter}1.png").read_bytes()


@pytest.mark.parametrize("progressive", [False, True])
def test_writes_colour_jpegs(tmp_path, picture, progressive):
    path = tmp_path / "a.jpg"
    write_jpeg(path, picture, quality=95, progressive=progressive)
    image = Image.open(path)
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 48))
    assert bool(image.info.get("progressive", False)) == progressive
    assert len(image.getexif()) == 0
    assert far(np.asarray(image), picture) < 3
    assert far(cv2.imread(str(path))[..., ::-1], picture) < 3


def test_lower_quality_is_smaller(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    for quality in (20, 90):
        write_jpeg(tmp_path / f"{quality}.jpg", noise, quality=quality)
    assert (tmp_path / "20.jpg").stat().st_size < 0.5 * (tmp_path / "90.jpg").stat().st_size


def test_writes_greyscale_jpegs(tmp_path, picture):
    path = tmp_path / "a.jpg"
    write_jpeg(path, picture[..., 1])
    assert Image.open(path).mode == "L"
    assert far(np.asarray(Image.open(path)), picture[..., 1]) < 2
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2


def test_writes_cmyk_jpegs_as_adobe_does(tmp_path, picture):
    path = tmp_path / "a.jpg"
    write_cmyk_jpeg(path, picture, quality=95)
    image = Image.open(path)
    assert image.mode == "CMYK"
    assert "adobe" in image.info
    assert far(np.asarray(image.convert("RGB")), picture) < 3
    assert far(cv2.imread(str(path))[..., ::-1], picture) < 3  # which takes values for inverted where Adobe wrote them


def test_writes_an_orientation_beside_the_pixels(tmp_path, picture):
    path = tmp_path / "a.jpg"
    write_jpeg(path, picture, quality=95, orientation=6)
    image = Image.open(path)
    assert image.getexif()[0x0112] == 6
    assert far(np.asarray(image), picture) < 3
    turned = np.rot90(picture, -1)  # a quarter turn clockwise
    assert far(np.asarray(ImageOps.exif_transpose(image)), turned) < 3
    assert far(cv2.imread(str(path))[..., ::-1], turned) < 3
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert far(stored[..., ::-1], picture) < 3


def test_names_a_png_as_one_likes(tmp_path, picture):
    path = tmp_path / "n02105855_2933.JPEG"
    write_png(path, picture)
    assert Image.open(path).format == "PNG"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)


def test_writes_class_maps(tmp_path):
    classes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_png(tmp_path / "a.png", classes)
    assert Image.open(tmp_path / "a.png").mode == "L"
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), classes)


def test_writes_labels_in_vocs_palette(tmp_path):
    labels = np.array([[0, 1, 20], [255, 15, 0]], np.uint8)
    path = tmp_path / "a.png"
    write_palette_png(path, labels)
    image = Image.open(path)
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), labels)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), voc_colours()[labels])


def test_vocs_colours_are_those_of_the_development_kit():
    def bit(value, place):
        return bool(value & (1 << place))

    expected = []
    for i in range(256):  # VOClabelcolormap.m, line by line
        identifier, red, green, blue = i, 0, 0, 0
        for j in range(8):
            red |= bit(identifier, 0) << (7 - j)
            green |= bit(identifier, 1) << (7 - j)
            blue |= bit(identifier, 2) << (7 - j)
            identifier >>= 3
        expected.append((red, green, blue))
    np.testing.assert_array_equal(voc_colours(), expected)
    assert voc_colours()[[1, 15, 20, 255]].tolist() == [[128, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]


def test_the_palette_is_that_of_the_official_masks(shared_data):
    mask = Image.open(sorted((shared_data / "voc").rglob("SegmentationClass/*.png"))[0])
    palette = np.array(mask.getpalette(), np.uint8).reshape(-1, 3)
    np.testing.assert_array_equal(palette, voc_colours()[: len(palette)])


@pytest.mark.parametrize(("bits", "mode"), [(1, "1"), (8, "L")])
def test_writes_masks(tmp_path, bits, mode):
    mask = np.random.default_rng(0).uniform(size=(9, 13)) < 0.5
    path = tmp_path / "a.png"
    write_mask_png(path, mask, bits=bits)
    assert Image.open(path).mode == mode
    np.testing.assert_array_equal(np.asarray(Image.open(path)) > 0, mask)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.where(mask, 255, 0))


def test_other_depths_of_masks_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="bits=4, but a mask has 1 or 8"):
        write_mask_png(tmp_path / "a.png", np.ones((2, 2), bool), bits=4)
