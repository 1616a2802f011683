import numpy as np
import pytest
from PIL import Image

from visionlab.data.images import read_image, resized


@pytest.fixture
def photo(tmp_path):
    """A picture of 20 x 30 pixels whose colours are known."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path, pixels


def test_reads_what_is_stored(photo):
    path, pixels = photo
    np.testing.assert_array_equal(read_image(path, 3), pixels)
    grey = read_image(path, 1)
    assert grey.shape == (20, 30, 1)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_converts_other_modes(tmp_path, mode, channels):
    grey = np.full((8, 9), 200, dtype=np.uint8)
    grey[:, 4:] = 40
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(grey).convert("RGB").convert(mode, palette=Image.Palette.ADAPTIVE)
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    pixels = read_image(path, channels)
    assert pixels.shape == (8, 9, channels)
    assert np.abs(pixels.astype(int) - grey[..., None]).max() <= 2


def test_ignores_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg", 3).shape == (20, 40, 3)


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_cut_image_is_named(tmp_path, kind):
    path = tmp_path / f"cut.{kind}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"cut.{kind} is not a whole image"):
        read_image(path, 3)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "page.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"page.png is not a whole image"):
        read_image(path, 3)


def test_a_bomb_is_not_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"bomb.png"):
        read_image(path, 3)


def test_a_missing_image_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.png"):
        read_image(tmp_path / "none.png", 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_resizes_between_pixel_centres(channels):
    """A ramp stays a ramp: the value at a place is linear in the place, away from the borders."""
    ramp = np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], 8, axis=0).repeat(channels, axis=2)
    big = resized(ramp, 32, 32)
    assert big.shape == (32, 32, channels)
    places = (np.arange(32) + 0.5) / 4 - 0.5
    inside = slice(2, -2)
    expected = 10 * places[inside]
    assert np.abs(big[:, inside].astype(float) - expected[None, :, None]).max() <= 0.51
