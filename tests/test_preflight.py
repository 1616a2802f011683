"""A launch that cannot work is told in a line, before anything heavy is imported."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from visionlab.cli import main
from visionlab.preflight import LAUNCHED_BY, check_network

HERE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "NODE_RANK": "0"}
TORCHRUN = {
    **HERE,
    "RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_MAX_RESTARTS": "0",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}


@pytest.fixture
def refused(recipe, monkeypatch, capfd):
    """What is said of an environment."""

    def launch(environment, *words, command="fit"):
        monkeypatch.delenv(LAUNCHED_BY, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        start = time.monotonic()
        assert main([command, "--config", str(recipe), *words]) == 2
        assert time.monotonic() - start < 20
        assert not Path("runs").exists()
        error = capfd.readouterr().err
        assert "Traceback" not in error
        line = error.splitlines()[-1]
        assert line.startswith("visionlab: ")
        return line

    return launch


@pytest.mark.parametrize("left", [{"WORLD_SIZE": "2", "LOCAL_RANK": "0"}, {"RANK": "1"}, {"LOCAL_RANK": "1"}])
def test_what_a_launcher_left_behind_is_named(refused, left):
    line = refused(left)
    assert (
        f"unset {' '.join(sorted(left, key=['RANK', 'LOCAL_RANK', 'WORLD_SIZE'].index))}, or start it by torchrun"
        in line
    )


@pytest.mark.parametrize("command", ["validate", "test"])
def test_an_evaluation_is_told_too(refused, command, tmp_path):
    weights = tmp_path / "weights.ckpt"
    torch.save({}, weights)
    assert "unset LOCAL_RANK" in refused({"LOCAL_RANK": "1"}, "--ckpt_path", str(weights), command=command)


def test_a_port_that_is_taken_is_named(refused):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"MASTER_PORT is {port}, which another process" in refused({**HERE, "MASTER_PORT": port})
        # where torchrun's workers make the store themselves
        words = {**TORCHRUN, "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": "False"}
        assert f"MASTER_PORT is {port}, which another process" in refused(words)


@pytest.mark.parametrize("port", ["70000", "http"])
def test_what_is_no_port_is_named(refused, port):
    assert f"MASTER_PORT is {port}: expected a port" in refused({**HERE, "MASTER_PORT": port})


def test_a_host_that_nobody_knows_is_named(refused, monkeypatch):
    monkeypatch.setattr("visionlab.preflight.SECONDS_TO_RESOLVE", 1)
    assert "MASTER_ADDR is nowhere.invalid, a host" in refused({**HERE, "MASTER_ADDR": "nowhere.invalid"})


@pytest.mark.parametrize(
    ("variable", "given"),
    [("GLOO_SOCKET_IFNAME", "nope0"), ("NCCL_SOCKET_IFNAME", "nope"), ("NCCL_SOCKET_IFNAME", "=l")],
)
def test_a_network_interface_that_is_not_there_is_named(refused, variable, given):
    line = refused({**HERE, variable: given})
    assert f"{variable} is {given}, but this machine's network interfaces are" in line
    assert "lo" in line


@pytest.mark.parametrize("given", ["lo", "l", "=lo", "^nope"])
def test_a_network_interface_that_nccl_would_take_is_right(monkeypatch, given):
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", given)
    check_network()


def test_torchrun_that_would_begin_anew_after_a_failure_is_told(refused):
    assert "add --resume auto" in refused({**TORCHRUN, "TORCHELASTIC_MAX_RESTARTS": "3"})
    line = refused({**TORCHRUN, "TORCHELASTIC_MAX_RESTARTS": "3"}, "--resume", "auto")
    assert "needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in line


@pytest.fixture
def light(monkeypatch):
    """Fails where torch would be imported."""
    monkeypatch.setattr("visionlab.cli.fit._fit", lambda *_: pytest.fail("it was not seen before"))


@pytest.mark.parametrize("variable", ["GLOO_SOCKET_IFNAME", "MASTER_PORT"])
def test_what_the_processes_of_a_script_will_not_find_is_named_at_once(light, refused, variable):
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = {"GLOO_SOCKET_IFNAME": "nope0", "MASTER_PORT": str(server.getsockname()[1])}[variable]
        line = refused({"MASTER_ADDR": "127.0.0.1", variable: given}, "--trainer.devices", "2")
    assert f"{variable} is {given}, " in line


def test_a_later_process_does_not_mind_that_the_first_one_holds_the_port(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
        for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
            with monkeypatch.context() as later:
                later.setenv(name, "1")
                check_network()


def test_a_recipe_that_wants_other_processes_than_torchrun_started_is_told(light, refused):
    line = refused(TORCHRUN, "--trainer.devices", "4")
    assert "torchrun started 2 processes on each of 1 machines, but trainer.devices is 4" in line


def test_no_process_outlives_the_one_that_started_it():
    """The first process dies of a taken port while the second waits for it."""
    child = "from visionlab.preflight import check_launch; check_launch(continues=False); import time; "
    child += "print('waiting', flush=True); time.sleep(60)"
    parent = f"import os, subprocess, sys; os.environ['{LAUNCHED_BY}'] = str(os.getpid()); "
    parent += f"c = subprocess.Popen([sys.executable, '-c', {child!r}]); print(c.pid, flush=True); c.wait()"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as first:
        second = int(first.stdout.readline())
        assert first.stdout.readline() == "waiting\n"
        first.kill()
        first.wait()
        end = time.monotonic() + 10
        while _lives(second) and time.monotonic() < end:
            time.sleep(0.01)
        assert not _lives(second)


def _lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
