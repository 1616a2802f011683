import io
import os
import random
import shutil

import numpy as np
import pytest
import torch
import yaml

from stand_ins import FewDigits
from visionlab.load import load
from visionlab.metrics.generated_images import extract, to_size
from visionlab.scores.trained import TrainedClassifier

inception = pytest.importorskip("visionlab.scores.inception")


def digits():
    return torch.from_numpy(FewDigits().dataset("test").images.transpose(0, 3, 1, 2).copy())


def test_features_are_what_the_last_layer_is_given(finished):
    extractor = TrainedClassifier(str(finished))
    extractor.open()
    images = digits()
    features, logits = extract(extractor, images)
    net = load(finished).task.net
    with torch.inference_mode():
        torch.testing.assert_close(logits, net(images / 255), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(features, net.features(images / 255).flatten(1), rtol=1e-5, atol=1e-5)
    assert extractor.classes == list("0123456789")
    assert not extractor.training
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_the_name_says_weights_and_size(finished, tmp_path):
    extractor, same = TrainedClassifier(str(finished)), TrainedClassifier(str(finished), image_size=8)
    extractor.open()
    same.open()
    assert extractor.name.startswith("TinyNet-")
    assert same.name == f"{extractor.name}-8px"
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    checkpoint = torch.load(copy / "checkpoints" / "best.ckpt")
    checkpoint["state_dict"]["net.head.2.bias"] += 1e-3
    torch.save(checkpoint, copy / "checkpoints" / "best.ckpt")
    other = TrainedClassifier(str(copy))
    other.open()
    assert other.name != extractor.name


def test_images_are_resized(finished):
    extractor = TrainedClassifier(str(finished), image_size=8)
    extractor.open()
    large = torch.randint(256, (3, 1, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    small = to_size(large / 255, 8)
    with torch.inference_mode():
        torch.testing.assert_close(extract(extractor, large).logits, extractor.net(small), rtol=1e-5, atol=1e-5)


def test_another_layer_can_be_chosen(finished):
    extractor = TrainedClassifier(str(finished), layer="features.1")
    extractor.open()
    assert extract(extractor, digits()).features.shape == (80, 8 * 3 * 3)
    with pytest.raises(ValueError, match="has no part 'fc'"):
        TrainedClassifier(str(finished), layer="fc").open()


def test_opening_leaves_the_run_around_it_as_it_was(finished, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    TrainedClassifier(str(finished)).open()
    assert (torch.rand(1), np.random.rand(), random.random()) == expected  # noqa: NPY002
    assert os.environ["PL_GLOBAL_SEED"] == "17"


def test_what_is_no_classifier_is_an_error(finished, tmp_path):
    TrainedClassifier("nowhere")  # the weights are read when they are needed
    with pytest.raises(ValueError, match="nowhere is not a run folder"):
        TrainedClassifier("nowhere").open()
    with pytest.raises(ValueError, match="image_size must be at least 1, not 0"):
        TrainedClassifier("nowhere", image_size=0)
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["init_args"]["net"] = {"class_path": "test_extractors.NoHead"}
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    net = {f"net.{name}": value for name, value in NoHead(10).state_dict().items()}
    checkpoint = torch.load(copy / "checkpoints" / "best.ckpt")
    torch.save({**checkpoint, "state_dict": net}, copy / "checkpoints" / "best.ckpt")
    with pytest.raises(ValueError, match="NoHead, has no linear layer of 10 outputs"):
        TrainedClassifier(str(copy)).open()


class NoHead(torch.nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(torch.nn.Conv2d(1, num_classes, 8), torch.nn.Flatten())


def test_inception_without_its_weights_is_an_error(tmp_path):
    missing = inception.Inception(str(tmp_path / "weights.pth"))
    with pytest.raises(FileNotFoundError, match=r"download weights-inception-2015-12-05-6726825d\.pth"):
        missing.open()
    for content in (b"garbage", pickled(RunsCode()), pickled({"fc.weight": torch.zeros(3)})):
        (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(ValueError, match="does not hold the weights"):
            missing.open()
    assert not (tmp_path / "executed").exists()


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def pickled(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.slow
def test_inception_is_that_of_torch_fidelity(tmp_path, monkeypatch):
    theirs = inception.FeatureExtractorInceptionV3
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(theirs, "load_state_dict", lambda net, state: None)  # random weights: the true ones are not here
        net = theirs("inception", ["2048", "logits_unbiased"], io.BytesIO(pickled({})))
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    extractor = inception.Inception(str(tmp_path / "weights.pth"))
    extractor.open()
    assert extractor.name.startswith("inception-")
    assert extractor.name.endswith("-299px")
    grey = digits()[:3]
    features, logits = extract(extractor, grey)
    with torch.inference_mode():
        expected = net(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(features, expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, expected[1], rtol=1e-4, atol=1e-4)
    assert features.shape == (3, 2048)
    assert logits.shape == (3, 1008)
