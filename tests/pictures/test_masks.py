import numpy as np
import pytest
from PIL import ImageDraw

from visionlab.pictures.colours import BLUE, ORANGE, PAPER
from visionlab.pictures.masks import semantic
from visionlab.pictures.palette import class_colour


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def halves(height, width, left, right):
    mask = np.full((height, width), left, np.uint8)
    mask[:, width // 2 :] = right
    return mask


def draw(image, mask, classes, **options):
    return np.asarray(semantic(image, mask, classes, side=max(image.shape), **options))


def test_each_class_is_tinted_by_its_colour_and_no_other():
    image = noise(100, 160)
    picture = draw(image, halves(100, 160, 0, 2), ["sky", "sea", "sand"], colours=[BLUE, None, ORANGE])
    for part, colour in ((np.s_[:100, :79], BLUE), (np.s_[:100, 81:160], ORANGE)):
        assert np.abs(picture[part] - (0.55 * image[part] + 0.45 * np.array(colour))).max() <= 0.5
    assert (picture[:100, 79] == BLUE).all()  # the edges between classes are opaque
    assert (picture[:100, 80] == ORANGE).all()


def test_a_class_without_a_colour_stays_as_it_is():
    image = noise(100, 160)
    picture = draw(image, halves(100, 160, 0, 1), ["background", "sea"], colours=[None, BLUE])
    assert (picture[:100, :80] == image[:, :80]).all()
    assert (picture[:100, 80:] != image[:, 80:]).any(axis=-1).mean() > 0.95


def test_void_is_hatched_in_grey():
    image = np.full((100, 160, 3), (250, 0, 0), np.uint8)
    picture = draw(image, halves(100, 160, 255, 0), ["sky"], colours=[None])
    assert (picture[:100, 80:] == image[:, 80:]).all()
    shades = np.unique(picture[:100, :80].reshape(-1, 3), axis=0)
    assert len(shades) == 2
    assert {tuple(np.diff(shade[1:].astype(int))) for shade in shades} == {(0,)}
    for line in (picture[0, :80, 1], picture[:100, 0, 1]):
        assert (np.flatnonzero(np.diff(line.astype(int))) % 4 == 3).all()
    seven = draw(image, halves(100, 160, 7, 0), ["sky"], colours=[None], void=7)
    assert (seven == picture).all()


def test_the_legend_has_the_classes_that_are_there(monkeypatch):
    drawn = []
    text = ImageDraw.ImageDraw.text

    def note(self, xy, text_, *rest, **options):
        drawn.append(text_)
        return text(self, xy, text_, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    mask = halves(60, 300, 0, 2)
    mask[0, 0] = 255
    picture = draw(noise(60, 300), mask, ["sky", "sea", "sand"])
    assert drawn == ["sky", "sand", "void"]
    legend = picture[60:]
    for label, there in ((0, True), (1, False), (2, True)):
        assert ((legend == class_colour(label)).all(axis=-1).sum() == 100) == there  # 12 x 12 with an outline


def test_a_legend_of_many_classes_has_several_lines():
    mask = np.arange(40, dtype=np.uint8).repeat(8)[None].repeat(30, axis=0)
    few = draw(noise(30, 320), mask // 20, [f"class number {i}" for i in range(40)])
    many = draw(noise(30, 320), mask, [f"class number {i}" for i in range(40)])
    assert few.shape[1] == many.shape[1] == 320
    assert many.shape[0] > few.shape[0] + 100
    assert (many[30:, 318:] == PAPER).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2), (480, 640)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("label", [0, 1, 255])
def test_any_size(shape, channels, label):
    picture = semantic(noise(*shape, channels), np.full(shape, label, np.uint8), ["a", "b" * 500], side=256)
    assert picture.mode == "RGB"
    assert 128 <= picture.width <= 256
    assert picture.height <= 256 + 30


def test_coordinates_grow_with_small_images():
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 5:7] = 1
    picture = np.asarray(semantic(np.zeros((8, 8, 1), np.uint8), mask, ["a", "b"], [None, BLUE], side=160))
    inside = np.zeros((160, 160), bool)
    inside[40:80, 100:140] = True
    assert (picture[:160].any(axis=-1) == inside).all()


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.zeros((4, 5), np.uint8), {}, r"an image \(5, 4\) must be uint8 of that shape, not uint8 \(4, 5\)"),
        (np.zeros((5, 4)), {}, r"must be uint8 of that shape, not float64 \(5, 4\)"),
        (np.full((5, 4), 2, np.uint8), {}, "the mask has a class 2, but there are 2"),
        (np.zeros((5, 4), np.uint8), {"colours": [BLUE]}, "2 classes need as many colours, not 1"),
    ],
)
def test_mistakes_are_named(mask, options, message):
    with pytest.raises(ValueError, match=message):
        semantic(noise(5, 4), mask, ["a", "b"], **options)
