import pytest
import torch

from visionlab.nets.dcgan import DCGANDiscriminator, DCGANGenerator
from visionlab.nets.resnet_gan import (
    ConditionalBatchNorm2d,
    ConditionalResNetGenerator,
    ProjectionDiscriminator,
    ResNetDiscriminator,
    ResNetGenerator,
)


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_dcgan_makes_and_judges_images_of_a_size(size, channels):
    images = DCGANGenerator(10, size, channels, width=4, latent=7)(torch.randn(2, 7))
    assert images.shape == (2, channels, size, size)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert DCGANDiscriminator(10, size, channels, width=4)(images).shape == (2,)


def test_residual_nets_make_and_judge_images():
    noise, labels = torch.randn(3, 128), torch.tensor([0, 4, 4])
    images = ResNetGenerator(5, width=4)(noise)
    assert images.shape == (3, 3, 32, 32)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert ResNetDiscriminator(5, width=4)(images).shape == (3,)
    assert ConditionalResNetGenerator(5, width=4)(noise, labels).shape == (3, 3, 32, 32)
    assert ProjectionDiscriminator(5, width=4)(images, labels).shape == (3,)


@pytest.mark.parametrize("make", [DCGANGenerator, DCGANDiscriminator, ResNetGenerator, ConditionalResNetGenerator])
@pytest.mark.parametrize("size", [4, 28, 48])
def test_sizes_that_cannot_be_made_are_refused(make, size):
    with pytest.raises(ValueError, match=f"another power of two, not {size}"):
        make(10, image_size=size)


def test_conditional_batchnorm_is_batchnorm_with_the_scale_and_shift_of_the_class():
    layer = ConditionalBatchNorm2d(4, 3)
    with torch.no_grad():
        layer.scale.uniform_()
        layer.shift.uniform_()
    x, labels = torch.randn(6, 4, 5, 5), torch.tensor([2, 0, 1, 1, 2, 0])
    normed = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    expected = torch.stack(
        [normed[i] * layer.scale[k][:, None, None] + layer.shift[k][:, None, None] for i, k in enumerate(labels)]
    )
    torch.testing.assert_close(layer(x, labels), expected)


def test_spectral_normalisation_brings_the_greatest_singular_values_to_one():
    net = ResNetDiscriminator(10, width=8)
    for _ in range(50):
        net(torch.rand(2, 3, 8, 8))
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            assert abs(float(torch.linalg.matrix_norm(module.weight.flatten(1), 2)) - 1) < 1e-2


def test_the_label_changes_the_projection_by_the_inner_product_with_its_vector():
    net = ProjectionDiscriminator(10, width=8).eval()
    images = torch.rand(2, 3, 32, 32)
    features, vectors = net.features(images).sum((2, 3)), net.classes.weight
    change = net(images, torch.tensor([3, 3])) - net(images, torch.tensor([7, 7]))
    torch.testing.assert_close(change, features @ (vectors[3] - vectors[7]))


def test_a_discriminator_without_spectral_normalisation_has_none():
    net = ResNetDiscriminator(10, width=4, spectral=False, pooling="mean")
    assert not [name for name, _ in net.named_modules() if "parametrizations" in name]
    with pytest.raises(ValueError, match="'sum' or 'mean', not 'max'"):
        ResNetDiscriminator(10, pooling="max")
