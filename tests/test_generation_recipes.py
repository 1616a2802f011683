"""Recipes of generation train on two processes by plain ddp, as they are."""

from pathlib import Path

import pytest
import torch

from conftest import in_processes
from visionlab.cli import main

RECIPES = sorted((Path(__file__).parents[1] / "experiments" / "generation").glob("cifar10_*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_on_two_processes(recipe, twins):
    small = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_steps", "5"]
    small += ["--data.init_args.root", str(twins("cifar10")), "--data.init_args.batch_size", "4"]
    small += [f"--model.init_args.{player}.init_args.width=8" for player in ("net", "discriminator")]
    small += ["--trainer.num_sanity_val_steps", "0", "--trainer.logger", "false", "--trainer.accelerator", "cpu"]
    assert in_processes(lambda: main(["fit", "--config", str(recipe), *small]), world=2) == [0, 0]
    saved = torch.load(f"runs/{recipe.stem}/0/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 5
    assert saved["averaged"]["updates"] == (5 if recipe.stem == "cifar10_dcgan" else 1)
    assert len(saved["visionlab"]["processes"]) == 2
