import numpy as np
import pytest
from PIL import Image

from visionlab.pictures.colours import BLACK, BLUE, ORANGE, SKY_BLUE
from visionlab.pictures.objects import objects

NONE = np.zeros((0, 4))


def flat(height, width, value=200, channels=3):
    return np.full((height, width, channels), value, np.uint8)


def where(picture, colour):
    """The rows and columns of the pixels of a colour, as a mask."""
    return (np.asarray(picture) == colour).all(axis=-1)


def bounds(mask):
    """Left, top, right, bottom between pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def draw(image, boxes, **options):
    return np.asarray(objects(image, np.array(boxes, float).reshape(-1, 4), side=max(image.shape), **options))


def test_a_box_is_a_frame_inside_its_edges():
    picture = draw(flat(100, 120), [[10, 20, 61, 70]], colours=[BLUE])
    frame = np.zeros((100, 120), bool)
    frame[20:70, 10:61] = True
    frame[22:68, 12:59] = False
    assert (where(picture, BLUE) == frame).all()
    black = np.zeros((100, 120), bool)
    black[22:68, 12:59] = True
    black[23:67, 13:58] = False
    assert (where(picture, BLACK) == black).all()
    assert (picture[~frame & ~black] == 200).all()


def test_a_box_around_the_image_is_seen_whole():
    picture = draw(flat(50, 60), [[0, 0, 60, 50]], colours=[BLUE])
    assert bounds(where(picture, BLUE)) == (0, 0, 60, 50)


@pytest.mark.parametrize("box", [[-30.5, 10, 40, 1e9], [-np.inf, 10, 40, np.inf]])
def test_edges_outside_the_image_are_not_drawn(box):
    blue = where(draw(flat(50, 60), [box], colours=[BLUE]), BLUE)
    assert bounds(blue) == (0, 10, 40, 50)
    assert not blue[13:, :38].any()


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        *(([10, 10, 10, 10], 1), ([9.8, 9.9, 10.2, 10.3], 1), ([19.7, 19.7, 20, 20], 1), ([3, 4, 3, 9], 5)),
        *(([30, 30, 40, 40], 0), ([-9, -9, 0, 0], 0), ([np.nan, 1, 9, 9], 0)),
    ],
)
def test_a_box_without_a_pixel_is_a_dot_or_a_line_where_it_can_be_seen(box, pixels):
    picture = draw(flat(20, 20), [box], colours=[BLUE])
    assert where(picture, BLUE).sum() == pixels
    assert (picture == 200).all(axis=-1).sum() == 400 - pixels


def test_crowds_are_dashed_and_difficult_ones_thin():
    boxes, off, on = [[10, 10, 90, 60]], np.array([False]), np.array([True])
    usual, dashed, thin = (
        where(draw(flat(100, 120), boxes, colours=[BLUE], dashed=d, thin=t), BLUE)
        for d, t in ((off, off), (on, off), (off, on))
    )
    assert bounds(usual) == bounds(dashed) == bounds(thin) == (10, 10, 90, 60)
    assert thin.sum() == 2 * 80 + 2 * 48
    assert not (dashed & ~usual).any()
    assert 0.5 < dashed.sum() / usual.sum() < 0.75
    for line in (dashed[10, 10:90], dashed[10:60, 10], dashed[59, 10:90], dashed[10:60, 89]):
        assert np.diff(line.astype(int)).tolist().count(-1) >= 4  # the ends of dashes


@pytest.mark.parametrize("box", [[40, 40, 80, 80], [0, 0, 30, 99], [110, 90, 120, 100], [119, 0, 120, 1]])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_tag_lies_inside_the_image_and_can_be_read(box, value):
    bare = draw(flat(100, 120, value), [box], colours=[ORANGE])
    picture = draw(flat(100, 120, value), [box], colours=[ORANGE], captions=["giraffe 93%"])
    left, top, right, bottom = bounds((picture != bare).any(axis=-1))
    assert (right - left, bottom - top) == pytest.approx((68, 14), abs=8)
    tag = picture[top:bottom, left:right]
    ground = (tag == ORANGE).all(axis=-1)
    assert ground.mean() > 0.5
    assert tag[~ground].astype(int).sum(axis=-1).min() < 60  # letters, black on orange


def test_letters_are_white_on_dark_colours():
    picture = draw(flat(60, 60), [[0, 20, 60, 60]], colours=[(60, 0, 90)], captions=["dog"])
    assert picture[6:20].astype(int).sum(axis=-1).max() > 700


def test_tags_lie_over_all_boxes():
    tag = where(draw(flat(100, 100), [[20, 50, 90, 90]], colours=[BLUE], captions=["whale"]), BLUE)
    boxes = [[20, 50, 90, 90], [25, 30, 50, 48]]  # the smaller one would be drawn over the tag
    both = where(draw(flat(100, 100), boxes, colours=[BLUE, ORANGE], captions=["whale", ""]), BLUE)
    assert (both[36:50] == tag[36:50]).all()


def test_a_caption_that_is_wider_than_the_image_is_cut():
    picture = draw(flat(40, 50), [[0, 20, 50, 40]], colours=[BLUE], captions=["a very long name of a class"])
    assert picture.shape == (40, 50, 3)
    assert where(picture, BLUE)[8].any()


def test_the_smaller_object_is_over_the_larger():
    picture = draw(flat(60, 60), [[20, 20, 30, 50], [0, 20, 60, 50]], colours=[BLUE, ORANGE])
    assert where(picture, BLUE)[20, 20:30].all()
    assert where(picture, ORANGE)[20, :20].all()


def test_masks_tint_only_what_is_inside():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    inside = np.zeros((60, 80), np.uint8)
    inside[10:30, 20:50] = 1
    picture = draw(image, [[-9, -9, -5, -5]], colours=[BLUE], masks=inside[None])
    assert (picture[inside == 0] == image[inside == 0]).all()
    core = np.s_[11:29, 21:49]
    assert np.abs(picture[core] - (0.55 * image[core] + 0.45 * np.array(BLUE))).max() <= 0.5
    assert (where(picture, BLUE)[10:30, 20:50].sum()) >= 2 * 30 + 2 * 18


def test_small_images_are_enlarged_and_everything_along():
    image, mask = flat(32, 24, channels=1), np.zeros((1, 32, 24), np.uint8)
    mask[0, 20:25, 10:15] = 1
    keypoints = np.array([[[3.5, 4.5, 2.0]]])
    bare = np.asarray(objects(image, NONE, side=320))
    assert bare.shape == (320, 240, 3)
    box = np.array([[2.0, 3.0, 10.0, 12.0]])
    assert bounds(where(objects(image, box, colours=[BLUE], side=320), BLUE)) == (20, 30, 100, 120)
    hidden = np.full((1, 4), -9.0)
    tinted = np.asarray(objects(image, hidden, colours=[BLUE], masks=mask, side=320))
    assert bounds((tinted != bare).any(axis=-1)) == (100, 200, 150, 250)
    dot = np.asarray(objects(image, hidden, colours=[BLUE], keypoints=keypoints, side=320))
    left, top, right, bottom = bounds((dot != bare).any(axis=-1))
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((35, 45), abs=1)


def test_large_images_are_reduced_first():
    picture = objects(flat(400, 1000), np.array([[100.0, 100, 500, 300]]), colours=[BLUE], side=500)
    assert picture.size == (500, 200)
    assert bounds(where(picture, BLUE)) == (50, 50, 250, 150)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2), (13, 13), (480, 640)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [0, 2])
def test_any_size_and_any_number(shape, channels, n):
    height, width = shape
    image = np.random.default_rng(0).integers(0, 256, (*shape, channels), dtype=np.uint8)
    boxes = np.array([[0, 0, width, height], [width / 2, 0, width, height / 2]], float)[:n]
    picture = objects(
        image,
        boxes,
        captions=["one", "two"][:n],
        colours=[SKY_BLUE, ORANGE][:n],
        masks=np.ones((n, *shape), np.uint8),
        keypoints=np.ones((n, 17, 3)),
        dashed=np.array([True, False])[:n],
        thin=np.array([False, True])[:n],
        side=256,
    )
    assert picture.mode == "RGB"
    assert 128 < max(picture.size) <= 256
    if n == 0:
        whole = Image.fromarray(image[..., 0] if channels == 1 else image).convert("RGB")
        resampling = Image.Resampling.NEAREST if max(shape) <= 256 else Image.Resampling.LANCZOS
        assert (np.asarray(picture) == np.asarray(whole.resize(picture.size, resampling))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": ["a"]}, "2 boxes need as many captions, not 1"),
        ({"thin": np.ones(3, bool)}, "2 boxes need as many thin, not 3"),
        (
            {"masks": np.ones((2, 4, 4), np.uint8)},
            r"the masks of an image \(20, 20\) must have its shape, not \(4, 4\)",
        ),
        ({"keypoints": np.ones((2, 17, 2))}, r"keypoints must be \(n, K, 3\), not \(2, 17, 2\)"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        draw(flat(20, 20), [[1, 1, 5, 5]] * 2, **options)
    with pytest.raises(ValueError, match=r"boxes must be \(n, 4\), not \(5,\)"):
        objects(flat(20, 20), np.ones(5))
    with pytest.raises(ValueError, match="images must be uint8"):
        objects(np.ones((20, 20, 3)), NONE)
