"""Two players: steps are counted once, runs go on to the bit, and plain ddp trains."""

import json
import signal
from pathlib import Path

import pytest
import torch

from conftest import in_child, in_processes, wait_for
from visionlab.cli import main

EPOCH = 8
"""Training steps, of 16 of 143 images."""

RECIPE = """
model:
  class_path: visionlab.tasks.generation.Generation
  init_args:
    net: {class_path: small_gans.TinyGenerator}
    discriminator: {class_path: small_gans.TinyDiscriminator}
    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.002, betas: [0.5, 0.999]}}
    discriminator_optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.002, betas: [0.5, 0.999]}}
    loss: {class_path: visionlab.losses.adversarial.NonSaturating}
    penalty: {class_path: visionlab.losses.adversarial.R1, init_args: {weight: 0.1}}
    lr_schedulers:
    - {scheduler: {class_path: torch.optim.lr_scheduler.ExponentialLR, init_args: {gamma: 0.9}}, interval: step}
    n_critic: 4
data: {class_path: small_gans.SmallDigits}
trainer:
  max_epochs: 3
  accelerator: cpu
  devices: 1
  log_every_n_steps: 5
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
  - {class_path: visionlab.callbacks.ema.EMA, init_args: {decay: 0.9, every_n_steps: 4}}
"""


@pytest.fixture
def gan():
    path = Path("gan.yaml")
    path.write_text(RECIPE)
    return path


def fit(recipe, *words):
    return main(["fit", "--config", str(recipe), "--save_every_n_steps", "5", "--trainer.logger", "false", *words])


def fit_in_child(recipe, *words):
    return wait_for(in_child(lambda: fit(recipe, *words)))


def last(run):
    return torch.load(Path(run) / "gan/0/checkpoints/last.ckpt", weights_only=True)


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_training_step_is_a_batch_whatever_the_number_of_optimizers(gan):
    assert fit_in_child(gan, "--trainer.max_steps", "20") == 0
    saved = last("runs")
    assert saved["global_step"] == 20
    assert saved["epoch"] == 2
    critic, net = (next(iter(state["state"].values()))["step"].item() for state in saved["optimizer_states"])
    assert (critic, net) == (20, 5)
    assert [schedule["last_epoch"] for schedule in saved["lr_schedulers"]] == [20, 20]
    rows = [line.split(",") for line in Path("runs/gan/0/metrics.csv").read_text().splitlines()]
    assert [int(row[0]) for row in rows if row[2] == "train/discriminator"] == [5, 10, 15, 20]
    # of steps 1 to 5 only the fourth has a loss of the net, and it is a mean over that one
    assert [int(row[0]) for row in rows if row[2] == "train/generator"] == [5, 10, 15, 20]
    assert json.loads(Path("runs/gan/0/results/train.json").read_text())["steps"] == 20


# an epoch has 8 steps, each fifth is saved, and the net steps at each fourth
@pytest.mark.parametrize(
    ("step", "player"),
    [(15, 1), *(pytest.param(*at, marks=pytest.mark.slow) for at in [(6, 0), (8, 0), (16, 0), (22, 0), (23, 1)])],
)
def test_killed_and_continued_to_equal_bits(gan, straight, step, player):
    kill = f"{{class_path: small_gans.KillBeforeStep, init_args: {{step: {step}, player: {player}}}}}"
    assert fit_in_child(gan, "--trainer.callbacks+", kill) == -signal.SIGKILL
    assert fit_in_child(gan, "--resume", "runs/gan/0") == 0
    one, other = last(straight), last("runs")
    for part in ("state_dict", "averaged", "optimizer_states", "lr_schedulers", "global_step", "loops"):
        assert same(one[part], other[part]), part
    assert (straight / "gan/0/metrics.csv").read_text() == Path("runs/gan/0/metrics.csv").read_text()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    (folder / "gan.yaml").write_text(RECIPE)
    assert fit_in_child(folder / "gan.yaml", "--runs", str(folder)) == 0
    return folder


@pytest.mark.parametrize(
    ("player", "losses"),
    [("net", "discriminator, generator"), ("discriminator", "discriminator, generator, penalty")],
)
def test_nan_in_either_player_ends_the_run_and_the_last_good_checkpoint_is_named(gan, capfd, player, losses):
    poison = ["--trainer.callbacks+", f"{{class_path: small_gans.Poison, init_args: {{player: {player}, step: 11}}}}"]
    assert fit_in_child(gan, *poison, "--trainer.log_every_n_steps", "4") == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert f"the training loss ({losses}) was not finite at step 11 (epoch 1)" in error
    assert "the last good checkpoint is runs/gan/0/checkpoints/last.ckpt" in error
    assert last("runs")["global_step"] in (8, 10)


def test_two_processes_train_by_plain_ddp_and_draw_different_noise(gan):
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.init_args.batch_size", "8"]
    note = ["--trainer.callbacks+", "{class_path: small_gans.NoteSeeds, init_args: {path: seeds}}"]
    assert in_processes(lambda: fit(gan, *two, *note), world=2) == [0, 0]
    seeds = Path("seeds.0").read_text().split() + Path("seeds.1").read_text().split()
    assert len(seeds) == len(set(seeds)) == 2 * 3 * EPOCH
    saved = last("runs")
    assert saved["global_step"] == 3 * EPOCH
    assert all(parameter.isfinite().all() for parameter in saved["state_dict"].values())
