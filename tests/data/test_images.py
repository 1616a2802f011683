import os
import resource
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import in_child, wait_for
from image_files import HOSTILE, SIDE, chunk, cut, encoded, flipped, png
from visionlab.data.headers import MAX_PIXELS, TruncatedImageError
from visionlab.data.images import MAX_BYTES, image_size, read_image, read_mask, resized


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


WHOLE = {
    "baseline": encoded("JPEG"),
    "full colour": encoded("JPEG", quality=95, subsampling=0),
    "progressive": encoded("JPEG", progressive=True),
    "restarts": encoded("JPEG", restart_marker_blocks=2),
    "grey jpeg": encoded("JPEG", "L"),
    "cmyk": encoded("JPEG", "CMYK"),
    "jpeg in RGB": encoded("JPEG", keep_rgb=True),
    "comment": encoded("JPEG", comment=b"\xff\xd9 \xff\xc0 \xff\xda" * 1000),
    "broken exif": encoded("JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + bytes(range(256)) * 16),
    "largest exif": encoded("JPEG", exif=b"Exif\0\0" + bytes(65_000)),
    "long profile": encoded("JPEG", icc_profile=bytes(200_000)),  # the size stands behind the first 64 KiB
    "after the end": encoded("JPEG") + b"SEFT" + bytes(5000),
    "filled before a marker": encoded("JPEG").replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1),
    "png": encoded("PNG"),
    "palette": encoded("PNG", "P"),
    "transparent palette": encoded("PNG", "P", transparency=bytes(range(256))),
    "transparent": encoded("PNG", "RGBA"),
    "one colour is transparent": encoded("PNG", transparency=(1, 2, 3)),
    "one bit": encoded("PNG", "1"),
    "after the last chunk": encoded("PNG") + b"more",
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
    "ppm": encoded("PPM"),
    "pgm": encoded("PPM", "L"),
    "tiff": encoded("TIFF"),
    "packed tiff": encoded("TIFF", compression="tiff_lzw"),
    "webp": encoded("WEBP", lossless=True),
    "lossy webp": encoded("WEBP"),
    "webp with a profile": encoded("WEBP", icc_profile=b"profile"),
}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency", "ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", WHOLE)
def test_reads_the_pixels_that_pillow_reads(tmp_path, name):
    """Whatever the file is called. OpenCV and Pillow bring a libjpeg-turbo each; both decode by its exact integer
    transform and agree to the bit (620 photographs did too). Two grey levels are allowed, for a release may
    round its upsampling of colours otherwise.
    """
    path = tmp_path / "image.dat"
    path.write_bytes(WHOLE[name])
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    pixels = read_image(path, 3)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape == (*image_size(path), 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_reads_the_narrowest(tmp_path, shape, form):
    path = tmp_path / "line"
    Image.new("RGB", shape[::-1], (200, 100, 50)).save(path, form)
    assert image_size(path) == shape
    assert np.abs(read_image(path, 3).reshape(-1, 3) - [200.0, 100, 50]).max() <= 3


def test_sixteen_bits_are_scaled(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", 3), np.rint(deep / 257))


def test_ignores_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("jpg", "png", "webp"):
        path = tmp_path / f"turned.{kind}"
        Image.new("RGB", (40, 20)).save(path, exif=exif)
        assert read_image(path, 3).shape == (20, 40, 3)
        assert image_size(path) == (20, 40)


def test_the_real_samples_read_as_by_pillow(shared_data):
    """Some of each kind: photographs, greyscale JPEGs, palettes."""
    folders = ("coco/val2017", "imagenet/one_per_class", "voc", "camvid/CamVid_480x360", "openimages/images")
    paths = [p for folder in folders for p in sorted((shared_data / folder).rglob("*")) if p.suffix.lower() != ".xml"]
    images = [path for path in paths if path.suffix.lower() in (".jpg", ".jpeg", ".png")][::6]
    assert len(images) > 40
    for path in images:
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        assert np.abs(read_image(path, 3).astype(int) - expected).max() <= 2, path


# --- what must not be read


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_whole_image_is_refused_in_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name]())
    start = time.process_time()
    with pytest.raises(ValueError, match=r"is not (a whole image|read)") as caught:
        read_image(path, 3)
    assert time.process_time() - start < 5
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 200
    if name.startswith("cut-"):
        assert isinstance(caught.value, TruncatedImageError)


CUT = ["baseline", "progressive", "cmyk", "png", "palette", "gif", "bmp", "ppm", "packed tiff", "webp", "lossy webp"]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File Read")
@pytest.mark.parametrize("name", CUT)
def test_no_file_is_read_that_ends_early(tmp_path, name):
    """Wherever it ends. (A GIF's last two bytes say only that nothing follows its pixels.)"""
    whole = WHOLE[name]
    least = 3 if name == "gif" else 1
    path = tmp_path / "image.dat"
    for length in np.linspace(1, len(whole) - least, 30).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"image.dat is not a whole image"):
            read_image(path, 3)


def test_the_hostile_take_little_memory(tmp_path):
    """All of them, read by one process. A child of its own, whose peak it is."""

    def read_all() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in HOSTILE:
            path = tmp_path / name
            try:
                read_image(path, 3)
                image_size(path)
            except ValueError:
                pass
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 500_000)  # kilobytes

    for name, content in HOSTILE.items():
        (tmp_path / name).write_bytes(content())
    assert wait_for(in_child(read_all)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("largest.jpg", "CMYK", {"progressive": True, "subsampling": 0}),
        ("largest.tif", "CMYK", {"compression": "tiff_lzw"}),
        ("largest.webp", "RGB", {"lossless": True, "method": 0}),
        ("largest.gif", "P", {}),
        ("largest.png", "I;16", {}),
    ],
)
def test_the_largest_image_decodes_within_a_gigabyte(tmp_path, name, mode, options):
    path = tmp_path / name
    side = int(MAX_PIXELS**0.5)
    Image.new(mode, (side, side)).save(path, **options)

    def read() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert read_image(path, 3).shape == (side, side, 3)
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 1_000_000)

    assert wait_for(in_child(read)) == 0


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    for name in ("folder.jpg", "pipe.jpg", "device.jpg"):
        with pytest.raises(ValueError, match=f"{name} is not a file"):
            read_image(tmp_path / name, 3)
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.write(encoded("JPEG"))
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ValueError, match=r"sparse.jpg is not read: it has 268,435,457 bytes"):
        read_image(tmp_path / "sparse.jpg", 3)


@pytest.mark.parametrize("read", [lambda path: read_image(path, 3), image_size, read_mask])
def test_a_missing_image_is_missing(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"none.png"):
        read(tmp_path / "none.png")


@pytest.mark.parametrize("name", ["bomb.png", "bomb.jpg", "bomb.tif", "bomb.webp", "text.jpg", "cut-in-header.jpg"])
def test_sizes_are_checked_too(tmp_path, name):
    (tmp_path / name).write_bytes(HOSTILE[name]())
    with pytest.raises(ValueError, match=name):
        image_size(tmp_path / name)


# --- masks


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_gives_its_indices(tmp_path, bits):
    labels = np.random.default_rng(0).integers(0, 2**bits, (13, 21), dtype=np.uint8)
    image = Image.fromarray(labels)
    image.putpalette(np.random.default_rng(1).bytes(3 * 2**bits))
    image.save(tmp_path / "mask.png", bits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), labels)


def test_grey_gives_its_values(tmp_path):
    labels = np.random.default_rng(0).integers(0, 256, (13, 21), dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), labels)
    Image.fromarray(labels > 100).save(tmp_path / "binary.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "binary.png"), labels > 100)


def test_an_interlaced_mask_is_read(tmp_path):
    """All samples are 7, so that the order of the passes does not matter; their number does."""
    sizes = [(2, 3), (2, 2), (2, 5), (4, 4), (3, 9), (7, 9), (6, 18)]  # rows and columns of the passes of 13 x 18
    rows = b"".join((b"\0" + b"\7" * columns) * count for count, columns in sizes)
    (tmp_path / "mask.png").write_bytes(png(18, 13, 8, 0, rows, interlaced=1))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), np.full((13, 18), 7))
    (tmp_path / "short.png").write_bytes(png(18, 13, 8, 0, rows[:-1], interlaced=1))
    with pytest.raises(TruncatedImageError, match=r"short.png is not a whole image: rows are missing"):
        read_mask(tmp_path / "short.png")


NO_MASKS = {
    "rgb.png": (encoded("PNG"), "RGB with 8 bits"),
    "rgba.png": (encoded("PNG", "RGBA"), "RGBA with 8 bits"),
    "deep.png": (png(2, 2, 16, 0, bytes(10)), "grey with 16 bits"),
    "nibbles.png": (png(2, 2, 4, 0, bytes(4)), "grey with 4 bits"),
    "lossy.jpg": (encoded("JPEG", "L"), "is a JPEG"),
    "cut.png": (cut("PNG", 0.8, "L"), "ends before its last chunk"),
    "short.png": (png(9, 9, 8, 0, bytes(89)), "rows are missing"),  # Pillow reads zeros
    "damaged.png": (flipped(encoded("PNG", "L")), "wrong checksum"),
    "no-stream.png": (encoded("PNG", "L")[:33] + chunk(b"IDAT", b"none") + chunk(b"IEND", b""), "incorrect header"),
    "bomb.png": (png(SIDE, SIDE, 8, 0, bytes(1000)), "50000 x 50000"),
    "text.png": (b"no picture", "none of"),
}


@pytest.mark.parametrize("name", NO_MASKS)
def test_what_is_no_mask_is_named(tmp_path, name):
    content, reason = NO_MASKS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        read_mask(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_the_real_masks_read_as_by_pillow(shared_data):
    masks = sorted((shared_data / "voc").rglob("SegmentationClass/*.png"))[:20]
    masks += sorted((shared_data / "camvid").rglob("*annot/*.png"))[:20]
    assert len(masks) == 40
    for path in masks:
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_mask(path), np.asarray(image), err_msg=str(path))


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
