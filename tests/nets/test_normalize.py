import pytest
import torch
from torch import nn

from visionlab.nets.normalize import Normalize


def test_each_channel_is_normalised_by_its_own_mean_and_std():
    images = torch.rand(2, 3, 4, 5)
    out = Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 4.0])(images)
    for channel, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)]):
        torch.testing.assert_close(out[:, channel], (images[:, channel] - mean) / std)


def test_grey_images_become_as_many_channels_as_there_are_means():
    grey = torch.rand(2, 1, 4, 5)
    normalize = Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 4.0])
    torch.testing.assert_close(normalize(grey), normalize(grey.expand(2, 3, 4, 5)))


def test_one_mean_serves_all_channels():
    images = torch.rand(2, 4, 3, 3)
    torch.testing.assert_close(Normalize([0.5], [0.25])(images), (images - 0.5) / 0.25)


def test_mean_and_std_are_saved_but_not_trained():
    saved = Normalize([0.1, 0.2], [0.3, 0.4])
    assert list(saved.parameters()) == []
    loaded = Normalize([0.0, 0.0], [1.0, 1.0])
    loaded.load_state_dict(saved.state_dict())
    images = torch.rand(1, 2, 3, 3)
    assert torch.equal(loaded(images), saved(images))


def test_the_precision_of_a_net_holds_for_its_normalisation():
    net = nn.Sequential(Normalize([0.5], [0.5])).to(torch.bfloat16)
    assert net(torch.rand(1, 1, 2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5], [0.0], "positive"),
        ([0.5], [-1.0], "positive"),
        ([0.5], [float("nan")], "positive"),
        ([0.5, 0.5], [1.0], "one number a channel"),
        ([], [], "one number a channel"),
    ],
)
def test_numbers_that_cannot_normalise_are_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalize(mean, std)


@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (2, 2, 3, 3), (3, 4, 4)])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="images of 3 channels"):
        Normalize([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])(torch.rand(shape))
