"""Where Lightning forks or spawns the processes, signals do what they do elsewhere."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from stand_ins import children
from test_launchers import ROOT
from visionlab.cli import main
from visionlab.run import Run

pytestmark = pytest.mark.slow  # each takes a fresh interpreter or two

SLOW_STEPS = "{class_path: stand_ins.SlowSteps, init_args: {seconds: 0.1}}"


def words(recipe, strategy):
    two = ["--trainer.devices", "2", "--trainer.strategy", strategy, "--data.init_args.batch_size", "8"]
    return ["fit", "--config", str(recipe), "--trainer.logger", "false", *two, "--trainer.callbacks+", SLOW_STEPS]


@contextmanager
def launched(*words):
    """The command in an interpreter of its own, for Lightning forks from none that has asked for GPUs."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "visionlab", *words]
    with subprocess.Popen(command, env=environment, start_new_session=True) as launcher:
        try:
            yield launcher
        finally:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)


def wait_until(launcher, holds):
    end = time.monotonic() + 400
    while not holds():
        assert launcher.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


def send(number, to, launcher):
    if to == "group":
        os.killpg(launcher, number)
    else:
        os.kill(launcher if to == "launcher" else trainers(launcher)[0], number)


def trainers(launcher):
    """The processes that a launcher waits for: those that have started a watcher."""
    return [child for child in children(launcher) if "watcher" in commands(child)]


def commands(process):
    return " ".join(Path(f"/proc/{child}/cmdline").read_text() for child in children(process))


def assert_stopped(number, capfd):
    run = Run.open("runs/tiny/0")
    assert run.info["state"] == "stopped"
    step = torch.load(run.checkpoints / "last.ckpt", weights_only=True)["global_step"]
    assert step >= 5
    said = capfd.readouterr().err
    assert f"stopped after step {step}, saved; to continue: add --resume runs/tiny/0" in said
    assert "Traceback" not in said
    assert not (run.folder / "error.txt").exists()


@pytest.mark.parametrize(
    ("strategy", "number", "to"),
    [
        ("ddp_fork", signal.SIGTERM, "launcher"),
        ("ddp_fork", signal.SIGINT, "group"),
        ("ddp_fork", signal.SIGUSR1, "child"),
        ("ddp_spawn", signal.SIGTERM, "launcher"),
    ],
)
def test_a_signal_to_the_processes_or_to_their_launcher_stops_all(recipe, capfd, strategy, number, to):
    with launched(*words(recipe, strategy)) as launcher:
        wait_until(launcher, Path("runs/tiny/0/metrics.csv").exists)
        left = trainers(launcher.pid)
        assert to == "child" or len(left) == 2
        send(number, to, launcher.pid)
        assert launcher.wait(200) == 128 + number
    assert_stopped(number, capfd)
    assert not [process for process in left if Path(f"/proc/{process}").exists()]
    one = ["--data.init_args.batch_size", "16", "--trainer.logger", "false", "--resume", "runs/tiny/0"]
    assert main(["fit", "--config", str(recipe), *one]) == 0


def test_a_signal_while_they_are_spawned_is_obeyed_after_the_first_step(recipe):
    with launched(*words(recipe, "ddp_spawn")) as launcher:
        wait_until(launcher, lambda: "spawn_main" in commands(launcher.pid))
        os.killpg(launcher.pid, signal.SIGUSR1)
        assert launcher.wait(400) == 128 + signal.SIGUSR1
    assert torch.load("runs/tiny/0/checkpoints/last.ckpt", weights_only=True)["global_step"] == 1
