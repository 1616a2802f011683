import pytest
import torch
import torchvision
from torch import nn

from visionlab.nets.features import ClassifierFeatures, VGGFeatures

LAYERS = {"vgg16": {"relu1_2": 3, "relu2_2": 8, "pool3": 16, "conv4_3": 21}, "vgg19": {"relu4_2": 22, "relu5_1": 29}}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_vgg_have_the_names_of_the_literature(name, tmp_path):
    """By the positions of torchvision's layers, with its weights, or those of its features alone."""
    features = torchvision.models.get_model(name).features.eval()
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    net = VGGFeatures(name, str(tmp_path / "weights.pth"))
    assert net.name == name
    images = torch.rand(2, 3, 32, 32)
    found = net(images, list(LAYERS[name]))
    scaled = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    for layer, at in LAYERS[name].items():
        expected = features[:at](scaled) if not layer.startswith("relu") else features[: at + 1](scaled)
        if layer.startswith(("pool", "conv")):
            expected = features[: at + 1](scaled)
        torch.testing.assert_close(found[layer], expected)


def test_random_features_say_so():
    assert VGGFeatures("vgg16").name == "random_vgg16"
    with pytest.raises(ValueError, match="there is no layer 'relu9_9'; there are conv1_1, relu1_1, conv1_2"):
        VGGFeatures("vgg16")(torch.zeros(1, 3, 8, 8), ["relu9_9"])
    with pytest.raises(ValueError, match="net must be vgg16 or vgg19, not 'vgg11'"):
        VGGFeatures("vgg11")


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Sequential(nn.Conv2d(4, 5, 3), nn.Flatten()))


def test_any_classifier_serves_by_the_names_of_its_modules(tmp_path):
    net, images = small(), torch.rand(2, 3, 8, 8)
    features = ClassifierFeatures(net, "small")
    found = features(images, ["0", "2.0"])
    torch.testing.assert_close(found["0"], net[0](images))  # before the ReLU, which would change it in place
    torch.testing.assert_close(found["2.0"], net[2][0](net[0](images).relu()))
    assert not net[0]._forward_hooks
    with pytest.raises(ValueError, match=r"there is no layer '2.1.0'; there are 0, 1, 2, 2.0, 2.1"):
        features(images, ["2.1.0"])


def test_the_classifier_of_a_run_is_read_from_its_checkpoint(tmp_path):
    trained = small()
    nn.init.ones_(trained[0].weight)
    state = {f"net.{key}": value for key, value in trained.state_dict().items()} | {"losses.x": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "best.ckpt")
    features = ClassifierFeatures(small(), "small", str(tmp_path / "best.ckpt"))
    assert torch.equal(features.net[0].weight, trained[0].weight)
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint nowhere\.ckpt"):
        ClassifierFeatures(small(), "small", "nowhere.ckpt")
    (tmp_path / "noise.ckpt").write_bytes(b"noise")
    with pytest.raises(ValueError, match="is no checkpoint of a run"):
        ClassifierFeatures(small(), "small", str(tmp_path / "noise.ckpt"))
    with pytest.raises(ValueError, match="entries are missing"):
        ClassifierFeatures(nn.Sequential(*small(), nn.Linear(80, 2)), "small", str(tmp_path / "best.ckpt"))
