"""Every recipe runs, from its first step to the table of results, on a twin of its data set."""

import json
import math
import os
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from conftest import in_child, wait_for
from visionlab.cli import main
from visionlab.cli.data import names, read_card
from visionlab.experiment import Experiment
from visionlab.run import Run

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RECIPES = sorted(EXPERIMENTS.rglob("*.yaml"))
SLOW = (
    *("coco_faster_rcnn", "coco_mask_rcnn", "coco_keypoint_rcnn", "voc_ssd300"),
    *("voc_deeplabv3", "voc_fcn_resnet50", "voc_fcn8s", "voc_unet"),
    *("voc_faster_rcnn", "coco_fcos", "coco_lraspp", "voc_resnet50", "cifar10_resnet110", "cifar100_resnet110"),
    *("cifar10_resnet18_fgsm", "cifar10_resnet20_pgd", "imagenet_panda", "shapes_cyclegan"),
    *("cifar10_cgan", "cifar10_sngan", "cifar10_wgan_gp", "coco_style_transfer"),
    *("openimages_faster_rcnn", "openimages_resnet50"),
)
"""Those that take longest, of kinds of which others are left."""

recipes = pytest.mark.parametrize("recipe", RECIPES, ids=[str(path.relative_to(EXPERIMENTS)) for path in RECIPES])
trained = pytest.mark.parametrize(
    "recipe",
    [pytest.param(path, marks=pytest.mark.slow) if path.stem in SLOW else path for path in RECIPES],
    ids=[str(path.relative_to(EXPERIMENTS)) for path in RECIPES],
)


@pytest.fixture(scope="session")
def twin(tmp_path_factory):
    """Gives the root of a small twin of the data set of a class path, written at most once."""
    roots = {}
    cards = {path: card for card in map(read_card, names()) for path in card.data}

    def make(class_path):
        if class_path not in roots:
            card = cards[class_path]
            roots[class_path] = tmp_path_factory.mktemp("twin") / "data"
            images = 3 * card.classes if card.classes is not None and card.classes <= 100 else 40
            pkgutil.resolve_name(card.make)(roots[class_path], images, 0)
        return roots[class_path]

    return make


def random_weights(name):
    """Those of a classifier without its last layers, made without the seconds that starting these would take."""
    with torch.device("meta"):
        state = torchvision.models.get_model(name).state_dict()
    state = {key: value for key, value in state.items() if not key.startswith(("classifier.", "fc."))}
    return {key: torch.full(v.shape, 1) if v.dim() < 2 else torch.randn(v.shape) / 50 for key, v in state.items()}


FEW = {
    "detection": {
        "data.init_args.batch_size": 1,  # SSD300 takes images of its own size only, three seconds each
        "trainer.limit_val_batches": 2,
        "trainer.limit_test_batches": 2,
        "model.init_args.net.init_args.detections_per_image": 5,
    },
    "segmentation": {
        "data.init_args.batch_size": 2,  # as BatchNorm needs after pooling all of an image
        "data.init_args.eval_batch_size": 1,
        "trainer.limit_val_batches": 2,
        "trainer.limit_test_batches": 2,
    },
    "generation": {"trainer.max_steps": 5},  # of which one is the generator's
    "attacks": {
        "data.init_args.eval_batch_size": 4,
        "model.init_args.audited": 2,
        "trainer.limit_val_batches": 1,
        "trainer.limit_test_batches": 1,
    },
}


def shrunk(recipe, twin):
    """What of a recipe is changed so that it is soon done, by key."""
    content = yaml.safe_load(recipe.read_text())
    data, task, of_task = content["data"], content["model"], "model.init_args"
    small = {"data.init_args.batch_size": 8, "trainer.max_steps": 2, "trainer.devices": 1, "trainer.logger": "false"}
    small |= FEW.get(recipe.parent.name, {})
    if "root" in data["init_args"]:
        small["data.init_args.root"] = twin(data["class_path"])
    if "num_workers" in data["init_args"]:
        small["data.init_args.num_workers"] = 0
    for transform in data["init_args"].keys() & {"train_transform", "eval_transform"}:
        if "size" in data["init_args"][transform].get("init_args", {}):
            small[f"data.init_args.{transform}.init_args.size"] = 64
    if recipe.parent.name == "generation" and recipe.stem.startswith("cifar10_"):  # a grid of full width takes minutes
        small |= {f"{of_task}.{player}.init_args.width": 8 for player in ("net", "discriminator")}
    if "style" in task["init_args"]:
        torch.save(random_weights("vgg16"), "vgg16.pth")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save("style.png")
        small["model.init_args.features.init_args.weights"] = "vgg16.pth"
        small |= {"model.init_args.style": "style.png", "model.init_args.style_size": 32}
    if "task" in task["init_args"]:  # an attack wraps it
        task, of_task = task["init_args"]["task"], f"{of_task}.task.init_args"
    net = task["init_args"]["net"].get("init_args", {})
    of_net = f"{of_task}.net.init_args"
    if recipe.parent.name == "detection" and "ssd" not in net["name"]:
        small |= {f"{of_net}.min_size": 64, f"{of_net}.max_size": 96}
    if "weights_backbone" in net:  # random ones, for there is no network
        known = ("vgg16", "mobilenet_v3_large", "resnet50")
        torch.save(random_weights(next(one for one in known if one in net.get("name", "vgg16"))), "backbone.pth")
        small[f"{of_net}.weights_backbone"] = "backbone.pth"
    if "weights" in net:
        torch.save(torchvision.models.get_model(net["name"]).state_dict(), "weights.pth")
        small[f"{of_net}.weights"] = "weights.pth"
    return small


@trained
def test_a_recipe_runs_on_the_twin_of_its_data(recipe, twin, capsys):
    small = shrunk(recipe, twin)
    words = [word for key, value in small.items() for word in (f"--{key}", str(value))]
    assert main(["fit", "--config", str(recipe), *words]) == 0
    run = Run.open(Path("runs") / recipe.stem / "0")
    assert run.info["state"] == "finished"
    said = capsys.readouterr().out
    stage = "val" if "the test split has no labels" in said else "test"
    results = json.loads((run.folder / "results" / f"{stage}.json").read_text())
    if recipe.parent.name == "generation":  # losses, which may be negative, where no extractor of features is given
        assert f"{stage}/loss" in said
    else:
        data = pkgutil.resolve_name(run.config["data"]["class_path"])
        assert 0 <= results[f"{stage}/{data.monitor}"] <= (1 if data.mode == "max" else math.inf)
        assert f"{stage}/{data.monitor}" in said
    if recipe.parent.name == "attacks":
        assert any(name.startswith(f"{stage}/audit/") for name in results)
    # a metric of objects of a size may be that of none
    losses = [value for name, value in results.items() if name.count("/") == 1]
    assert losses
    assert all(map(math.isfinite, losses))
    assert torch.load(run.checkpoints / "last.ckpt", weights_only=True)["global_step"] == small["trainer.max_steps"]


@recipes
def test_a_recipe_is_a_script_with_a_header(recipe):
    shebang, about, *_ = recipe.read_text().splitlines()
    assert shebang == "#!/usr/bin/env -S visionlab fit --config"
    assert about.startswith("# ")
    assert os.access(recipe, os.X_OK)


def test_there_are_the_recipes_that_there_should_be():
    assert {path.stem for path in RECIPES} >= {
        "quickstart",
        *(f"cifar{classes}_resnet{depth}" for classes in (10, 100) for depth in (20, 56, 110)),
    }


@pytest.mark.parametrize(("family", "outputs"), [("CIFAR10", 10), ("CIFAR100", 100)])
def test_one_word_changes_the_data_set_and_with_it_the_net(family, outputs):
    text = (EXPERIMENTS / "classification" / "cifar10_resnet20.yaml").read_text()
    changed = Path("changed.yaml")
    changed.write_text(text.replace("visionlab.data.cifar.CIFAR10", f"visionlab.data.cifar.{family}"))
    experiment = Experiment(["--config", str(changed)])
    assert experiment.datamodule.num_classes == outputs
    assert experiment.model.net(torch.zeros(2, 3, 32, 32)).shape == (2, outputs)


@pytest.mark.slow
def test_the_quickstart_reaches_its_accuracy_with_three_seeds():
    quickstart = ["fit", "--config", str(EXPERIMENTS / "quickstart.yaml"), "--trainer.logger", "false"]

    def fit(seed):
        return main([*quickstart, "--seed_everything", str(seed), "--trainer.enable_progress_bar", "false"])

    top1 = []
    for seed in range(3):
        assert wait_for(in_child(lambda: fit(seed)), 300) == 0  # noqa: B023
        results = Path(f"runs/quickstart/{seed}/results")
        top1.append(json.loads((results / "test.json").read_text())["test/single_label/top1"])
        baselines = json.loads((results / "test_baselines.json").read_text())
        assert baselines.keys() == {"logistic regression", "SVM"}
    print(top1)
    assert sum(top1) / len(top1) >= 0.985
    assert min(top1) >= 0.975
