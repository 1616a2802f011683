"""The recipes that make images of images: continued to the bit, and trained by two processes."""

import csv
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import in_child, in_processes, wait_for
from visionlab.cli import main

EXPERIMENTS = Path(__file__).parents[1] / "experiments" / "generation"

SIZE = "--data.init_args.train_transform.init_args.size=16"
NARROW = ["--model.init_args.net.init_args.width=4", "--model.init_args.discriminator.init_args.width=4"]
PATCHES = [*NARROW, SIZE, "--model.init_args.discriminator.init_args.layers=1"]

SMALL = {
    "shapes_pix2pix": ("pix2pix", [*PATCHES, "--model.init_args.net.init_args.depth=2"]),
    "shapes_cyclegan": (
        "cyclegan",
        [*PATCHES, "--model.init_args.net.init_args.blocks=1", "--model.init_args.pool_size=3"],
    ),
    "inpainting_context_encoder": ("cifar10", [*NARROW, "--model.init_args.net.init_args.bottleneck=8"]),
    "coco_style_transfer": (
        "coco",
        [
            *("--model.init_args.net.init_args.width=4", "--model.init_args.net.init_args.blocks=1", SIZE),
            *("--data.init_args.eval_transform.init_args.size=16", "--model.init_args.style=style.png"),
            "--model.init_args.features.init_args.weights=null",
        ],
    ),
}
recipes = pytest.mark.parametrize("recipe", SMALL)


@pytest.fixture
def fit(twins):
    """Fits a recipe on a twin, as small as can be, in this process."""

    def run(recipe, *words):
        twin, small = SMALL[recipe]
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)).save("style.png")
        root = ["--data.init_args.root", str(twins(twin, {"cyclegan": 8, "cifar10": 40}.get(twin, 24)))]
        batch = "1" if twin == "cyclegan" else "4"
        common = ["--data.init_args.batch_size", batch, "--save_every_n_steps", "2", "--trainer.logger", "false"]
        quiet = ["--trainer.num_sanity_val_steps", "0", "--trainer.enable_progress_bar", "false"]
        limits = ["--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"]
        workers = [] if twin == "cifar10" else ["--data.init_args.num_workers", "0"]
        words = [*root, *common, *quiet, *limits, *workers, *small, *words]
        return main(["fit", "--config", str(EXPERIMENTS / f"{recipe}.yaml"), *words])

    return run


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def last(recipe, runs="runs"):
    return torch.load(Path(runs) / recipe / "0" / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.slow
@recipes
def test_killed_and_continued_to_equal_bits(fit, twins, recipe):
    twins(SMALL[recipe][0], {"cyclegan": 8, "cifar10": 40}.get(SMALL[recipe][0], 24))  # drawn once, not in each child
    end = ["--trainer.max_epochs", "2"]
    assert wait_for(in_child(lambda: fit(recipe, *end, "--runs", "straight"))) == 0
    kill = ["--trainer.callbacks+", "{class_path: small_gans.KillBeforeStep, init_args: {step: 7}}"]
    assert wait_for(in_child(lambda: fit(recipe, *end, *kill))) == -signal.SIGKILL
    assert last(recipe)["global_step"] in (6, 7)  # an epoch may end after 7
    assert wait_for(in_child(lambda: fit(recipe, *end, "--resume", f"runs/{recipe}/0"))) == 0
    one, other = last(recipe, "straight"), last(recipe)
    assert one["global_step"] > 9
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops"):
        assert same(one[part], other[part]), part
    if recipe == "shapes_cyclegan":
        assert [len(pool) for pool in one["image_pools"][0].values()] == [3, 3]
        assert same(one["image_pools"], other["image_pools"])
    assert (Path("straight") / recipe / "0/metrics.csv").read_text() == Path(f"runs/{recipe}/0/metrics.csv").read_text()


@pytest.mark.slow
@recipes
def test_two_processes_train(fit, twins, recipe):
    twins(SMALL[recipe][0], {"cyclegan": 8, "cifar10": 40}.get(SMALL[recipe][0], 24))
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_steps", "3"]
    assert in_processes(lambda: fit(recipe, *two), world=2) == [0, 0]
    saved = last(recipe)
    assert saved["global_step"] == 3
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    if recipe == "shapes_cyclegan":
        one, other = saved["image_pools"]
        assert not same(one, other)


def test_a_run_is_drawn_and_predicts_images_of_any_size(fit):
    assert fit("shapes_pix2pix", "--trainer.max_steps", "2") == 0
    sheet = Image.open("runs/shapes_pix2pix/0/pictures/translations.png")
    assert sheet.text["step"] == "2"
    for name, size in (("one", (16, 24)), ("two", (32, 8)), ("wrong", (18, 16))):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(f"{name}.png")
    assert main(["predict", "runs/shapes_pix2pix/0", "one.png", "two.png", "--output", "made"]) == 0
    with Path("made/predictions.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [["image", "file"], ["one.png", "images/one.png"], ["two.png", "images/two.png"]]
    assert [np.asarray(Image.open(f"made/{row[1]}")).shape for row in rows[1:]] == [(16, 24, 3), (32, 8, 3)]
    assert Path("made/predictions_0.png").is_file()


def test_an_image_that_the_net_cannot_make_is_told(fit, capsys):
    assert fit("shapes_pix2pix", "--trainer.max_steps", "1", "--data.init_args.train_transform.init_args.size=18") == 2
    assert "a U-Net of depth 2 makes images whose sides are multiples of 4, not 18 x 18" in capsys.readouterr().err
    assert fit("inpainting_context_encoder", "--model.init_args.net.init_args.image_size=64") == 2
    assert "this net takes images (B, 3, 64, 64), not (4, 3, 32, 32)" in capsys.readouterr().err
