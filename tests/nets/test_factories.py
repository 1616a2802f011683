"""Every net is a factory in YAML, as a task takes it."""

from collections.abc import Callable

import jsonargparse
import pytest
import torch
from torch import nn

NETS = [
    ("visionlab.nets.lenet.LeNet5", "{}", (1, 32, 32)),
    ("visionlab.nets.lenet.LeNet5", "{in_channels: 3, mean: [0.5, 0.5, 0.4], std: [0.2, 0.2, 0.2]}", (3, 32, 32)),
    ("visionlab.nets.lenet.LeNet5Paper", "{mean: [0.1307], std: [0.3081]}", (1, 32, 32)),
    ("visionlab.nets.resnet_cifar.ResNetCIFAR", "{depth: 8, shortcut: B}", (3, 32, 32)),
    ("visionlab.nets.resnet_cifar.ResNetCIFAR", "{in_channels: 1, mean: [0.1307], std: [0.3081]}", (1, 28, 28)),
    ("visionlab.nets.torchvision.Classifier", "{name: squeezenet1_1}", (3, 64, 64)),
    ("visionlab.nets.torchvision.Classifier", "{name: squeezenet1_1, weights: null}", (3, 64, 64)),
    ("visionlab.nets.timm.Classifier", "{name: test_resnet}", (3, 64, 64)),
    ("visionlab.nets.timm.Classifier", "{name: test_resnet, weights: null, in_channels: 2}", (2, 64, 64)),
]


def factory(class_path, init_args):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--net", type=Callable[[int], nn.Module])
    config = parser.parse_string(f"net:\n  class_path: {class_path}\n  init_args: {init_args}\n")
    return parser.instantiate(config).net


@pytest.mark.parametrize(("class_path", "init_args", "shape"), NETS)
def test_a_net_is_named_in_a_recipe_and_built_for_any_number_of_classes(class_path, init_args, shape):
    build = factory(class_path, init_args)
    for num_classes in (3, 12):
        assert build(num_classes).eval()(torch.rand(2, *shape)).shape == (2, num_classes)


@pytest.mark.parametrize(
    ("class_path", "init_args"),
    [
        ("visionlab.nets.lenet.LeNet5", "{chanels: 3}"),
        ("visionlab.nets.resnet_cifar.ResNetCIFAR", "{shortcut: C}"),
        ("visionlab.nets.resnet_cifar.ResNetCIFAR", "{depth: deep}"),
        ("visionlab.nets.torchvision.Classifier", "{}"),
        ("visionlab.nets.timm.Classifier", "{name: 3}"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(class_path, init_args):
    with pytest.raises(jsonargparse.ArgumentError):
        factory(class_path, init_args)
