import copy
import pickle
import re
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torchvision.models import get_model, get_model_weights, list_models

from visionlab.nets.torchvision import Classifier

FAST = {
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5"),
    *("mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnext50_32x4d"),
    *("shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1", "swin_t", "vgg11", "vit_b_32", "wide_resnet50_2"),
}
ALL = [
    pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
    for name in list_models(module=torchvision.models)
]
# one of each way to end a net; the slow ones have more than 30 million parameters
FAMILIES = [
    *("convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5", "mobilenet_v2"),
    *("mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("alexnet", "inception_v3", "maxvit_t", "swin_t")),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("swin_v2_t", "vgg11_bn", "vit_b_32")),
]
OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


def device(name):
    """Where a model can be built: without memory, but for RegNets, which read tensors while they are built."""
    return "cpu" if name.startswith("regnet") else "meta"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty torch cache and no network."""

    def unreachable(*_):
        raise URLError("unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    return tmp_path / "checkpoints"


def published(name, num_classes=11):
    """A state dict as it is published, auxiliary classifiers included, in which every tensor is another constant."""
    with torch.device(device(name)):
        state = get_model(name, num_classes=num_classes, **OPTIONS.get(name, {})).state_dict()
    for i, (key, value) in enumerate(state.items()):
        state[key] = torch.full(value.shape, 1 + i if value.dtype == torch.int64 else (1 + i) / 1000)
    return state


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("error")
def test_every_model_gives_logits(name):
    size = 299 if name == "inception_v3" else 224
    images = torch.zeros(2, 3, size, size, device="meta")
    with torch.device(device(name)):
        net = Classifier(7, name).to("meta")
    assert net.eval()(images).shape == (2, 7)
    assert net.train()(images).shape == (2, 7)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_of_other_classes_fill_all_but_the_last_layer(name, tmp_path):
    state = published(name)
    torch.save(state, tmp_path / "weights.pth")
    loaded = Classifier(7, name, str(tmp_path / "weights.pth")).net.state_dict()
    fresh = [key for key in loaded if not torch.equal(loaded[key], state[key])]
    assert len({key.rpartition(".")[0] for key in fresh}) == 1
    assert {loaded[key].shape[0] for key in fresh} == {7}


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet121", "squeezenet1_1"])
def test_weights_of_the_same_classes_fill_every_layer(name, tmp_path):
    state = published(name)
    torch.save(state, tmp_path / "weights.pth")
    loaded = Classifier(11, name, str(tmp_path / "weights.pth")).net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_published_weights_are_read_from_the_cache_of_torch(offline):
    offline.mkdir()
    weights = get_model_weights("resnet18").IMAGENET1K_V1
    state = published("resnet18", 1000)
    torch.save(state, offline / Path(weights.url).name)
    for name in ("DEFAULT", "IMAGENET1K_V1"):
        assert torch.equal(Classifier(1000, "resnet18", name).net.fc.weight, state["fc.weight"])
        assert torch.equal(Classifier(5, "resnet18", name).net.conv1.weight, state["conv1.weight"])


def test_names_in_the_published_files_of_densenet_are_understood(offline):
    offline.mkdir()
    state = published("densenet121", 1000)
    old = {re.sub(r"(denselayer\d+\.(norm|conv))([12])", r"\1.\3", key): value for key, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, offline / Path(get_model_weights("densenet121").DEFAULT.url).name)
    loaded = Classifier(1000, "densenet121", "DEFAULT").net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


@pytest.mark.slow
def test_old_names_in_the_published_files_of_vision_transformers_are_understood(tmp_path):
    state = published("vit_b_32")
    new = state["encoder.layers.encoder_layer_0.mlp.0.weight"]
    old = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value for key, value in state.items()
    }
    torch.save(old, tmp_path / "weights.pth")
    loaded = Classifier(7, "vit_b_32", str(tmp_path / "weights.pth")).net
    assert torch.equal(loaded.encoder.layers[0].mlp[0].weight, new)


@pytest.mark.slow
def test_a_vision_transformer_takes_the_size_of_its_weights(tmp_path):
    state = published("vit_b_32")
    state["encoder.pos_embedding"] = torch.zeros(1, 1 + 3 * 3, 768)
    torch.save(state, tmp_path / "weights.pth")
    net = Classifier(7, "vit_b_32", str(tmp_path / "weights.pth"))
    assert net(torch.rand(1, 3, 96, 96)).shape == (1, 7)


def test_all_weights_of_a_model_want_one_normalisation():
    for name in list_models(module=torchvision.models):
        default = get_model_weights(name).DEFAULT.transforms()
        for weights in get_model_weights(name):
            if weights.name != "IMAGENET1K_FEATURES":
                assert (weights.transforms().mean, weights.transforms().std) == (default.mean, default.std)


@pytest.mark.slow
def test_normalisation_follows_the_model():
    resnet, efficientnet = Classifier(2, "resnet18"), Classifier(2, "efficientnet_v2_l")
    torch.testing.assert_close(resnet.normalize.std.flatten(), torch.tensor([0.229, 0.224, 0.225]))
    assert efficientnet.normalize.std.flatten().tolist() == [0.5, 0.5, 0.5]


def test_images_are_normalised_as_published_weights_want_them(tmp_path):
    torch.save(get_model("mobilenet_v3_small").state_dict(), tmp_path / "weights.pth")
    ours = Classifier(1000, "mobilenet_v3_small", str(tmp_path / "weights.pth")).eval()
    theirs = get_model("mobilenet_v3_small").eval()
    theirs.load_state_dict(torch.load(tmp_path / "weights.pth"))
    images = torch.rand(2, 3, 224, 224)
    transforms = get_model_weights("mobilenet_v3_small").DEFAULT.transforms()
    torch.testing.assert_close(ours(images), theirs(transforms(images)), rtol=1e-4, atol=1e-5)


def test_googlenet_sees_images_from_minus_one_to_one():
    net = Classifier(2, "googlenet").eval()
    seen = []
    net.net.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    images = torch.rand(1, 3, 64, 64)
    net(images)
    torch.testing.assert_close(seen[0], 2 * images - 1, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "nearest"), [("resnet_50", "resnet50"), ("resnet10", "resnet101"), ("efficentnet_b0", "efficientnet_b0")]
)
def test_a_misspelt_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"{name}.*did you mean.*{nearest}"):
        Classifier(10, name)


def test_a_model_of_another_task_is_refused():
    with pytest.raises(ValueError, match="no classification model 'fasterrcnn_resnet50_fpn'"):
        Classifier(10, "fasterrcnn_resnet50_fpn")


def test_misspelt_weights_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"IMAGENET1K_V3.*did you mean.*IMAGENET1K_V2.*nor is there such a file"):
        Classifier(10, "resnet50", "IMAGENET1K_V3")


def test_weights_that_cannot_be_downloaded_say_which_file_to_put_where(offline):
    with pytest.raises(FileNotFoundError, match="unreachable") as caught:
        Classifier(10, "resnet18", "DEFAULT")
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(caught.value)
    assert str(offline / "resnet18-f37072fd.pth") in str(caught.value)


def test_the_digest_of_every_published_file_is_in_its_name():
    for name in list_models(module=torchvision.models):
        for weights in get_model_weights(name):
            assert len(torch.hub.HASH_REGEX.findall(Path(weights.url).name)) == 1


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(published("resnet18"), tmp_path / "weights.pth")
    for name in ("resnet34", "resnet50", "mobilenet_v2", "vit_b_32"):
        with pytest.raises(ValueError, match=rf"weights\.pth, as weights of {name}"):
            Classifier(7, name, str(tmp_path / "weights.pth"))


def test_weights_without_a_layer_are_refused(tmp_path):
    state = published("resnet18")
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"1 entries are missing \['layer1.0.conv1.weight'\]"):
        Classifier(7, "resnet18", str(tmp_path / "weights.pth"))


def test_weights_of_features_only_are_refused(tmp_path):
    state = published("squeezenet1_1")
    state["features.0.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="not all numbers are finite"):
        Classifier(7, "squeezenet1_1", str(tmp_path / "weights.pth"))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a file of weights was executed",))


@pytest.mark.parametrize("content", ["garbage", "cut", "code", "list"])
def test_a_file_that_is_no_state_dict_is_refused_and_not_executed(content, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(published("squeezenet1_1"), file)
    if content == "garbage":
        file.write_bytes(b"abc")
    elif content == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        torch.save({"code": Bomb()} if content == "code" else [torch.zeros(1)], file)
    with pytest.raises(ValueError, match=r"weights\.pth is not a"):
        Classifier(7, "squeezenet1_1", str(file))


def test_grey_images_pass_as_rgb():
    net = Classifier(3, "squeezenet1_1").eval()
    grey = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(net(grey), net(grey.expand(2, 3, 64, 64)))


def test_the_weights_can_be_copied_in_every_way():
    net, other = (Classifier(3, "squeezenet1_1").eval() for _ in range(2))
    images = torch.rand(2, 3, 64, 64)
    other.load_state_dict(net.state_dict())
    for copied in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(copied(images), net(images))
