"""A process that hangs, dies or fails takes the others with it, and is named."""

import signal
from pathlib import Path

import pytest

from conftest import in_processes
from visionlab.cli import main

TWO = ["--trainer.devices", "2", "--data.init_args.batch_size", "8", "--trainer.logger", "false"]
IMPATIENT = [
    "--trainer.strategy",
    "{class_path: lightning.pytorch.strategies.DDPStrategy, init_args: {timeout: '0:00:04'}}",
]


def callback(name, **arguments):
    given = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return ["--trainer.callbacks+", f"{{class_path: stand_ins.{name}, init_args: {{{given}}}}}"]


def fit(recipe, *words):
    return in_processes(lambda: main(["fit", "--config", str(recipe), *TWO, *words]), 2)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_stopped_process_is_named_and_all_end(recipe, rank, capfd):
    statuses = fit(recipe, *IMPATIENT, *callback("SignalAt", step=20, number=int(signal.SIGSTOP), rank=rank))
    assert all(statuses)
    told = [line for line in capfd.readouterr().err.splitlines() if f"rank {rank} (process" in line]
    assert len(told) == 1
    assert "is stopped at step 20" in told[0]


def test_a_killed_process_is_named(recipe, capfd):
    statuses = fit(recipe, "--trainer.strategy", "ddp", *callback("SignalAt", step=20, rank=1))
    assert statuses == [1, -signal.SIGKILL]
    error = capfd.readouterr().err
    assert "rank 1 (process" in error
    assert "is gone at step 20" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_cause_is_told_and_not_that_a_connection_was_closed(recipe, rank, capfd):
    statuses = fit(recipe, "--trainer.strategy", "ddp", *callback("FailsAt", step=20, rank=rank))
    assert statuses[rank] == 2
    assert statuses[1 - rank] == 1
    error = capfd.readouterr().err
    assert "visionlab: a broken image" in error  # by the process itself
    assert f"visionlab: rank {rank} failed: ValueError: a broken image" in error  # by the other
    assert "Traceback" not in error


def test_a_run_that_ends_well_leaves_no_trace_of_its_watchers(recipe):
    assert fit(recipe, "--trainer.strategy", "ddp", "--trainer.max_epochs", "1") == [0, 0]
    assert not Path("runs/tiny/0/processes").exists()
