"""The copy for evaluation against the net."""

import pytest
import torch
from torch import nn

from visionlab.attacks.folding import folded


class Tangle(nn.Module):
    """BatchNorm after convolutions in all ways that may and may not be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.grouped, self.after = nn.Conv2d(6, 6, 3, groups=3), nn.Sequential(nn.BatchNorm2d(6, eps=0.1))
        self.shared, self.first, self.second = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.seen_twice, self.beside = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.bare, self.unscaled = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6, affine=False)
        self.before, self.last = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        if x.shape[1] != 3:
            raise ValueError
        x = self.after(self.grouped(self.norm(self.plain(x)).relu())).relu()
        x = self.second(self.shared(self.first(self.shared(x)))).relu()
        once = self.seen_twice(x)
        x = self.beside(once) + once
        x = self.unscaled(self.bare(x))
        return self.last(self.before(x)).mean((2, 3))


@pytest.fixture
def tangle():
    torch.manual_seed(0)
    net = Tangle()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return net


def test_the_copy_gives_the_same_outputs_and_gradients(tangle):
    copy = folded(tangle, torch.rand(1, 3, 8, 8))
    tangle.eval()
    images = torch.rand(5, 3, 8, 8, requires_grad=True)
    ours, theirs = copy(images), tangle(images)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(outputs.square().sum(), images)[0] for outputs in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_only_what_alone_follows_is_folded(tangle):
    copy = folded(tangle, torch.rand(1, 3, 8, 8))
    left = {name for name, module in copy.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert left == {"first", "second", "beside", "unscaled", "before"}
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    assert not any(module.training for module in copy.modules())


def test_the_net_is_left_as_it_was(tangle):
    tangle.norm.eval()
    tangle.plain.weight.requires_grad_(False)
    state = {name: value.clone() for name, value in tangle.state_dict().items()}
    modes = [module.training for module in tangle.modules()]
    folded(tangle, torch.rand(2, 3, 8, 8))
    assert all(torch.equal(value, state[name]) for name, value in tangle.state_dict().items())
    assert [module.training for module in tangle.modules()] == modes
    assert [p.requires_grad for p in tangle.parameters()] == [False] + [True] * (len(list(tangle.parameters())) - 1)
    assert all(parameter.grad is None for parameter in tangle.parameters())


def test_a_net_that_views_maps_as_rows_works():
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, 2)

        def forward(self, x):
            return self.head(self.norm(self.conv(x)).view(-1, 144))

    net = Views().eval()
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(folded(net, images)(images), net(images))
