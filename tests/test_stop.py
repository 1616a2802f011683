"""A signal to any process, at any time, ends the run on all of them, and nothing is lost."""

import itertools
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from conftest import RECIPE, in_child, in_processes, wait_for
from visionlab.callbacks.stop import Agreement
from visionlab.cli import main
from visionlab.run import Run
from visionlab.signals import StopRequest

SLOW = pytest.mark.slow
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.init_args.batch_size", "8"]


def fit(recipe, *overrides):
    return main(["fit", "--config", str(recipe), "--trainer.logger", "false", *overrides])


def callback(name, **arguments):
    given = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return ["--trainer.callbacks+", f"{{class_path: stand_ins.{name}, init_args: {{{given}}}}}"]


def last(run):
    return torch.load(Path(run) / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_end(one, other):
    one, other = Path(one), Path(other)
    assert all(torch.equal(value, last(other)["state_dict"][name]) for name, value in last(one)["state_dict"].items())
    assert last(one)["lr_schedulers"] == last(other)["lr_schedulers"]
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    assert (one / "results" / "test.json").read_text() == (other / "results" / "test.json").read_text()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Runs that nothing interrupted, by the number of processes."""
    folder = tmp_path_factory.mktemp("straight")
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    assert wait_for(in_child(lambda: fit(path, "--runs", str(folder / "1")))) == 0
    assert in_processes(lambda: fit(path, *TWO, "--runs", str(folder / "2")), 2) == [0, 0]
    return {1: folder / "1" / "tiny" / "0", 2: folder / "2" / "tiny" / "0"}


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(number, marks=SLOW) for number in (signal.SIGINT, signal.SIGUSR1))]
)
def test_a_signal_in_a_long_validation_leaves_it_and_continuing_begins_it_again(recipe, straight, number):
    signalled = callback("SignalInValidation", epoch=0, number=int(number))
    assert wait_for(in_child(lambda: fit(recipe, *signalled))) == 128 + number
    run = Run.open("runs/tiny/0")
    assert run.info["state"] == "stopped"
    assert last(run.folder)["global_step"] == 18  # the epoch is not lost
    assert not (run.folder / "results" / "val.json").exists()  # the validation was not finished
    assert wait_for(in_child(lambda: fit(recipe, "--resume", "runs/tiny/0"))) == 0
    assert_same_end(straight[1], run.folder)


@pytest.mark.parametrize("kind", [pytest.param("plateau", marks=SLOW), "twice an epoch"])
def test_what_follows_a_repeated_validation_is_exact_too(recipe, kind):
    scheduler = "{class_path: torch.optim.lr_scheduler.ReduceLROnPlateau, init_args: {patience: 0, mode: max}}"
    words = {
        "plateau": [
            "--model.init_args.lr_schedulers",
            f"[{{scheduler: {scheduler}, monitor: val/loss, interval: epoch}}]",
        ],
        "twice an epoch": ["--trainer.val_check_interval", "0.5"],
    }[kind]
    assert wait_for(in_child(lambda: fit(recipe, *words, "--runs", "straight"))) == 0
    signalled = callback("SignalInValidation", epoch=0, number=int(signal.SIGTERM))
    assert wait_for(in_child(lambda: fit(recipe, *words, *signalled))) == 128 + signal.SIGTERM
    assert wait_for(in_child(lambda: fit(recipe, *words, "--resume", "runs/tiny/0"))) == 0
    assert_same_end("straight/tiny/0", "runs/tiny/0")


def test_a_killed_validation_loses_no_epoch(recipe, straight):
    killed = callback("SignalInValidation", epoch=0, number=int(signal.SIGKILL))
    assert wait_for(in_child(lambda: fit(recipe, *killed))) == -signal.SIGKILL
    assert last("runs/tiny/0")["global_step"] == 18
    assert wait_for(in_child(lambda: fit(recipe, "--resume", "runs/tiny/0"))) == 0
    assert_same_end(straight[1], "runs/tiny/0")


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=SLOW)])
def test_sigterm_to_either_process_saves_and_ends_both(recipe, straight, rank):
    signalled = callback("SignalAt", step=20, number=int(signal.SIGTERM), rank=rank)
    began = time.monotonic()
    assert in_processes(lambda: fit(recipe, *TWO, *signalled), 2) == [128 + signal.SIGTERM] * 2
    assert time.monotonic() - began < 60
    assert last("runs/tiny/0")["global_step"] >= 20
    assert in_processes(lambda: fit(recipe, *TWO, "--resume", "runs/tiny/0"), 2) == [0, 0]
    assert_same_end(straight[2], "runs/tiny/0")


@SLOW
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_in_its_validation_ends_both(recipe, straight, rank):
    signalled = callback("SignalInValidation", epoch=0, number=int(signal.SIGUSR1), rank=rank)
    assert in_processes(lambda: fit(recipe, *TWO, *signalled), 2) == [128 + signal.SIGUSR1] * 2
    assert in_processes(lambda: fit(recipe, *TWO, "--resume", "runs/tiny/0"), 2) == [0, 0]
    assert_same_end(straight[2], "runs/tiny/0")


def test_a_signal_in_the_closing_test_leaves_only_the_test_to_do(recipe, straight):
    assert wait_for(in_child(lambda: fit(recipe, *callback("SignalInTest", number=int(signal.SIGTERM))))) == 143
    trained = Path("runs/tiny/0/checkpoints/last.ckpt").stat()
    assert wait_for(in_child(lambda: fit(recipe, "--resume", "runs/tiny/0"))) == 0
    assert Path("runs/tiny/0/checkpoints/last.ckpt").stat() == trained
    assert_same_end(straight[1], "runs/tiny/0")


def test_a_repeated_sigterm_does_not_spoil_the_saving(recipe, straight):
    """srun forwards what slurmstepd sends as well."""
    twice = callback("SignalAt", step=20, number=int(signal.SIGTERM)) * 2
    assert wait_for(in_child(lambda: fit(recipe, *twice))) == 128 + signal.SIGTERM
    assert last("runs/tiny/0")["global_step"] == 21
    assert wait_for(in_child(lambda: fit(recipe, "--resume", "runs/tiny/0"))) == 0
    assert_same_end(straight[1], "runs/tiny/0")


def test_loader_processes_leave_signals_to_the_trainer(recipe, straight):
    """Ctrl-C in a terminal, and Slurm, signal the whole process group."""

    def child():
        os.setpgrp()
        workers = ["--data.init_args.num_workers", "2"]
        return fit(recipe, *workers, *callback("SignalAt", step=20, number=int(signal.SIGTERM), group=True))

    assert wait_for(in_child(child)) == 128 + signal.SIGTERM
    assert last("runs/tiny/0")["global_step"] == 21
    assert wait_for(in_child(lambda: fit(recipe, "--resume", "runs/tiny/0"))) == 0
    assert_same_end(straight[1], "runs/tiny/0")


def test_a_run_outlives_the_service_of_weights_and_biases(recipe, straight):
    """Some clusters signal all processes of a job alike, and W&B's service ends at once."""
    words = [*callback("EndsServices", step=20), *callback("SignalAt", step=30, number=int(signal.SIGTERM))]
    began = time.monotonic()
    assert wait_for(in_child(lambda: main(["fit", "--config", str(recipe), *words]))) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 30
    assert Run.open("runs/tiny/0").info["state"] == "stopped"
    assert last("runs/tiny/0")["global_step"] == 31
    assert wait_for(in_child(lambda: fit(recipe, "--resume", "runs/tiny/0"))) == 0
    assert_same_end(straight[1], "runs/tiny/0")


def test_a_signal_while_the_program_starts_is_obeyed_after_the_first_step(recipe):
    """The interpreter blocks it from its start, as the sbatch file has it; it comes before torch is imported."""

    def child():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        return fit(recipe)

    assert wait_for(in_child(child)) == 128 + signal.SIGUSR1
    assert last("runs/tiny/0")["global_step"] == 1


def test_a_signal_while_the_program_starts_spares_what_it_has_started(recipe):
    assert wait_for(in_child(lambda: fit(recipe, "--model.init_args.net", "stand_ins.StartsService"))) == 0


def test_processes_agree_about_once_a_second_however_long_steps_take(monkeypatch):
    """On a clock of its own, with the answers of another process that is slower."""
    now, exchanged = [0.0], []

    def gather(mine):
        exchanged.append(now[0])
        return [mine, (int(signal.SIGTERM) if now[0] > 30 else 0, mine[1] * 1.5)]

    monkeypatch.setattr("visionlab.callbacks.stop.gather", gather)
    monkeypatch.setattr("visionlab.callbacks.stop.time.monotonic", lambda: now[0])
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    agreement = Agreement(StopRequest())
    answer, steps = None, 0
    while answer is None:
        now[0] += 0.003
        steps += 1
        answer = agreement.reach()
    assert answer == signal.SIGTERM
    assert exchanged[0] == pytest.approx(0.003)  # after the first step
    assert max(b - a for a, b in itertools.pairwise(exchanged)) < 1
    assert len(exchanged) < 60
    assert steps > 10_000
