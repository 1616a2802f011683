"""Where Lightning forks or spawns the processes, signals do what they do elsewhere."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import in_child, wait_for
from stand_ins import children
from test_launchers import ROOT
from visionlab.cli import main
from visionlab.run import Run

SLOW_STEPS = "{class_path: stand_ins.SlowSteps, init_args: {seconds: 0.1}}"


def words(recipe, strategy):
    two = ["--trainer.devices", "2", "--trainer.strategy", strategy, "--data.init_args.batch_size", "8"]
    return ["fit", "--config", str(recipe), "--trainer.logger", "false", *two, "--trainer.callbacks+", SLOW_STEPS]


def signal_once_it_trains(launcher, number, to):
    end = time.monotonic() + 400
    while not Path("runs/tiny/0/metrics.csv").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
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
    ("number", "to"),
    [
        (signal.SIGTERM, "launcher"),
        (signal.SIGINT, "group"),
        (signal.SIGUSR1, "child"),
        *(
            pytest.param(number, to, marks=pytest.mark.slow)
            for number, to in (
                (signal.SIGTERM, "group"),
                (signal.SIGTERM, "child"),
                (signal.SIGINT, "launcher"),
                (signal.SIGUSR1, "launcher"),
                (signal.SIGUSR1, "group"),
            )
        ),
    ],
)
def test_a_signal_to_forked_processes_or_to_their_launcher_stops_all(recipe, capfd, number, to):
    def child():
        os.setpgrp()
        return main(words(recipe, "ddp_fork"))

    launcher = in_child(child)
    signal_once_it_trains(launcher, number, to)
    left = trainers(launcher)
    assert to == "child" or len(left) == 2
    assert wait_for(launcher, 30) == 128 + number
    assert_stopped(number, capfd)
    assert not [process for process in left if Path(f"/proc/{process}").exists()]
    assert wait_for(in_child(lambda: main([*words(recipe, "ddp_fork")[:-2], "--resume", "runs/tiny/0"]))) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "to"), [(signal.SIGTERM, "launcher"), (signal.SIGINT, "group")])
def test_so_does_one_to_spawned_processes(recipe, capfd, number, to):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "visionlab", *words(recipe, "ddp_spawn")]
    with subprocess.Popen(command, env=environment, start_new_session=True) as launched:
        signal_once_it_trains(launched.pid, number, to)
        assert launched.wait(200) == 128 + number
    assert_stopped(number, capfd)


@pytest.mark.slow
def test_a_signal_while_they_are_spawned_is_obeyed_after_the_first_step(recipe):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "visionlab", *words(recipe, "ddp_spawn")]
    with subprocess.Popen(command, env=environment, start_new_session=True) as launched:
        end = time.monotonic() + 400
        while "spawn_main" not in commands(launched.pid):
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(launched.pid, signal.SIGUSR1)
        assert launched.wait(400) == 128 + signal.SIGUSR1
    assert torch.load("runs/tiny/0/checkpoints/last.ckpt", weights_only=True)["global_step"] == 1
