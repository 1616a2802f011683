"""Images in windows and tiles against images as a whole."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tiny_segmenters import ByPixel, TinySegmenter, ValidNet
from visionlab.nets.unet import MARGIN, UNetPaper
from visionlab.tasks.inference import OverlapTile, SlidingWindow, classes_of


@pytest.fixture(autouse=True)
def _no_gradients():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def whole(net, image):
    return net(image[None])[0].argmax(0).byte()


@pytest.mark.parametrize("classes", [1, 2, 21, 256])
def test_the_class_of_a_pixel_is_its_highest_score(classes):
    scores = torch.randint(-9, 9, (classes, 13, 17)).float()  # with many ties
    kept = scores.clone()
    assert torch.equal(classes_of(scores), scores.argmax(0).byte())
    assert torch.equal(scores, kept)


@pytest.mark.parametrize("size", [None, 32, 500])
def test_a_window_that_covers_the_image_is_the_image(size):
    net, image = TinySegmenter(7).eval(), torch.rand(3, 31, 25)
    assert torch.equal(SlidingWindow(size)(net, image), whole(net, image))


@pytest.mark.parametrize("overlap", [0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(40, 40), (41, 16), (7, 33), (1, 1)])
def test_windows_of_a_net_that_sees_one_pixel_are_the_image(overlap, shape):
    net, image = ByPixel(5).double(), torch.rand(3, *shape, dtype=torch.float64)
    assert torch.equal(SlidingWindow(16, overlap)(net, image), whole(net, image))


def test_overlapping_windows_are_blended():
    """By hand: two windows in a row, of which each gives a constant."""
    image = torch.zeros(3, 4, 12)
    image[:, :, 8:] = 1

    def net(window):  # votes for class 1 where the window's mean is high
        vote = window.mean(dim=(1, 2, 3), keepdim=True).expand(1, 1, *window.shape[2:])
        return torch.cat([torch.full_like(vote, 0.3), vote], dim=1)

    found = SlidingWindow(8, 0.5)(net, image)
    # the first window's votes are 0, the second's 0.5; they weigh 4, 3, 2, 1 against 1, 2, 3, 4 in columns 4 to 7
    votes = [0.0] * 4 + [0.5 * right / 5 for right in (1, 2, 3, 4)] + [0.5] * 4
    assert found.tolist() == [[int(vote > 0.3) for vote in votes]] * 4


def test_scales_and_flips_are_averaged_as_probabilities():
    net, image = TinySegmenter(4).eval(), torch.rand(3, 20, 30)
    total = torch.zeros(4, 20, 30)
    for size in ((20, 30), (10, 15), (30, 45)):
        scaled = image if size == (20, 30) else F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        for turned in (False, True):
            logits = net(scaled.flip(2)[None]).flip(3) if turned else net(scaled[None])
            total += F.interpolate(logits, (20, 30), mode="bilinear")[0].softmax(0)
    assert torch.equal(SlidingWindow(None, scales=(1.0, 0.5, 1.5), flip=True)(net, image), total.argmax(0).byte())


def test_a_net_sees_no_more_than_a_window():
    seen = []

    def net(window):
        seen.append(tuple(window.shape))
        return window

    SlidingWindow(16, 0.25)(net, torch.rand(3, 50, 33))
    assert set(seen) == {(1, 3, 16, 16)}
    assert len(seen) == 4 * 3  # from 0, 12, 24 and 34; from 0, 12 and 17


@pytest.mark.parametrize("shape", [(24, 24), (31, 18), (5, 40), (2, 2), (1, 3)])
@pytest.mark.parametrize("tile", [8, 10])
def test_tiles_are_the_untiled_image_that_was_mirrored(shape, tile):
    net, image = ValidNet(5).double(), torch.rand(3, *shape, dtype=torch.float64)
    more = [(0, 0), *((3, 3 + side % 2) for side in shape)]
    mirrored = torch.from_numpy(np.pad(image.numpy(), more, mode="reflect"))
    expected = whole(net, mirrored)[: shape[0], : shape[1]]
    assert torch.equal(OverlapTile(tile, 3, 2)(net, image), expected)


@pytest.mark.slow
def test_tiles_are_the_untiled_u_net_of_the_paper():
    net, image = UNetPaper(3).eval(), torch.rand(1, 50, 37)
    mirrored = np.pad(image.numpy(), [(0, 0), (MARGIN, MARGIN + 2), (MARGIN, MARGIN + 15)], mode="reflect")
    untiled = net(torch.from_numpy(mirrored)[None])
    assert untiled.shape == (1, 3, 52, 52)
    logits = []

    def tiled(tile):
        logits.append(net(tile))
        return logits[-1]

    assert torch.equal(OverlapTile(36)(tiled, image), untiled[0, :, :50, :37].argmax(0).byte())
    torch.testing.assert_close(logits[3][0, :, :18, :5], untiled[0, :, 32:50, 32:37])


def test_wrong_arguments_of_windows_and_tiles_are_refused():
    for arguments, message in (
        ({"size": 0}, "size must be at least 1, not 0"),
        ({"overlap": 1.0}, r"overlap must lie in \[0, 1\), not 1.0"),
        ({"scales": [1.0, 0.0]}, r"scales must be positive, and at least one, not \[1.0, 0.0\]"),
        ({"scales": []}, "scales must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            SlidingWindow(**arguments)
    with pytest.raises(ValueError, match="expected tile >= stride >= 1 and margin >= 0, not 8, 16 and 92"):
        OverlapTile(8)
    with pytest.raises(ValueError, match="the net gives 26 x 26 pixels of 26, and not the tile's 20"):
        OverlapTile(20, 3, 2)(nn.Identity(), torch.rand(3, 9, 9))
