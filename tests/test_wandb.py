"""What Weights & Biases is told, read back from its own file and from a server; and that it never costs a run."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from conftest import in_child, wait_for
from visionlab import loggers, tracking
from visionlab.cli import main
from visionlab.loggers import read_metrics
from visionlab.run import Run
from wandb_files import history, of_kind
from wandb_server import WandbServer


def fit(recipe, *words):
    return main(["fit", "--config", str(recipe), "--trainer.max_epochs", "2", *words])


def fit_in_child(recipe, *words, environment=None, online=False, seconds=60):
    def child():
        if online:
            os.environ.pop("WANDB_MODE", None)
        return fit(recipe, *words)

    return wait_for(in_child(child, environment), seconds)


def assert_history_is_the_table(run="runs/tiny/0"):
    rows = {}
    for row in history(run):
        for name, value in row.items():
            rows.setdefault((row["trainer/global_step"], name), []).append(value)
    for name, (steps, values) in read_metrics(Path(run) / "metrics.csv").items():
        for step, value in zip(steps, values, strict=True):
            assert rows[step, name] == [pytest.approx(value, rel=1e-12)], (step, name)


def test_the_offline_file_holds_the_metrics_the_configuration_and_the_pictures(recipe):
    assert fit_in_child(recipe) == 0
    run = Run.open("runs/tiny/0")
    assert_history_is_the_table()
    (started,) = of_kind("run")[:1]
    assert started.run_id == run.info["wandb_id"]
    assert started.display_name == "tiny/0"
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    assert {name: config[name] for name in run.config} == run.config
    axes = {record.glob_name or record.name: record.step_metric for record in of_kind("metric")}
    assert axes["*"] == "trainer/global_step"
    pictures = {name.split(".")[0]: row for row in history() for name in row if name.startswith("pictures/")}
    assert {name.removeprefix("pictures/") for name in pictures} == {
        path.stem for path in Path("runs/tiny/0/pictures").glob("*.png")
    }
    for name, row in pictures.items():
        (file,) = Path("runs/tiny/0").glob(f"wandb/*run-*/files/{row[f'{name}.path']}")
        with Image.open(file) as sent, Image.open(f"runs/tiny/0/{name}.png") as kept:
            assert sent.convert("RGB").tobytes() == kept.convert("RGB").tobytes()
    assert of_kind("exit")[-1].exit_code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["runs", "tiny.yaml"]  # W&B leaves nothing beside the run


def test_a_continued_run_is_the_same_run(recipe):
    kill = "{class_path: stand_ins.SignalAt, init_args: {step: 25, number: 15}}"
    assert fit_in_child(recipe, "--trainer.callbacks+", kill) == 128 + 15
    assert of_kind("exit")[-1].exit_code == 1
    assert fit_in_child(recipe, "--resume", "runs/tiny/0") == 0
    assert {record.run_id for record in of_kind("run")} == {Run.open("runs/tiny/0").info["wandb_id"]}
    assert_history_is_the_table()


def test_without_a_key_it_is_offline_and_asks_for_nothing(recipe, monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(Path("netrc").absolute()))
    reader, writer = os.pipe()  # nobody answers

    def child():
        os.dup2(reader, 0)
        os.environ.pop("WANDB_MODE")
        return fit(recipe)

    assert wait_for(in_child(child)) == 0
    os.close(reader)
    os.close(writer)
    assert list(Path("runs/tiny/0/wandb").glob("offline-run-*"))


@pytest.mark.parametrize(
    ("content", "configured"),
    [
        (f"machine 127.0.0.1 login user password {WandbServer.KEY}\n", True),
        (f"machine elsewhere login user password {WandbServer.KEY}\n", False),
        ("machine\n", False),
        (None, False),
    ],
)
def test_a_key_is_found_where_login_leaves_it(monkeypatch, content, configured):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NETRC", str(Path("netrc").absolute()))
    if content is not None:
        Path("netrc").write_text(content)
        Path("netrc").chmod(0o600)
    assert tracking.key_is_configured() is configured


def at_server(port):
    return {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": WandbServer.KEY}


@pytest.mark.slow
def test_a_server_that_refuses_makes_the_run_an_offline_one(recipe, monkeypatch, capfd):
    monkeypatch.setattr(tracking, "SECONDS_TO_WAIT", 3)
    monkeypatch.setattr(loggers, "rank_zero_warn", lambda message: print(message, file=sys.stderr))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    assert fit_in_child(recipe, environment=at_server(port), online=True) == 0
    assert time.monotonic() - start < 30
    assert "Weights & Biases did not start" in capfd.readouterr().err
    assert list(Path("runs/tiny/0/wandb").glob("offline-run-*"))
    assert {record.run_id for record in of_kind("run")} == {Run.open("runs/tiny/0").info["wandb_id"]}
    assert_history_is_the_table()
    assert Run.open("runs/tiny/0").info["state"] == "finished"


@pytest.mark.slow
def test_a_server_that_refuses_costs_a_quarter_of_a_minute(recipe):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    assert fit_in_child(recipe, environment=at_server(port), online=True) == 0
    assert time.monotonic() - start < 15 + 15
    assert_history_is_the_table()


def sent(server):
    """The rows of the one run that the server knows."""
    (run,) = server.runs.values()
    return run.rows


def test_with_a_key_the_server_gets_every_number(recipe):
    with WandbServer() as server:
        assert fit_in_child(recipe, environment=server.environment, online=True) == 0
        rows = sent(server)
    assert not list(Path("runs/tiny/0/wandb").glob("offline-run-*"))
    told = {(row["trainer/global_step"], name): value for row in rows for name, value in row.items()}
    for name, (steps, values) in read_metrics(Path("runs/tiny/0/metrics.csv")).items():
        for step, value in zip(steps, values, strict=True):
            assert told[step, name] == pytest.approx(value, rel=1e-9), (step, name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fails", "hangs"])
@pytest.mark.parametrize("when", ["start", "middle"])
def test_a_server_that_goes_away_holds_a_run_up_only_so_long(recipe, monkeypatch, mode, when):
    monkeypatch.setattr(tracking, "SECONDS_TO_WAIT", 3)
    with WandbServer(*((mode, None) if when == "start" else ("ok", mode))) as server:
        start = time.monotonic()
        assert fit_in_child(recipe, environment=server.environment, online=True) == 0
        assert time.monotonic() - start < 30
        assert bool(server.runs) == (when == "middle")
    assert Run.open("runs/tiny/0").info["state"] == "finished"
    assert_history_is_the_table()  # on disk, for `visionlab sync`


@pytest.mark.slow
def test_a_kill_loses_two_seconds_of_the_offline_file_at_most(recipe):
    """Of steps of 20 ms, each of which logs."""
    slow = "{class_path: stand_ins.SlowSteps, init_args: {seconds: 0.02}}"
    kill = "{class_path: stand_ins.SignalAt, init_args: {step: 250, number: 9}}"
    words = [
        "--trainer.max_epochs",
        "20",
        "--trainer.log_every_n_steps",
        "1",
        "--trainer.callbacks",
        f"[{slow}, {kill}]",
    ]
    assert fit_in_child(recipe, *words) == -signal.SIGKILL
    assert read_metrics(Path("runs/tiny/0/metrics.csv"))["train/loss"][0][-1] >= 250
    assert max(row["trainer/global_step"] for row in history() if "train/loss" in row) > 250 - 2 / 0.02
