import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F

from visionlab.nets.resnet_cifar import CIFAR10_MEAN, CIFAR10_STD, ResNetCIFAR


def slow_option_a(x, channels):
    """Section 3.3, option A, pixel by pixel."""
    n, depth, height, width = x.shape
    out = torch.zeros(n, channels, math.ceil(height / 2), math.ceil(width / 2))
    for c in range(depth):
        for i in range(0, height, 2):
            for j in range(0, width, 2):
                out[:, c, i // 2, j // 2] = x[:, c, i, j]
    return out


def batch_norm(state, name, x):
    mean, var, weight, bias = (
        state[f"{name}.{key}"].view(-1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def reference_logits(net, depth, shortcut, images):
    """Section 4.2, over the parameters of a net in evaluation mode."""
    state = net.state_dict()
    x = (images - torch.tensor(CIFAR10_MEAN).view(3, 1, 1)) / torch.tensor(CIFAR10_STD).view(3, 1, 1)
    x = batch_norm(state, "bn1", F.conv2d(x, state["conv1.weight"], padding=1)).clamp(min=0)
    for stage, channels in enumerate((16, 32, 64), 1):
        for block in range((depth - 2) // 6):
            name = f"stage{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = batch_norm(state, f"{name}.bn1", y).clamp(min=0)
            y = batch_norm(state, f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1))
            if stride == 2 and shortcut == "A":
                x = slow_option_a(x, channels)
            elif stride == 2:
                projected = F.conv2d(x, state[f"{name}.shortcut.0.weight"], stride=2)
                x = batch_norm(state, f"{name}.shortcut.1", projected)
            x = (x + y).clamp(min=0)
    return x.flatten(2).mean(2) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("size", [(16, 16), (9, 14)])
def test_the_net_is_the_paper_layer_by_layer(shortcut, size):
    torch.manual_seed(0)
    net = ResNetCIFAR(10, depth=14, shortcut=shortcut)
    net(torch.rand(8, 3, 16, 16))  # so that the statistics of batch normalisation are not those of the start
    net.eval()
    images = torch.rand(2, 3, *size)
    torch.testing.assert_close(net(images), reference_logits(net, 14, shortcut, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_depth_counts_the_layers_with_weights(depth):
    with torch.device("meta"):
        weights = [p for p in ResNetCIFAR(10, depth).parameters() if p.ndim > 1]
    assert len(weights) == depth


def test_convolutions_start_as_he_et_al_2015():
    torch.manual_seed(0)
    net = ResNetCIFAR(10)
    weight = net.stage3[1].conv1.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert not net.fc.bias.any()


@pytest.mark.parametrize("depth", [0, 2, 18, 21, 51, -4])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth):
    with pytest.raises(ValueError, match="20, 32, 44, 56, 110 or 1202"):
        ResNetCIFAR(10, depth)


def test_an_unknown_shortcut_is_refused():
    with pytest.raises(ValueError, match="'A' or 'B'"):
        ResNetCIFAR(10, shortcut="C")


def test_channels_without_their_mean_are_refused():
    with pytest.raises(ValueError, match="in_channels = 1"):
        ResNetCIFAR(10, in_channels=1)


def test_channels_can_be_set_and_grey_images_pass_as_rgb():
    net = ResNetCIFAR(4, depth=8, in_channels=1, mean=[0.1307], std=[0.3081])
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 4)
    net = ResNetCIFAR(4, depth=8).eval()
    grey = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(net(grey), net(grey.expand(2, 3, 28, 28)))


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_the_gradient_reaches_every_parameter(shortcut):
    net = ResNetCIFAR(10, shortcut=shortcut)
    F.cross_entropy(net(torch.rand(8, 3, 32, 32)), torch.arange(8)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_the_weights_can_be_copied_in_every_way(shortcut):
    net, other = ResNetCIFAR(10, shortcut=shortcut).eval(), ResNetCIFAR(10, shortcut=shortcut).eval()
    images = torch.rand(2, 3, 32, 32)
    assert not torch.equal(other(images), net(images))
    other.load_state_dict(net.state_dict())
    for copied in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(copied(images), net(images))
