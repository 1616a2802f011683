"""Nets of segmentation: counts, sizes of images, weights."""

from collections.abc import Callable

import jsonargparse
import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from visionlab.nets.fcn import FCN, upsampling
from visionlab.nets.torchvision_segmentation import Segmenter
from visionlab.nets.unet import UNet, UNetPaper

TORCHVISION = torchvision.models.list_models(module=torchvision.models.segmentation)


def count(net):
    return sum(p.numel() for p in net.parameters())


def meta(build, *arguments, **named):
    with torch.device("meta"):
        return build(*arguments, **named)


@pytest.mark.parametrize(
    ("build", "arguments", "parameters"),
    [
        (UNetPaper, (2, 1), 31_030_658),
        (UNetPaper, (1, 1), 31_030_593),
        (UNetPaper, (21, 3), 31_033_045),
        (FCN, (21, 32), 136_152_917),
        (FCN, (21, 16), 134_815_994),
        (FCN, (21, 8), 134_489_759),
        (Segmenter, (21, "fcn_resnet50", None, None, False), 32_957_013),
        (Segmenter, (21, "fcn_resnet50", None, None, True), 35_322_218),
        (Segmenter, (21, "fcn_resnet101", None, None, True), 54_314_346),
    ],
)
def test_counts_that_are_known(build, arguments, parameters):
    assert count(meta(build, *arguments)) == parameters


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_model_has_as_many_parameters_as_torchvision_published(name):
    published = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
    assert count(meta(Segmenter, 21, name, auxiliary=not name.startswith("lraspp"))) == published


SIZES = [(1, 1), (2, 47), (65, 33), (375, 500)]


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_takes_images_of_any_size(stride):
    net = meta(FCN, 5, stride)
    for size in SIZES:
        assert net(torch.empty(2, 3, *size, device="meta")).shape == (2, 5, *size)


@pytest.mark.parametrize(("channels", "width"), [(3, 2), (1, 3)])
def test_u_net_takes_images_of_any_size(channels, width):
    net = UNet(5, channels, width).eval()
    for size in SIZES:
        assert net(torch.rand(1, channels, *size)).shape == (1, 5, *size)
    with pytest.raises(ValueError, match=rf"takes images of {channels} channels"):
        net(torch.rand(1, 2, 16, 16))


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_torchvisions_models_take_images_of_any_size(name):
    net = meta(Segmenter, 5, name).eval()
    for size in SIZES:
        assert net(torch.empty(2, 3, *size, device="meta")).shape == (2, 5, *size)


def test_the_papers_u_net_gives_388_of_572_pixels_and_refuses_others():
    net = meta(UNetPaper, 2)
    assert net(torch.empty(1, 1, 572, 572, device="meta")).shape == (1, 2, 388, 388)
    assert net(torch.empty(1, 1, 188, 204, device="meta")).shape == (1, 2, 4, 20)
    with pytest.raises(ValueError, match=r"188, 204, 220, \.\.\. pixels on each side, not 572 x 570"):
        net(torch.empty(1, 1, 572, 570, device="meta"))


def test_the_papers_u_net_is_the_figures_layer_by_layer():
    """Figure 1, written out once more with torch's functions."""
    torch.manual_seed(0)
    net = UNetPaper(2).eval()
    images = torch.rand(1, 1, 188, 188)

    def twice(block, x):
        return block[2](block[0](x).relu()).relu()

    x, kept = (images - 0.5) / 0.5, []
    for block in net.body.down:
        x = twice(block, x if not kept else F.max_pool2d(x, 2))
        kept.append(x)
    for up, block, skip in zip(net.body.up, net.body.merge, kept[-2::-1], strict=True):
        x = up(x)
        x = twice(block, torch.cat([torchvision.transforms.functional.center_crop(skip, x.shape[-2:]), x], 1))
    torch.testing.assert_close(net(images), net.head(x))
    assert not torch.equal(net.train()(images), net(images))  # dropout


@pytest.mark.slow
def test_fcn_loads_vgg16_and_scores_begin_at_zero():
    torch.manual_seed(0)
    with torch.device("meta"):
        state = torchvision.models.vgg16().state_dict()
    state = {key: torch.randn(value.shape) / max(1, value[0].numel()) ** 0.5 for key, value in state.items()}
    torch.save(state, "vgg16.pth")
    net = FCN(4, 8, "vgg16.pth").eval()
    theirs = torchvision.models.vgg16()
    theirs.load_state_dict(state)
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        features = net.features(net.normalize(image))
        torch.testing.assert_close(features, theirs.features(net.normalize(image)))
        ours = net.classifier.eval()(features).flatten()
        torch.testing.assert_close(ours, theirs.eval().classifier[:6](features.flatten(1)).flatten())
        assert not net(image).any()
        net.score.bias.fill_(1.0)
        inner = net(image)[:, :, 48:-48, 48:-48]
    torch.testing.assert_close(inner, torch.ones_like(inner))  # bilinear weights add up to 1
    with pytest.raises(ValueError, match="stride must be 8, 16 or 32, not 4"):
        FCN(4, 4)


def published(name, outputs, auxiliary):
    with torch.device("meta"):
        more = {"aux_loss": True} if auxiliary else {}
        state = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=outputs, **more
        ).state_dict()
    return {
        key: torch.full(value.shape, 1 + i if value.dtype == torch.int64 else (1 + i) / 1000)
        for i, (key, value) in enumerate(state.items())
    }


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_weights_are_loaded_but_for_other_classes_and_heads(name):
    has_auxiliary = not name.startswith("lraspp")
    state = published(name, 21, has_auxiliary)
    torch.save(state, "weights.pth")
    same, other = Segmenter(21, name, "weights.pth"), Segmenter(5, name, "weights.pth", auxiliary=has_auxiliary)
    for key, value in same.net.state_dict().items():
        assert torch.equal(value, state[key]), key
    fresh = {key for key, value in other.net.state_dict().items() if not torch.equal(value, state[key])}
    heads = {"classifier.4.", "aux_classifier.4."} if has_auxiliary else {"classifier.low_", "classifier.high_"}
    assert {key for key in state if key.startswith(tuple(heads))} == fresh
    torch.save({**state, "more": torch.zeros(1)}, "weights.pth")
    with pytest.raises(ValueError, match=r"0 entries are missing \[\], 1 are new \['more'\]"):
        Segmenter(21, name, "weights.pth")


def test_a_backbone_is_that_of_the_classifier():
    for name, body in (("lraspp_mobilenet_v3_large", "mobilenet_v3_large"), ("fcn_resnet50", "resnet50")):
        with torch.device("meta"):
            state = torchvision.models.get_model(body).state_dict()
        state = {
            key: torch.full(value.shape, 1 + i % 7).to(value.dtype) for i, (key, value) in enumerate(state.items())
        }
        torch.save(state, "backbone.pth")
        net = Segmenter(4, name, weights_backbone="backbone.pth")
        own = net.net.backbone.state_dict()
        prefix = "features." if "mobilenet" in body else ""
        assert all(torch.equal(value, state[prefix + key]) for key, value in own.items())


def test_an_auxiliary_head_speaks_in_training():
    net = meta(Segmenter, 4, "fcn_resnet50", auxiliary=True)
    images = torch.empty(2, 3, 32, 40, device="meta")
    assert [one.shape for one in net(images)] == [(2, 4, 32, 40)] * 2
    assert net.eval()(images).shape == (2, 4, 32, 40)
    for arguments, message in (
        (("fcn_resnet5",), "torchvision has no segmentation model 'fcn_resnet5'; did you mean fcn_resnet50"),
        (("lraspp_mobilenet_v3_large", None, None, True), "lraspp_mobilenet_v3_large has no auxiliary head"),
        (("fcn_resnet50", "a", "b"), "give either weights or weights_backbone"),
    ):
        with pytest.raises(ValueError, match=message):
            Segmenter(4, *arguments)


@pytest.mark.parametrize(
    ("class_path", "init_args"),
    [
        ("unet.UNet", "{width: 2}"),
        ("torchvision_segmentation.Segmenter", "{name: lraspp_mobilenet_v3_large}"),
    ],
)
def test_a_segmentation_net_is_named_in_a_recipe(class_path, init_args):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--net", type=Callable[[int], nn.Module])
    config = parser.parse_string(f"net:\n  class_path: visionlab.nets.{class_path}\n  init_args: {init_args}\n")
    build = parser.instantiate(config).net
    for num_classes in (2, 11):
        assert build(num_classes).eval()(torch.rand(1, 3, 40, 50)).shape == (1, num_classes, 40, 50)


def test_segmentation_models_pytorch():
    pytest.importorskip("segmentation_models_pytorch")
    from visionlab.nets import smp

    assert count(meta(smp.Segmenter, 21, "unet", "resnet34")) == 24_439_269
    net = meta(smp.Segmenter, 4, "fpn", "resnet18", in_channels=2).eval()
    for size in SIZES:
        assert net(torch.empty(1, 2, *size, device="meta")).shape == (1, 4, *size)
    for arguments, message in (
        (("unett", "resnet18"), "no architecture 'unett'; did you mean unet"),
        (("unet", "resnet1"), "Wrong encoder name `resnet1`"),
        (("unet", "resnet18", "imagenette"), "Wrong pretrained weights `imagenette`"),
    ):
        with pytest.raises(ValueError, match=message):
            smp.Segmenter(4, *arguments)
    with pytest.raises(ValueError, match="unet of segmentation_models_pytorch has no option 'colour'"):
        smp.Segmenter(4, "unet", "resnet18", options={"colour": 1})


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_the_middle_of_what_is_upsampled_is_interpolated(factor):
    layer = upsampling(3, factor)
    x = torch.rand(1, 3, 4, 5)
    with torch.no_grad():
        ours = layer(x)[:, :, factor:-factor, factor:-factor].numpy()
    theirs = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inner = theirs[:, :, factor // 2 : -(factor // 2), factor // 2 : -(factor // 2)].numpy()
    np.testing.assert_allclose(ours, inner[..., : ours.shape[2], : ours.shape[3]], atol=1e-6)
