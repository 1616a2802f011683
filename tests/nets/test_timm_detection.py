import pytest
import torch
from torch import nn

from visionlab.nets.timm_detection import FasterRCNN

SMALL = {"min_size": 64, "max_size": 96, "rpn_post_nms_top_n_train": 20, "rpn_post_nms_top_n_test": 20}


@pytest.mark.parametrize("backbone", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_a_model_that_gives_maps_is_a_backbone(backbone):
    torch.manual_seed(0)
    net = FasterRCNN(3, backbone, options=SMALL)
    maps = net.net.backbone(torch.zeros(2, 3, 64, 96))
    sizes = [(64 // stride, 96 // stride) for stride in (4, 8, 16, 32)]
    assert [tuple(one.shape) for one in maps.values()] == [(2, 256, *size) for size in [*sizes, (1, 2)]]
    target = {"boxes": torch.tensor([[3.0, 4, 30, 35]]), "labels": torch.tensor([2])}
    losses, find = net([torch.rand(3, 40, 60)], [target])
    assert torch.stack(list(losses.values())).isfinite().all()
    assert len(find()) == 1


def test_images_are_normalised_as_the_weights_want_them():
    net = FasterRCNN(3, "resnet10t", frozen_batchnorm=True)
    assert net.net.transform.image_mean == list(net.net.backbone.body.pretrained_cfg["mean"])
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize(
    ("backbone", "message"),
    [("resnet-10t", "did you mean resnet10t"), ("vit_tiny_patch16_224", r"strides \[16\]")],
)
def test_what_cannot_be_a_backbone_is_refused(backbone, message):
    with pytest.raises(ValueError, match=message):
        FasterRCNN(3, backbone)
