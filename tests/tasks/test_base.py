"""What every task does for its subclass, seen through runs of a small classifier."""

import json
from pathlib import Path

import pytest
import torch

from visionlab.cli import main
from visionlab.loggers import read_metrics


def fit(recipe, *overrides):
    return main(["fit", "--config", str(recipe), "--trainer.logger", "false", *overrides])


def series(name, run="runs/tiny/0"):
    return dict(zip(*read_metrics(Path(run) / "metrics.csv")[name], strict=True))


def checkpoint(name="last", run="runs/tiny/0"):
    return torch.load(Path(run) / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_a_logged_training_loss_is_the_mean_of_the_steps_since_the_last(recipe):
    fit(recipe, "--trainer.log_every_n_steps", "1", "--runs", "each")
    fit(recipe)
    each, mean = series("train/loss", "each/tiny/0"), series("train/loss")
    assert list(mean) == list(range(5, 73, 5))
    for step, value in mean.items():
        assert value == pytest.approx(sum(each[s] for s in range(step - 4, step + 1)) / 5, rel=1e-12)


def test_steps_are_optimizer_steps_when_gradients_are_accumulated(recipe):
    fit(recipe, "--trainer.log_every_n_steps", "1", "--runs", "each")
    fit(
        recipe,
        "--trainer.accumulate_grad_batches",
        "3",
        "--trainer.log_every_n_steps",
        "2",
        "--trainer.max_epochs",
        "2",
    )
    mean = series("train/loss")
    assert list(mean) == [2, 4, 6, 8, 10, 12]  # 18 batches are 6 steps an epoch
    assert mean[2] < sum(series("train/loss", "each/tiny/0")[s] for s in range(1, 7)) / 6 + 0.5
    assert checkpoint()["global_step"] == 12


def test_validation_stands_in_the_table_at_the_step_it_was_made(recipe):
    fit(recipe)
    assert list(series("val/loss")) == [18, 36, 54, 72]
    assert series("val/loss")[72] == json.loads(Path("runs/tiny/0/results/val.json").read_text())["val/loss"]


def test_a_callback_of_lightnings_logs_into_the_table_too(recipe):
    assert fit(recipe, "--trainer.callbacks+", "LearningRateMonitor", "--trainer.max_epochs", "1") == 0
    assert series("lr-AdamW")[4] == pytest.approx(0.01, rel=0.01)
    assert series("val/loss").keys() == {18}


def test_schedules_by_step_and_by_epoch_act_together(recipe):
    text = recipe.read_text()
    start, end = text.index("    lr_schedulers:"), text.index("data:")
    schedules = """    lr_schedulers:
    - {scheduler: {class_path: torch.optim.lr_scheduler.LinearLR, init_args: {start_factor: 0.1, total_iters: 9}},
    interval: step} - {scheduler: {class_path: torch.optim.lr_scheduler.MultiStepLR, init_args: {milestones: [2, 3]}}}
"""
    recipe.write_text(text[:start] + schedules + text[end:])
    fit(recipe, "--trainer.log_every_n_steps", "1")
    rates = series("train/lr")
    for step in range(1, 73):
        warm_up = min(1, 0.1 + 0.9 * (step - 1) / 9)
        decay = 0.1 ** ((step > 36) + (step > 54))
        assert rates[step] == pytest.approx(0.01 * warm_up * decay), step


def test_a_plateau_schedule_watches_a_logged_metric(recipe):
    text = recipe.read_text()
    start, end = text.index("    lr_schedulers:"), text.index("data:")
    plateau = (
        "{class_path: torch.optim.lr_scheduler.ReduceLROnPlateau, init_args: {mode: max, patience: 0, threshold: 10}}"
    )
    recipe.write_text(
        text[:start] + f"    lr_schedulers: [{{scheduler: {plateau}, monitor: val/single_label/top1}}]\n" + text[end:]
    )
    assert fit(recipe) == 0
    rates = series("train/lr")
    assert rates[5] == pytest.approx(0.01)
    assert rates[70] < 0.0011


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(recipe, capsys):
    status = fit(
        recipe,
        "--model.init_args.net",
        "stand_ins.ExplodesAt",
        "--model.init_args.net.step",
        "29",
        "--save_every_n_steps",
        "7",
    )
    message = capsys.readouterr().err
    assert status == 1
    assert "not finite at step 29 (epoch 1)" in message
    assert "the last good checkpoint is runs/tiny/0/checkpoints/last.ckpt" in message
    assert checkpoint()["global_step"] == 28
    assert all(value.isfinite().all() for value in checkpoint()["state_dict"].values())
    assert not Path("runs/tiny/0/results/test.json").exists()
    assert json.loads(Path("runs/tiny/0/run.json").read_text())["state"] == "failed"


def test_a_net_that_does_not_fit_the_classes_is_named(recipe, capsys):
    assert fit(recipe, "--model.init_args.net", "stand_ins.WrongOutput") == 2
    assert (
        "WrongOutput gave an output of shape (16, 11) for 16 images; the data set has 10 classes"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-mixed"])
def test_other_precisions_train(recipe, precision):
    assert fit(recipe, "--trainer.precision", precision, "--trainer.max_epochs", "1") == 0
    assert series("val/loss")[18] < 2.4


def test_gradients_are_clipped(recipe):
    fit(
        recipe,
        "--trainer.gradient_clip_val",
        "1e-9",
        "--model.init_args.optimizer",
        "torch.optim.SGD",
        "--trainer.max_epochs",
        "1",
        "--model.init_args.optimizer.lr",
        "1",
    )
    fit(
        recipe,
        "--model.init_args.optimizer",
        "torch.optim.SGD",
        "--trainer.max_epochs",
        "1",
        "--model.init_args.optimizer.lr",
        "1",
    )
    clipped, free = (series("val/loss", f"runs/tiny/{n}")[18] for n in (0, 1))
    assert clipped > 2.2 > free


def test_the_checkpoint_says_what_it_is_in_plain_types(recipe):
    fit(recipe, "--trainer.max_epochs", "1")
    content = checkpoint("best")
    assert "stand_ins.TinyNet" in content["recipe"]
    assert content["label_map"][3] == {"id": 3, "index": 3, "name": "3"}
    assert "hyper_parameters" not in content
