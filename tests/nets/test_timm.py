import copy
import importlib
import pickle
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

from visionlab.nets.timm import Classifier

FAMILIES = [
    *("convnext_atto", "deit_tiny_distilled_patch16_224", "densenet121", "efficientnet_b0", "mixer_s32_224"),
    *("mobilenetv1_100", "mobilenetv4_conv_small", "legacy_seresnet50", "legacy_xception", "resnet50.a1_in1k"),
    *("tf_efficientnetv2_b0", "vgg11", "vit_tiny_patch16_224"),
]
TINY = ["test_convnext", "test_efficientnet", "test_resnet", "test_vit", "test_nfnet", "test_byobnet"]


def source(name, num_classes=11, in_channels=3):
    torch.manual_seed(1)
    return timm.create_model(name, num_classes=num_classes, in_chans=in_channels)


@pytest.mark.parametrize("name", FAMILIES)
def test_models_give_logits(name):
    with torch.device("meta"):
        net = Classifier(7, name)
        assert net.eval()(torch.zeros(2, 3, 224, 224)).shape == (2, 7)


@pytest.mark.parametrize("name", TINY)
def test_weights_of_other_classes_fill_all_but_the_last_layer(name, tmp_path):
    torch.save(source(name).state_dict(), tmp_path / "weights.pth")
    state, loaded = source(name).state_dict(), Classifier(7, name, str(tmp_path / "weights.pth")).net.state_dict()
    head = timm.get_pretrained_cfg(name).classifier
    assert {key for key in state if not torch.equal(loaded[key], state[key])} <= {f"{head}.weight", f"{head}.bias"}
    assert loaded[f"{head}.weight"].shape[0] == 7


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_weights_of_the_same_classes_fill_every_layer(ending, tmp_path):
    file = tmp_path / f"weights.{ending}"
    state = source("test_vit").state_dict()
    if ending == "pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    loaded = Classifier(11, "test_vit", str(file)).net.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_images_are_normalised_as_the_weights_want_them(tmp_path):
    torch.save(source("test_vit").state_dict(), tmp_path / "weights.pth")
    ours, theirs = Classifier(11, "test_vit", str(tmp_path / "weights.pth")).eval(), source("test_vit").eval()
    cfg = theirs.pretrained_cfg
    images = torch.rand(2, *cfg["input_size"])
    mean, std = (torch.tensor(cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(ours(images), theirs((images - mean) / std), rtol=1e-4, atol=1e-5)


def test_normalisation_follows_the_tag():
    imagenet, half = Classifier(2, "tf_efficientnet_b0.aa_in1k"), Classifier(2, "tf_efficientnet_b0.ap_in1k")
    torch.testing.assert_close(imagenet.normalize.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert half.normalize.mean.flatten().tolist() == [0.5, 0.5, 0.5]


def test_weights_for_rgb_serve_other_channels(tmp_path):
    torch.save(source("test_resnet").state_dict(), tmp_path / "weights.pth")
    net = Classifier(7, "test_resnet", str(tmp_path / "weights.pth"), in_channels=1).eval()
    state = source("test_resnet").state_dict()
    torch.testing.assert_close(net.net.conv1[0].weight, state["conv1.0.weight"].sum(1, keepdim=True))
    assert net(torch.rand(2, 1, 64, 64)).shape == (2, 7)


def test_default_weights_are_asked_of_timm(monkeypatch):
    asked = []
    create = timm.create_model

    def create_model(name, pretrained=False, **arguments):
        asked.append((name, pretrained))
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", create_model)
    assert Classifier(7, "test_resnet.r160_in1k", "DEFAULT").net.num_classes == 7
    assert asked == [("test_resnet.r160_in1k", True)]


def test_weights_that_cannot_be_downloaded_say_which_file_to_get(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("unreachable")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(FileNotFoundError, match=r"unreachable.*model.safetensors of timm/test_resnet.r160_in1k"):
        Classifier(7, "test_resnet", "DEFAULT")


def test_a_model_without_published_weights_says_so():
    with pytest.raises(ValueError, match="no weights for 'densenet264d'"):
        Classifier(7, "densenet264d", "DEFAULT")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet_50", "resnet50"), ("resnet50.a1_in1", "resnet50.a1_in1k"), ("vit_tiny_patch16", "vit_tiny_patch16_224")],
)
def test_a_misspelt_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"{name}.*did you mean.*{nearest}"):
        Classifier(7, name)


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(source("test_resnet").state_dict(), tmp_path / "weights.pth")
    for name in ("test_vit", "resnet18"):
        with pytest.raises(ValueError, match=rf"weights\.pth does not fit {name}"):
            Classifier(7, name, str(tmp_path / "weights.pth"))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*missing\.pth"):
        Classifier(7, "test_resnet", str(tmp_path / "missing.pth"))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a file of weights was executed",))


@pytest.mark.parametrize("content", ["garbage", "cut", "code"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_file_that_is_no_state_dict_is_refused_and_not_executed(content, ending, tmp_path):
    file = tmp_path / f"weights.{ending}"
    if content == "garbage":
        file.write_bytes(b"abc")
    elif content == "cut":
        save = torch.save if ending == "pth" else save_file
        save(source("test_resnet").state_dict(), file)
        file.write_bytes(file.read_bytes()[:5000])
    else:
        torch.save({"code": Bomb()}, file)
    with pytest.raises(ValueError, match=r"is not a whole file of weights"):
        Classifier(7, "test_resnet", str(file))


def test_without_timm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "visionlab.nets.timm")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install visionlab\[timm\]"):
        importlib.import_module("visionlab.nets.timm")


def test_the_weights_can_be_copied_in_every_way():
    net, other = (Classifier(3, "test_resnet").eval() for _ in range(2))
    images = torch.rand(2, 3, 64, 64)
    other.load_state_dict(net.state_dict())
    for copied in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(copied(images), net(images))
