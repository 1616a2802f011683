"""One process at a time trains in a run folder, and it is told which."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from conftest import RECIPE, in_child, in_processes, start_processes, wait_for
from visionlab.cli import main
from visionlab.lock import Lock
from visionlab.run import Run

TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.init_args.batch_size", "8"]
SLOWLY = "  callbacks: [{class_path: stand_ins.SlowSteps, init_args: {seconds: 0.1}}]\n  max_epochs: 2\n"
JOB = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
    "TORCHELASTIC_MAX_RESTARTS": "0",
    "TORCHELASTIC_RUN_ID": "job-7",
}


def fit(recipe, *overrides):
    return main(["fit", "--config", str(recipe), "--trainer.logger", "false", *overrides])


def begin(recipe, number, *words, world=1, environment=None):
    """Processes that have begun to train in the run of this number, and were stopped there: they are alive, and take
    no time from others."""
    recipe.write_text(RECIPE.replace("  max_epochs: 4\n", "") + SLOWLY)
    table = Path(f"runs/tiny/{number}/metrics.csv")
    before = table.read_text() if table.exists() else ""
    if world > 1:
        children = start_processes(lambda: fit(recipe, *words), world)
    else:
        children = [in_child(lambda: fit(recipe, *words), environment)]
    end = time.monotonic() + 60
    while not table.exists() or table.read_text() == before:
        assert time.monotonic() < end
        time.sleep(0.05)
    for child in children:
        os.kill(child, signal.SIGSTOP)
    return children


def kill(children):
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert [wait_for(child) for child in children] == [-signal.SIGKILL] * len(children)


def numbers():
    return sorted(path.name for path in Path("runs/tiny").iterdir())


def test_a_run_that_is_alive_is_refused_or_passed_over(recipe, capfd):
    alive = begin(recipe, 0, "--save_every_n_steps", "2")
    who = json.loads(Path("runs/tiny/0/lock").read_text())
    assert who["process"] == alive[0]
    for given in ("runs/tiny/0", "runs/tiny/0/checkpoints/last.ckpt"):
        assert wait_for(in_child(lambda given=given: fit(recipe, "--resume", given))) == 2
        said = capfd.readouterr().err.splitlines()[-1]
        assert said.startswith(f"visionlab: runs/tiny/0 is in use by process {alive[0]} on {who['host']}")
    words = ["--save_every_n_steps", "2", "--resume", "auto"]
    kill(begin(recipe, 1, *words))
    assert "visionlab: passing over a run: runs/tiny/0 is in use by process" in capfd.readouterr().err
    kill(alive)
    kill(begin(recipe, 1, *words))  # the newest that is not alive
    assert "continuing runs/tiny/1 from last.ckpt" in capfd.readouterr().err
    assert numbers() == ["0", "1"]


def test_of_one_command_given_twice_each_has_its_run(recipe):
    both = [in_child(lambda: fit(recipe, "--resume", "auto")) for _ in range(2)]
    assert [wait_for(child) for child in both] == [0, 0]
    assert numbers() == ["0", "1"]
    assert [Run.open(f"runs/tiny/{n}").info["state"] for n in "01"] == ["finished"] * 2
    assert len({Path(f"runs/tiny/{n}/metrics.csv").read_text() for n in "01"}) == 1


def test_a_job_that_is_started_again_waits_for_its_processes_to_end(recipe, capfd):
    alive = begin(recipe, 0, "--save_every_n_steps", "2", environment=JOB)
    again = in_child(lambda: fit(recipe, "--trainer.max_epochs", "1", "--resume", "auto"), JOB)
    time.sleep(3)
    assert os.waitpid(again, os.WNOHANG) == (0, 0)
    kill(alive)
    assert wait_for(again) == 0
    said = capfd.readouterr().err
    assert f"visionlab: waiting for process {alive[0]} on " in said
    assert "continuing runs/tiny/0 from last.ckpt" in said
    assert numbers() == ["0"]


def test_a_job_whose_processes_do_not_end_is_refused(recipe, capfd, monkeypatch):
    monkeypatch.setattr("visionlab.run.SECONDS_TO_END", 1)
    alive = begin(recipe, 0, environment=JOB)
    assert wait_for(in_child(lambda: fit(recipe, "--resume", "auto"), JOB)) == 2
    assert "runs/tiny/0 is in use by process" in capfd.readouterr().err.splitlines()[-1]
    kill(alive)
    assert numbers() == ["0"]


def test_a_job_is_not_kept_from_its_run_by_a_machine_that_is_gone(recipe, capfd, monkeypatch):
    """NFS 3 keeps the lock of a machine that died."""
    monkeypatch.setattr("visionlab.run.SECONDS_TO_END", 1)
    kill(begin(recipe, 0, "--save_every_n_steps", "2", environment=JOB))
    lock = Path("runs/tiny/0/lock")
    with Lock() as dead:
        assert dead.take(lock)
        lock.write_text('{"host": "n2", "process": 7}')
        assert wait_for(in_child(lambda: fit(recipe, "--trainer.max_epochs", "1", "--resume", "auto"), JOB)) == 0
    assert "visionlab: process 7 on n2 may be gone: continuing runs/tiny/0" in capfd.readouterr().err
    assert Run.open("runs/tiny/0").info["state"] == "finished"


@pytest.mark.slow
def test_all_processes_continue_what_the_first_one_chose(recipe, capfd):
    """The newest run is alive, which only the first process finds out."""
    kill(begin(recipe, 0, *TWO, "--save_every_n_steps", "2", world=2))
    alive = begin(recipe, 1, *TWO, "--save_every_n_steps", "2", world=2)
    capfd.readouterr()
    words = ["--save_every_n_steps", "2", "--resume", "auto"]
    assert in_processes(lambda: fit(recipe, *TWO, *words), 2) == [0, 0]
    assert "continuing runs/tiny/0 from last.ckpt" in capfd.readouterr().err
    kill(alive)
    assert numbers() == ["0", "1"]
    assert Run.open("runs/tiny/0").info["state"] == "finished"
    assert in_processes(lambda: fit(recipe, *TWO, "--save_every_n_steps", "2", "--runs", "straight"), 2) == [0, 0]
    one, other = (Path(run, "tiny/0/metrics.csv").read_text() for run in ("straight", "runs"))
    assert one == other


def test_a_process_that_is_left_behind_holds_nothing(tmp_path):
    """As a loader's is, when its trainer was killed."""
    with Lock() as lock:
        assert lock.take(tmp_path / "lock")
        left_behind = in_child(lambda: time.sleep(20) or 0)
        assert not Lock().take(tmp_path / "lock")
    with Lock() as other:
        assert other.take(tmp_path / "lock", seconds=5)
        kill([left_behind])
        assert not Lock().take(tmp_path / "lock", seconds=0.3)


def test_where_the_filesystem_knows_no_locks_runs_go_on_without(recipe, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("visionlab.lock.fcntl.flock", no_locks)
    kill(begin(recipe, 0, "--save_every_n_steps", "2"))
    assert wait_for(in_child(lambda: fit(recipe, "--save_every_n_steps", "2", "--resume", "auto"))) == 0
    assert numbers() == ["0"]
