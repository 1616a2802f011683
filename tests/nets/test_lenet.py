import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from visionlab.nets.lenet import LeNet5, LeNet5Paper

# table I of the paper: a row a map of S2, a column a map of C3
TABLE_I = """
X . . . X X X . . X X X X . X X
X X . . . X X X . . X X X X . X
X X X . . . X X X . . X . X X X
. X X X . . X X X X . . X . X X
. . X X X . . X X X X . X X . X
. . . X X X . . X X X X . X X X
"""


def connected():
    rows = [line.split() for line in TABLE_I.split("\n") if line]
    return torch.tensor([[mark == "X" for mark in row] for row in rows])


def squash(a):
    return 1.7159 * torch.tanh(2 * a / 3)


def paper_logits(state, images):
    """Section II.B, unit by unit where the library has no ready layer."""
    x = images * (1.175 + 0.1) - 0.1
    x = squash(F.conv2d(x, state["c1.weight"], state["c1.bias"]))
    x = squash(subsample(x, state["s2.weight"], state["s2.bias"]))
    table, maps = connected(), []
    for j in range(16):
        weight, total = state[f"c3.convs.{j}.weight"], state[f"c3.convs.{j}.bias"].view(1, 1, 1)
        for k, i in enumerate(i for i in range(6) if table[i, j]):
            total = total + F.conv2d(x[:, i : i + 1], weight[:, k : k + 1])[:, 0]
        maps.append(total)
    x = squash(torch.stack(maps, 1))
    x = squash(subsample(x, state["s4.weight"], state["s4.bias"]))
    x = squash(torch.einsum("bchw,ochw->bo", x, state["c5.weight"]) + state["c5.bias"])
    x = squash(x @ state["f6.weight"].T + state["f6.bias"])
    return -torch.stack([((x - code) ** 2).sum(1) for code in state["output.codes"]], 1)


def subsample(x, weight, bias):
    total = x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]
    return total * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def test_the_paper_net_is_the_paper_equation_by_equation():
    torch.manual_seed(0)
    net = LeNet5Paper(10).double()
    images = torch.rand(3, 1, 32, 32, dtype=torch.float64)
    expected = paper_logits(net.state_dict(), images)
    torch.testing.assert_close(net(images), expected, rtol=1e-6, atol=1e-6)


def test_maps_of_c3_are_connected_as_table_one_says():
    c3 = LeNet5Paper(10).c3
    x = torch.rand(1, 6, 14, 14, requires_grad=True)
    for j in range(16):
        (gradient,) = torch.autograd.grad(c3(x)[:, j].sum(), x)
        assert torch.equal(gradient.abs().sum((0, 2, 3)) > 0, connected()[:, j])


def test_layers_of_the_paper_net_have_the_numbers_of_parameters_of_the_paper():
    net = LeNet5Paper(10)
    sizes = {name: sum(p.numel() for p in layer.parameters()) for name, layer in net.named_children()}
    expected = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164, "output": 0, "normalize": 0}
    assert sizes == expected
    assert sum(expected.values()) == 60000


def test_parameters_of_the_paper_net_start_within_the_bounds_of_appendix_a():
    net = LeNet5Paper(10)
    for layer, fan_in in [(net.c1, 25), (net.s2, 4), (net.c3.convs[0], 75), (net.c3.convs[15], 150), (net.f6, 120)]:
        for parameter in layer.parameters():
            assert parameter.abs().max() <= 2.4 / fan_in
        assert layer.weight.abs().max() > 1.2 / fan_in


def test_codes_of_the_output_layer_are_signs_and_the_same_in_every_net():
    codes = LeNet5Paper(100).output.codes
    assert set(codes.flatten().tolist()) == {-1.0, 1.0}
    assert len(codes.unique(dim=0)) == 100
    assert torch.equal(LeNet5Paper(7).output.codes, codes[:7])


def test_the_common_net_is_its_layers():
    torch.manual_seed(0)
    net = LeNet5(10)
    p = list(net.parameters())
    images = torch.rand(3, 1, 32, 32)
    x = images * 1.275 - 0.1
    x = F.max_pool2d(F.conv2d(x, p[0], p[1]).clamp(min=0), 2)
    x = F.max_pool2d(F.conv2d(x, p[2], p[3]).clamp(min=0), 2).reshape(3, -1)
    x = (x @ p[4].T + p[5]).clamp(min=0)
    x = (x @ p[6].T + p[7]).clamp(min=0)
    torch.testing.assert_close(net(images), x @ p[8].T + p[9], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net_class", [LeNet5, LeNet5Paper])
class TestBoth:
    def test_the_input_is_scaled_from_minus_tenth_to_1_175(self, net_class):
        black_and_white = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
        scaled = net_class(10).normalize(black_and_white).flatten()
        torch.testing.assert_close(scaled, torch.tensor([-0.1, 1.175]))

    def test_another_size_is_refused(self, net_class):
        with pytest.raises(ValueError, match="image_size to 32"):
            net_class(10)(torch.rand(2, 1, 28, 28))

    def test_other_channels_are_refused(self, net_class):
        with pytest.raises(ValueError, match="in_channels"):
            net_class(10)(torch.rand(2, 3, 32, 32))

    def test_channels_and_normalisation_can_be_set(self, net_class):
        net = net_class(4, in_channels=3, mean=[0.1, 0.2, 0.3], std=[1.0, 1.0, 1.0])
        assert net(torch.rand(2, 3, 32, 32)).shape == (2, 4)

    def test_the_gradient_reaches_every_parameter(self, net_class):
        net = net_class(10)
        F.cross_entropy(net(torch.rand(8, 1, 32, 32)), torch.arange(8)).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())

    def test_the_weights_can_be_copied_in_every_way(self, net_class):
        net, other, images = net_class(10), net_class(10), torch.rand(2, 1, 32, 32)
        assert not torch.equal(other(images), net(images))
        other.load_state_dict(net.state_dict())
        for copied in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(copied(images), net(images))

    def test_it_learns_real_digits(self, net_class):
        digits = load_digits()
        images = F.interpolate(torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, 32, mode="bilinear")
        labels = torch.tensor(digits.target)
        torch.manual_seed(0)
        net = net_class(10)
        optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
        for _ in range(3):
            for batch in torch.randperm(1400).split(64):
                optimizer.zero_grad()
                F.cross_entropy(net(images[batch]), labels[batch]).backward()
                optimizer.step()
        with torch.no_grad():
            accuracy = (net(images[1400:]).argmax(1) == labels[1400:]).double().mean()
        assert accuracy > 0.7
