import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from visionlab.pictures.colours import RIGHT, WRONG
from visionlab.pictures.grids import grid


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def places(sheet, image):
    """The (y, x) at which an image is in a sheet, pixel for pixel."""
    sheet, image = np.asarray(sheet), np.broadcast_to(image, (*image.shape[:2], 3))
    height, width = image.shape[:2]
    found = []
    for y in range(len(sheet) - height + 1):
        row, x = sheet[y].tobytes(), -1
        while (x := row.find(image[0].tobytes(), x + 1)) >= 0:
            if x % 3 == 0 and (sheet[y : y + height, x // 3 : x // 3 + width] == image).all():
                found.append((y, x // 3))
    return found


def enlarged(image, factor):
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "factor"), [(8, 16), (28, 4), (32, 4), (64, 2), (96, 1), (128, 1)])
def test_small_images_are_enlarged_by_whole_factors(side, factor, channels):
    images = [noise(side, side, channels, seed) for seed in range(3)]
    sheet = grid(images, captions=["a", "b", "c"], colours=[RIGHT, None, WRONG], title="t")
    at = [places(sheet, enlarged(image, factor)) for image in images]
    assert [len(found) for found in at] == [1, 1, 1]
    (one,), (two,), (three,) = at
    assert one[0] == two[0] == three[0]
    assert one[1] < two[1] < three[1]


def test_images_run_in_rows():
    images = [noise(8, 8, seed=seed) for seed in range(7)]
    sheet = grid(images, columns=3)
    (ys, xs) = np.array([places(sheet, enlarged(image, 16))[0] for image in images]).T
    assert len(set(ys)) == len(set(xs)) == 3
    assert sorted(zip(ys, xs, strict=True)) == list(zip(ys, xs, strict=True))


def test_frames_have_their_colours():
    images = [noise(32, 20), noise(10, 32, seed=1), noise(32, 32, seed=2)]
    sheet = grid(images, colours=[WRONG, RIGHT, None])
    pixels = np.asarray(sheet)
    for image, factor, colour in zip(images, (4, 4, 4), (WRONG, RIGHT, (255, 255, 255)), strict=True):
        ((y, x),) = places(sheet, enlarged(image, factor))
        bottom, right = y + image.shape[0] * factor, x + image.shape[1] * factor
        for thickness in (1, 4):
            around = [pixels[y - thickness, x:right], pixels[bottom + thickness - 1, x:right]]
            around += [pixels[y:bottom, x - thickness], pixels[y:bottom, right + thickness - 1]]
            assert all((edge == colour).all() for edge in around)


def test_large_images_are_reduced_with_antialiasing():
    checkers = np.indices((512, 256)).sum(axis=0) % 2 * 255
    sheet = np.asarray(grid([np.repeat(checkers[:, :, None], 3, axis=2).astype(np.uint8)]))
    inside = sheet[20:130, 48:96]
    assert np.abs(inside.astype(int) - 127).max() <= 2  # black and white mix to grey; picking pixels would not
    assert max(sheet.shape) < 200


def test_images_of_different_sizes():
    images = [
        noise(8, 8),
        noise(300, 200, seed=1),
        noise(1, 1, seed=2),
        noise(2, 3000, seed=3),
        noise(40, 30, 1, seed=4),
    ]
    sheet = grid(images, captions=["x"] * 5, columns=2)
    assert places(sheet, enlarged(images[0], 16))
    assert places(sheet, enlarged(images[2], 128))
    assert places(sheet, enlarged(images[4], 3))
    assert sheet.mode == "RGB"


def test_real_digits():
    images = (load_digits().images[:10] * 15).astype(np.uint8)[:, :, :, None]
    sheet = grid(list(images), columns=5)
    assert all(places(sheet, enlarged(image, 16)) for image in images)


def test_captions_stay_inside_their_cells():
    blank = np.full((32, 32, 3), 255, dtype=np.uint8)
    bare = np.asarray(grid([blank] * 3, captions=["", "", ""]))
    sheet = np.asarray(grid([blank] * 3, captions=["", "a very long caption that has no end " * 9, ""]))
    assert sheet.shape == bare.shape
    inked = np.nonzero((sheet != bare).any(axis=(0, 2)))[0]
    cell = (sheet.shape[1] - 12) / 3
    assert cell <= inked.min()
    assert inked.max() < 2 * cell + 12


@pytest.mark.parametrize("caption", ["cat", "Füchslein", "Ελληνικά", "猫", "🐸", "العربية", "a\tb\x00", "$x^2$ <&>"])
def test_captions_of_any_script_are_drawn(caption):
    blank = np.full((32, 32, 3), 255, dtype=np.uint8)
    assert np.asarray(grid([blank], captions=[caption])).min() < 100


def test_each_line_of_a_caption_is_drawn():
    image = noise(32, 32)
    one, two = grid([image] * 2, captions=["a", "b"]), grid([image] * 2, captions=["a", "b\nc"])
    assert two.height > one.height
    assert two.width == one.width
    below = np.asarray(two)[one.height - 5 :]
    assert below[:, : two.width // 2].min() > 200
    assert below[:, two.width // 2 :].min() < 100


def test_a_title_widens_the_sheet_within_bounds():
    image = noise(8, 8)
    bare, short, long = (grid([image], title=title) for title in ("", "one image and its title", "long " * 1000))
    assert bare.height < short.height == long.height
    assert bare.width < short.width < long.width < 1000


def test_equal_arguments_give_equal_pictures():
    images = [noise(32, 32, seed=seed) for seed in range(4)]
    assert grid(images, ["a"] * 4).tobytes() == grid(images, ["a"] * 4).tobytes()
    assert isinstance(grid(images), Image.Image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": []}, "at least one"),
        ({"images": [np.zeros((4, 4, 3), np.float32)]}, "uint8"),
        ({"images": [np.zeros((4, 4), np.uint8)]}, r"\(4, 4\)"),
        ({"images": [np.zeros((4, 4, 4), np.uint8)]}, r"\(4, 4, 4\)"),
        ({"images": [np.zeros((0, 4, 3), np.uint8)]}, r"\(0, 4, 3\)"),
        ({"images": [noise(4, 4)], "captions": []}, "as many captions, not 0"),
        ({"images": [noise(4, 4)], "colours": [RIGHT, WRONG]}, "as many colours, not 2"),
        ({"images": [noise(4, 4)], "columns": 0}, "columns"),
    ],
)
def test_what_does_not_fit_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        grid(**arguments)
