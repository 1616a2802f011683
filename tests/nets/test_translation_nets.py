import pytest
import torch
from torch import nn

from visionlab.nets.context_encoder import ContextEncoder
from visionlab.nets.patchgan import PatchGAN
from visionlab.nets.resnet_generator import ResNetGenerator
from visionlab.nets.transformer_net import TransformerNet
from visionlab.nets.unet_generator import UNetGenerator


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def saturate(net):
    """Make what comes before the last layer's tanh as large as it gets."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight)
    return net


@pytest.mark.parametrize(
    ("net", "size", "made"),
    [
        (lambda: UNetGenerator(0, 3, 1, width=4, depth=3), (1, 16, 24), (3, 16, 24)),
        (lambda: UNetGenerator(0, 1, width=4, depth=2, norm="instance"), (3, 8, 8), (1, 8, 8)),
        (lambda: ResNetGenerator(0, 2, width=4, blocks=1), (3, 8, 12), (2, 8, 12)),
        (lambda: TransformerNet(0, 3, width=4, blocks=1), (3, 9, 14), (3, 9, 14)),
        (lambda: ContextEncoder(0, 3, 1, image_size=32, width=4, bottleneck=8), (1, 32, 32), (3, 16, 16)),
    ],
)
def test_a_generator_makes_images_in_the_unit_range(net, size, made):
    images = saturate(net())(torch.rand(2, *size))
    assert images.shape == (2, *made)
    assert 0 <= images.min() < 0.05
    assert 0.95 < images.max() <= 1


@pytest.mark.parametrize(
    ("net", "size", "message"),
    [
        (lambda: UNetGenerator(0, 3, width=4, depth=3), (3, 16, 20), "sides are multiples of 8, not 16 x 20"),
        (lambda: UNetGenerator(0, 3, width=4, depth=3), (1, 16, 16), r"\(B, 3, H, W\), not \(1, 1, 16, 16\)"),
        (lambda: ResNetGenerator(0, 3, width=4), (3, 16, 18), "multiples of 4, at least 8, not 16 x 18"),
        (lambda: ResNetGenerator(0, 3, width=4), (3, 4, 16), "multiples of 4, at least 8, not 4 x 16"),
        (lambda: TransformerNet(0, 3, width=4), (3, 7, 16), "at least 8 x 8 pixels, not 7 x 16"),
        (lambda: ContextEncoder(0, 3, width=4), (3, 64, 64), r"\(B, 3, 128, 128\), not \(1, 3, 64, 64\)"),
        (
            lambda: PatchGAN(0, 3, width=4),
            (3, 16, 32),
            "of 3 layers judges images of at least 24 x 24 pixels, not 16 x",
        ),
        (lambda: PatchGAN(0, 6, width=4), (3, 32, 32), r"\(B, 6, H, W\), not \(1, 3, 32, 32\)"),
    ],
)
def test_images_that_a_net_cannot_make_are_refused(net, size, message):
    with pytest.raises(ValueError, match=message):
        net()(torch.zeros(1, *size))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: UNetGenerator(0, 3, depth=1), "depth must be at least 2"),
        (lambda: UNetGenerator(0, 3, norm="layer"), "norm must be batch or instance, not 'layer'"),
        (lambda: PatchGAN(0, 3, layers=0), "layers and width must be at least 1, not 0 and 64"),
        (lambda: PatchGAN(0, 3, norm="group"), "norm must be batch or instance, not 'group'"),
        (lambda: ResNetGenerator(0, 3, width=0), "width must be at least 1"),
        (lambda: TransformerNet(0, 3, blocks=-1), "blocks at least 0, not 32 and -1"),
        (lambda: ContextEncoder(0, 3, image_size=48), "16, 32, 64, ... pixels on each side, not 48"),
        (lambda: ContextEncoder(0, 3, bottleneck=0), "bottleneck must be at least 1, not 64 and 0"),
    ],
)
def test_arguments_out_of_range_are_refused(net, message):
    with pytest.raises(ValueError, match=message):
        net()


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_of_a_patchgan_is_that_of_a_patch_of_the_papers_size(layers, patch):
    """Isola et al. 2017, section 6.1.2: 16, 34 (with these strides) and 70."""
    net = PatchGAN(0, 1, width=2, layers=layers, norm="instance")
    for module in net.modules():  # normalising over the image would make a logit depend on all of it
        if isinstance(module, nn.Sequential):
            for at, layer in enumerate(module):
                if isinstance(layer, nn.InstanceNorm2d):
                    module[at] = nn.Identity()
    images = torch.rand(1, 1, 160, 160, requires_grad=True)
    logits = net(images)
    assert logits.shape[1:] == (1, 160 // 2**layers - 2, 160 // 2**layers - 2)
    middle = logits.shape[2] // 2
    logits[0, 0, middle, middle].backward()
    seen = images.grad[0, 0].nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [patch, patch]


def test_every_stage_of_the_unet_is_used():
    net = UNetGenerator(0, 1, 1, width=2, depth=3, norm="instance")
    net(torch.rand(2, 1, 16, 16)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for name, parameter in net.named_parameters() if "weight" in name)


def test_the_unet_drops_features_in_training_only():
    net, images = UNetGenerator(0, 3, width=4, depth=3), torch.rand(2, 3, 16, 16)
    assert not torch.equal(net(images), net(images))
    assert torch.equal(net.eval()(images), net(images))


def test_the_style_net_gives_the_same_whether_or_not_the_sides_had_to_be_continued():
    net, images = TransformerNet(0, 3, width=4, blocks=1), torch.rand(1, 3, 16, 13)
    continued = torch.cat([images, images[..., [11, 10, 9]]], dim=3)
    torch.testing.assert_close(net(images), net(continued)[..., :13])


@pytest.mark.parametrize(("channels", "norm", "parameters"), [(6, "batch", 2_768_705), (3, "instance", 2_764_737)])
def test_the_discriminators_have_the_parameters_of_the_authors(channels, norm, parameters):
    """https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix, by its commands for pix2pix and for CycleGAN."""
    net = PatchGAN(0, channels, norm=norm)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net.eval()(torch.zeros(1, channels, 256, 256)).shape == (1, 1, 30, 30)
