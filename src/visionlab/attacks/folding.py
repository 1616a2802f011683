"""A copy of a net to evaluate and attack, which gives the same outputs in less time."""

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(net: nn.Module, images: Tensor) -> nn.Module:
    """A frozen copy of a classifier in evaluation mode, in which a BatchNorm that alone follows a convolution is part
    of it, and weights lie in memory as convolutions like them (channels last), where the net's code allows that.
    Outputs and gradients are the net's up to rounding; the net is left as it was.

    What follows what is read from the graph of a forward pass, so any code may stand in the net.

    Args:
        net: gives a tensor.
        images: ``(n, channels, H, W)`` ``float32`` in [0, 1], such as the net takes; the first is used.
    """
    twin = copy.deepcopy(net).eval().requires_grad_(True)
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        pairs = foldable(twin, twin(images[:1]))
    for first, second in pairs:
        conv, norm = twin.get_submodule(first), twin.get_submodule(second)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        twin.set_submodule(first, fuse_conv_bn_eval(conv, norm))
        twin.set_submodule(second, nn.Identity().eval())
    twin.requires_grad_(False).to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            twin(images[:1])
    except RuntimeError:  # it views maps as rows, which channels that come last do not allow
        twin.to(memory_format=torch.contiguous_format)
    return twin


def foldable(net: nn.Module, outputs: Tensor) -> list[tuple[str, str]]:
    """The names of the convolutions and the BatchNorms that are called once, the one with the other's output, which
    nothing else sees.

    Args:
        net: in evaluation mode; all its parameters require gradients.
        outputs: what it gave.
    """
    convs: dict[Tensor, str] = {
        module.weight: name for name, module in net.named_modules() if type(module) is nn.Conv2d
    }
    norms: dict[Tensor, str] = {
        module.weight: name
        for name, module in net.named_modules()
        if type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats
    }
    nodes = graph(outputs)
    calls: dict[Node, Tensor] = {}
    readers: Counter[Node] = Counter()
    for node in nodes:
        for before, _ in node.next_functions:
            if before is None:
                continue
            readers[before] += 1
            if before.name() == "torch::autograd::AccumulateGrad":
                weight = before.variable  # type: ignore[attr-defined]
                if weight in convs or weight in norms:
                    calls[node] = weight
    times = Counter(calls.values())
    pairs = []
    for node, weight in calls.items():
        before = node.next_functions[0][0]
        if weight not in norms or before not in calls or calls[before] not in convs:
            continue
        if readers[before] == times[weight] == times[calls[before]] == 1:
            pairs.append((convs[calls[before]], norms[weight]))
    return pairs


def graph(outputs: Tensor) -> list[Node]:
    """Every node of the graph that gave the outputs, once."""
    assert outputs.grad_fn is not None
    nodes, waiting = {outputs.grad_fn}, [outputs.grad_fn]
    while waiting:
        for before, _ in waiting.pop().next_functions:
            if before is not None and before not in nodes:
                nodes.add(before)
                waiting.append(before)
    return list(nodes)
