import pytest
import torch
import torchvision
from torch import nn

from visionlab.nets.faster_rcnn import FasterRCNN, FasterRCNNVGG16

SMALL = {"min_size": 64, "max_size": 96, "rpn_post_nms_top_n_train": 20, "rpn_post_nms_top_n_test": 20}


@pytest.mark.parametrize(
    "backbone",
    [
        *("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("efficientnet_b0", "densenet121", "convnext_tiny")),
    ],
)
def test_any_sequence_of_convolutional_parts_is_a_backbone(backbone):
    torch.manual_seed(0)
    net = FasterRCNN(3, backbone, options=SMALL)
    maps = net.net.backbone(torch.zeros(2, 3, 64, 96))
    sizes = [(64 // stride, 96 // stride) for stride in (4, 8, 16, 32)]
    assert [tuple(one.shape) for one in maps.values()] == [(2, 256, *size) for size in [*sizes, (1, 2)]]
    target = {"boxes": torch.tensor([[3.0, 4, 30, 35]]), "labels": torch.tensor([2])}
    losses, find = net([torch.rand(3, 40, 60)], [target])
    assert torch.stack(list(losses.values())).isfinite().all()
    assert len(find()) == 1


def test_building_counts_no_image():
    fresh = FasterRCNN(3, "resnet18").net.backbone.body.bn1
    assert fresh.num_batches_tracked == 0
    assert torch.equal(fresh.running_mean, torch.zeros(64))
    assert fresh.training


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small"])
def test_weights_of_the_classifier_fill_the_backbone_and_freeze_its_batchnorm(backbone, tmp_path):
    torch.manual_seed(0)
    classifier = torchvision.models.get_model(backbone)
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    net = FasterRCNN(3, backbone, str(tmp_path / "weights.pth"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    state = classifier.state_dict()
    for key, value in net.net.backbone.body.state_dict().items():
        assert torch.equal(value, state[key if backbone == "resnet18" else f"features.{key}"])


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "vit_b_32", "swin_t"])
def test_a_model_without_the_maps_is_refused(backbone):
    with pytest.raises(ValueError, match=f"{backbone} is no sequence with maps at strides"):
        FasterRCNN(3, backbone)


def test_a_misspelt_backbone_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean resnet18"):
        FasterRCNN(3, "resnet-18")


def test_over_vgg16_it_is_that_of_the_paper():
    with torch.device("meta"):
        net = FasterRCNNVGG16(20)
        vgg = torchvision.models.vgg16()
    outside = sum(p.numel() for p in vgg.classifier[6].parameters())
    rpn = (512 * 9 + 1) * 512 + (512 + 1) * 9 * (1 + 4)
    predictor = (4096 + 1) * 21 * (1 + 4)
    assert sum(p.numel() for p in net.parameters()) == 138_357_544 - outside + rpn + predictor
    assert net.net.rpn.anchor_generator.num_anchors_per_location() == [9]
    assert net.net.backbone(torch.zeros(1, 3, 96, 64, device="meta")).shape == (1, 512, 6, 4)
    assert net.net.transform.min_size == (600,)


@pytest.mark.slow
def test_over_vgg16_the_first_four_convolutions_keep_their_weights(tmp_path):
    torch.save(torchvision.models.vgg16().state_dict(), tmp_path / "weights.pth")
    net = FasterRCNNVGG16(3, str(tmp_path / "weights.pth"), {"min_size": 64, "max_size": 96}).eval()
    frozen = [name for name, p in net.net.backbone.named_parameters() if not p.requires_grad]
    assert frozen == [f"{i}.{part}" for i in (0, 2, 5, 7) for part in ("weight", "bias")]
    target = {"boxes": torch.tensor([[3.0, 4, 30, 35]]), "labels": torch.tensor([2])}
    losses, find = net([torch.rand(3, 40, 60)], [target])
    assert torch.stack(list(losses.values())).isfinite().all()
    assert find()[0]["boxes"].shape[1] == 4
