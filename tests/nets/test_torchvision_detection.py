import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.ops import FrozenBatchNorm2d

from tiny_detectors import faster_rcnn, retinanet
from visionlab.nets.detection import losses_and_detections
from visionlab.nets.torchvision_detection import Detector, load_detector

NAMES = list_models(module=torchvision.models.detection)
WITHOUT_BACKGROUND = ("retinanet", "fcos")


def built(name, num_classes=20, **arguments):
    with torch.device("meta"):
        return Detector(num_classes, name, **arguments)


def count(net):
    return sum(p.numel() for p in net.parameters())


def published(name, outputs):
    """A state dict as it is published, in which every tensor is another constant."""
    with torch.device("meta"):
        state = get_model(name, weights=None, weights_backbone=None, num_classes=outputs).state_dict()
    return {
        key: torch.full(value.shape, 1 + i if value.dtype == torch.int64 else (1 + i) / 1000)
        for i, (key, value) in enumerate(state.items())
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_as_many_parameters_as_published(name):
    """The labels of torchvision's weights are COCO's 90, or 1 of people, and the background."""
    classes = len(get_model_weights(name).DEFAULT.meta["categories"]) - (not name.startswith(WITHOUT_BACKGROUND))
    if name.startswith("keypoint"):
        classes = 1
    frozen = not name.endswith("_v2") and "lite" not in name
    net = built(name, classes, frozen_batchnorm=frozen)
    assert count(net) == get_model_weights(name).DEFAULT.meta["num_params"]


@pytest.mark.parametrize(
    ("name", "classes", "frozen", "parameters"),
    [
        ("fasterrcnn_resnet50_fpn", 90, True, 41_755_286),
        ("fasterrcnn_resnet50_fpn", 90, False, 41_808_406),
        ("fasterrcnn_resnet50_fpn", 20, False, 41_449_656),
        ("maskrcnn_resnet50_fpn", 90, False, 44_454_513),
        ("keypointrcnn_resnet50_fpn", 1, False, 59_190_378),
        ("retinanet_resnet50_fpn", 91, False, 34_068_119),
        ("retinanet_resnet50_fpn", 21, False, 32_615_969),
        ("ssd300_vgg16", 20, False, 26_285_486),
    ],
)
def test_other_classes_and_batchnorm_that_learns_have_the_known_counts(name, classes, frozen, parameters):
    assert count(built(name, classes, frozen_batchnorm=frozen)) == parameters


@pytest.mark.parametrize(
    "name", ["fasterrcnn_mobilenet_v3_large_320_fpn", pytest.param("ssd300_vgg16", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("layers", [0, 2, None])
def test_the_last_stages_are_trained(name, layers, tmp_path):
    body = "vgg16" if "vgg" in name else "mobilenet_v3_large"
    with torch.device("meta"):
        state = {k: v for k, v in get_model(body).state_dict().items() if k.startswith("features.")}
    file = tmp_path / "backbone.pth"
    torch.save({key: torch.zeros(value.shape) for key, value in state.items()}, file)
    net = Detector(2, name, weights_backbone=str(file), trainable_layers=layers)
    parts = (["features", "extra.0"], ["body"])[body != "vgg16"]
    learnt = {k for k, p in net.net.backbone.named_parameters() if p.requires_grad and k.startswith(tuple(parts))}
    expected = expected_parameters(body, {0: 0, 2: 2, None: 4 if body == "vgg16" else 3}[layers])
    assert {key for key in learnt if "extra.0.7" not in key} == expected
    assert all(p.requires_grad for k, p in net.net.backbone.named_parameters() if not k.startswith(tuple(parts)))


def expected_parameters(body, layers):
    """The parameters that torchvision's own functions leave to be trained."""
    if body == "vgg16":
        from torchvision.models.detection.ssd import _vgg_extractor

        with torch.device("meta"):
            backbone = _vgg_extractor(torchvision.models.vgg16(), False, layers)
        parts = ("features", "extra.0")
    else:
        backbone = torchvision.models.detection.backbone_utils.mobilenet_backbone(
            backbone_name=body, weights=None, fpn=True, norm_layer=FrozenBatchNorm2d, trainable_layers=layers
        )
        parts = ("body",)
    named = backbone.named_parameters()
    return {k for k, p in named if p.requires_grad and k.startswith(parts) and "extra.0.7" not in k}


def test_weights_of_other_classes_fill_all_but_the_layers_of_classes(tmp_path):
    name = "ssdlite320_mobilenet_v3_large"
    state = published(name, 91)
    torch.save(state, tmp_path / "weights.pth")
    loaded = Detector(20, name, str(tmp_path / "weights.pth")).net.state_dict()
    fresh = {key for key in loaded if not torch.equal(loaded[key], state[key])}
    assert fresh
    assert all(key.startswith("head.classification_head.") for key in fresh)


def test_weights_of_the_same_classes_fill_every_layer(tmp_path):
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    state = published(name, 91)
    torch.save(state, tmp_path / "weights.pth")
    net = Detector(90, name, str(tmp_path / "weights.pth"))
    assert all(torch.equal(value, state[key]) for key, value in net.net.state_dict().items())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_the_unused_background_of_retinanets_weights_is_left_out():
    torch.manual_seed(0)
    theirs, ours = retinanet(8, score_thresh=0.005), retinanet(7, score_thresh=0.005)
    with torch.no_grad():  # no object ever had the first output
        theirs.head.classification_head.cls_logits.bias.view(9, 8)[:, 0] = -50
    load_detector(ours, theirs.state_dict(), "weights")
    images = [torch.rand(3, 60, 90)]
    (expected,) = theirs.eval()(images)
    (found,) = losses_and_detections(ours.eval(), images, None)[1]()
    assert len(found["boxes"]) > 0
    torch.testing.assert_close(found["boxes"], expected["boxes"])
    torch.testing.assert_close(found["scores"], expected["scores"])
    assert torch.equal(found["labels"], expected["labels"] - 1)


def test_weights_that_lack_or_add_something_are_refused():
    state = faster_rcnn(3).state_dict()
    with pytest.raises(ValueError, match=r"W: 1 entries are missing \['rpn.head.bbox_pred.bias'\]"):
        load_detector(faster_rcnn(3), {k: v for k, v in state.items() if k != "rpn.head.bbox_pred.bias"}, "W")
    with pytest.raises(ValueError, match=r"W: .*1 are new \['more'\]"):
        load_detector(faster_rcnn(3), {**state, "more": torch.zeros(1)}, "W")
    with pytest.raises(ValueError, match=r"(?s)W: .*size mismatch"):
        load_detector(faster_rcnn(3), {**state, "roi_heads.box_head.fc7.weight": torch.zeros(1, 1)}, "W")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "fasterrcnn_resnet50"}, "no detection model 'fasterrcnn_resnet50'; did you mean fasterrcnn_resnet50"),
        ({"name": "resnet50"}, "no detection model 'resnet50'"),
        ({"name": "ssd300_vgg16", "weights": "COCO_V2"}, "no weights 'COCO_V2'; did you mean COCO_V1"),
        ({"name": "ssd300_vgg16", "weights": "a", "weights_backbone": "b"}, "give either"),
        ({"name": "ssd300_vgg16", "min_size": 300}, "cannot be changed"),
        ({"name": "ssdlite320_mobilenet_v3_large", "weights_backbone": "DEFAULT"}, "takes neither"),
        ({"name": "fasterrcnn_resnet50_fpn", "trainable_layers": 6}, r"must lie in 0\.\.5, not 6"),
        (
            {"name": "fasterrcnn_resnet50_fpn", "options": {"rpn_nms": 0.5}},
            "options of FasterRCNN has no 'rpn_nms'; did you mean rpn_nms_thresh",
        ),
        ({"name": "fcos_resnet50_fpn", "anchor_sizes": [[8]]}, "FCOS has no anchors"),
        ({"name": "fasterrcnn_resnet50_fpn", "aspect_ratios": [1.0]}, "5 levels with 3 anchors at each place"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        built(**arguments)


def test_arguments_reach_the_model():
    common = {"score_thresh": 0.3, "nms_thresh": 0.4, "detections_per_image": 7}
    rcnn = built("fasterrcnn_resnet50_fpn", min_size=[64, 80], max_size=99, options={"rpn_nms_thresh": 0.6}, **common)
    assert (rcnn.net.transform.min_size, rcnn.net.transform.max_size, rcnn.net.rpn.nms_thresh) == ([64, 80], 99, 0.6)
    heads = rcnn.net.roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.3, 0.4, 7)
    ssd = built("ssd300_vgg16", **common).net
    assert (ssd.score_thresh, ssd.nms_thresh, ssd.detections_per_img) == (0.3, 0.4, 7)


def test_anchors_can_be_others():
    sizes = [[float(16 * 2**i)] for i in range(5)]
    net = Detector(2, "fasterrcnn_mobilenet_v3_large_320_fpn", anchor_sizes=[[8, 16, 32, 64, 128]] * 3)
    assert net.net.rpn.anchor_generator.sizes == ((8, 16, 32, 64, 128),) * 3
    net = built("fasterrcnn_resnet50_fpn", anchor_sizes=sizes, aspect_ratios=[0.3, 1.0, 3.0])
    assert net.net.rpn.anchor_generator.aspect_ratios == ((0.3, 1.0, 3.0),) * 5
