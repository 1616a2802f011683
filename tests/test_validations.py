"""A run that was interrupted decides as one that was not: what to validate, which weights are best, and when to end."""

import signal
from pathlib import Path

import pytest
import torch

from conftest import in_child, wait_for
from visionlab.callbacks.pictures import Pictures
from visionlab.cli import main
from visionlab.loggers import read_metrics
from visionlab.run import is_whole


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They would take half of the time of so short a run."""
    monkeypatch.setattr(Pictures, "on_train_end", lambda *_: None)
    monkeypatch.setattr(Pictures, "_draw", lambda *_: None)


def fit(recipe, *overrides):
    words = ["fit", "--config", str(recipe), "--save_every_n_steps", "7", "--trainer.logger", "false", *overrides]
    return wait_for(in_child(lambda: main(words)))


def callback(name, **arguments):
    given = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    class_path = name if "." in name else f"stand_ins.{name}"
    return ["--trainer.callbacks+", f"{{class_path: {class_path}, init_args: {{{given}}}}}"]


def signal_at(step, number=signal.SIGKILL):
    return callback("SignalAt", step=step, number=int(number))


def signal_in_validation(step, number=signal.SIGKILL):
    return callback("SignalInValidation", step=step, number=int(number))


IN_TEST = callback("SignalInTest", number=int(signal.SIGKILL))


def checkpoint(run, name):
    return torch.load(Path(run) / "checkpoints" / f"{name}.ckpt", weights_only=True)


def assert_same_weights(one, other, name):
    first, second = checkpoint(one, name), checkpoint(other, name)
    assert first["global_step"] == second["global_step"], name
    for key, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][key]), (name, key)


def assert_same_end(one, other):
    assert_same_weights(one, other, "last")
    assert_same_weights(one, other, "best")
    for name in ("metrics.csv", "results/test.json"):
        assert (Path(one) / name).read_text() == (Path(other) / name).read_text()


def assert_continued_exactly(recipe, words, *interruptions):
    """Interrupted in each of the ways, in one run after the other, and continued."""
    assert fit(recipe, *words, "--runs", "straight") == 0
    for number, interruption in enumerate(interruptions):
        assert fit(recipe, *words, *interruption, "--runs", f"run{number}") not in (0, 1, 2, 70)
        assert fit(recipe, *words, "--resume", f"run{number}/tiny/0") == 0
        assert_same_end("straight/tiny/0", f"run{number}/tiny/0")


SLOW = pytest.mark.slow


@pytest.mark.parametrize("way", [signal_at(79), *(pytest.param(signal_at(s, 15), marks=SLOW) for s in (40, 79))])
def test_weights_that_were_not_validated_since_a_run_was_continued_are_not_the_best(recipe, way):
    assert_continued_exactly(recipe, ["--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs", "5"], way)


def early_stopping(**arguments):
    return callback("lightning.pytorch.callbacks.EarlyStopping", monitor="val/loss", **arguments)


@pytest.mark.parametrize(
    "way", [IN_TEST, *(pytest.param(w, marks=SLOW) for w in (signal_in_validation(36), signal_at(29)))]
)
def test_training_that_ended_early_stays_ended(recipe, way):
    assert_continued_exactly(recipe, early_stopping(stopping_threshold=1.2), way)
    assert checkpoint("straight/tiny/0", "last")["global_step"] == 36


@pytest.mark.parametrize("changed", [pytest.param([], marks=SLOW), early_stopping(stopping_threshold=0.1)])
def test_it_goes_on_where_the_rule_is_another(recipe, changed):
    assert fit(recipe, "--runs", "straight") == 0
    assert fit(recipe, *early_stopping(stopping_threshold=1.2)) == 0
    assert fit(recipe, *changed, "--resume", "runs/tiny/0") == 0
    assert_same_weights("straight/tiny/0", "runs/tiny/0", "best")


@pytest.mark.slow
def test_patience_may_be_raised(recipe):
    worse = {"mode": "max", "patience": 1}
    assert fit(recipe, *early_stopping(**worse)) == 0
    assert checkpoint("runs/tiny/0", "last")["global_step"] == 36
    assert fit(recipe, *early_stopping(**{**worse, "patience": 2}), "--resume", "runs/tiny/0") == 0
    assert checkpoint("runs/tiny/0", "last")["global_step"] == 54


@pytest.mark.slow
def test_training_that_ended_for_its_time_goes_on_with_more(recipe):
    assert fit(recipe, "--runs", "straight") == 0
    short = ["--trainer.max_time", "00:00:00:02", *callback("SlowSteps", seconds=0.1)]
    assert fit(recipe, *short) == 0
    assert checkpoint("runs/tiny/0", "last")["global_step"] < checkpoint("straight/tiny/0", "last")["global_step"]
    assert fit(recipe, "--trainer.max_time", "01:00:00:00", "--resume", "runs/tiny/0") == 0
    assert_same_weights("straight/tiny/0", "runs/tiny/0", "last")


NINTH = ["--trainer.val_check_interval", "9"]


@pytest.mark.parametrize("way", [pytest.param(signal_at(26, signal.SIGTERM), marks=SLOW), signal_in_validation(27)])
def test_a_validation_within_an_epoch_is_neither_left_out_nor_done_twice(recipe, way):
    assert_continued_exactly(recipe, NINTH, way)


@pytest.mark.slow
@pytest.mark.parametrize("words", [NINTH, [*NINTH, "--save_every_n_steps", "9"], ["--trainer.val_check_interval", "7"]])
def test_so_it_is_wherever_it_was_interrupted(recipe, words):
    step = int(words[1])
    first, later = (
        [signal_at(step - 1, signal.SIGTERM), signal_in_validation(step)],
        signal_at(17 + step, signal.SIGTERM),
    )
    assert_continued_exactly(recipe, words, *first, later, signal_in_validation(18 + step), signal_at(40))


def test_each_validation_may_find_the_best_weights(recipe):
    assert fit(recipe, *NINTH) == 0
    steps, values = read_metrics(Path("runs/tiny/0/metrics.csv"))["val/single_label/top1"]
    assert steps == list(range(9, 73, 9))
    best = max(zip(values, steps, strict=True))[1]
    assert checkpoint("runs/tiny/0", "best")["global_step"] == best


@pytest.mark.slow
def test_a_run_that_a_validation_ended_within_an_epoch_is_saved_and_continued_exactly(recipe):
    words = ["--trainer.val_check_interval", "6", *early_stopping(stopping_threshold=1.2)]
    assert_continued_exactly(recipe, words, IN_TEST, signal_in_validation(24), signal_at(23, signal.SIGTERM))
    steps, values = read_metrics(Path("straight/tiny/0/metrics.csv"))["val/loss"]
    assert values[-1] < 1.2
    assert checkpoint("straight/tiny/0", "last")["global_step"] == steps[-1]
    assert steps[-1] % 18 != 0


@pytest.mark.slow
@pytest.mark.parametrize("end", [36, 27, 30])  # with an epoch, with a validation within one, and without either
def test_what_follows_the_last_of_the_steps_is_not_left_out(recipe, end):
    words = [*NINTH, "--trainer.max_steps", str(end)]
    at_the_validation = [signal_at(end - 1, signal.SIGTERM), signal_in_validation(end)] if end % 9 == 0 else []
    assert_continued_exactly(recipe, words, IN_TEST, *at_the_validation)


def test_the_newest_weights_are_the_best_where_none_were_judged(recipe):
    words = ["--trainer.max_steps", "25", "--trainer.limit_val_batches", "0"]
    assert fit(recipe, *words, *signal_at(24, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert checkpoint("runs/tiny/0", "best")["global_step"] == 25


def test_what_was_fallen_back_to_outlives_a_kill_in_the_next_save(recipe, capfd):
    assert fit(recipe, *signal_at(33)) == -signal.SIGKILL
    folder = Path("runs/tiny/0/checkpoints")
    (folder / "last.ckpt").write_bytes(b"")
    assert fit(recipe, *callback("KilledWhileSaving"), "--resume", "runs/tiny/0") == -signal.SIGKILL
    assert is_whole(folder / "last.ckpt")
    assert is_whole(folder / "previous.ckpt")
    assert fit(recipe, "--resume", "runs/tiny/0") == 0
    assert capfd.readouterr().err.count("is damaged") == 1


def test_a_closing_validation_leaves_the_checkpoints_alone(recipe, monkeypatch):
    monkeypatch.setattr("visionlab.callbacks.checkpoints.SECONDS_WORTH_SAVING", -1.0)
    assert fit(recipe, "--data", "stand_ins.UnlabelledTest", "--trainer.max_epochs", "2") == 0
    last = checkpoint("runs/tiny/0", "last")
    assert last["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] == 2
    assert not last["visionlab"]["before_validation"]
