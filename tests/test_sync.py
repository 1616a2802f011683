"""A run that was recorded offline, and interrupted, is on the server what an uninterrupted one is."""

import io
import shutil
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from conftest import RECIPE, in_child, wait_for
from visionlab import tracking
from visionlab.cli import main
from visionlab.run import Run
from wandb_server import WandbServer


def fit(recipe, *words, environment=None):
    common = ["--trainer.max_epochs", "2", "--save_every_n_steps", "7"]
    settings = {"WANDB_MODE": "online" if environment else "offline", **(environment or {})}
    return wait_for(in_child(lambda: main(["fit", "--config", str(recipe), *common, *words]), settings), 120)


def kill_at(step):
    return ["--trainer.callbacks+", f"{{class_path: stand_ins.SignalAt, init_args: {{step: {step}, number: 9}}}}"]


def sync(run, environment):
    return wait_for(in_child(lambda: main(["sync", str(run)]), environment), 120)


def shown(run):
    """What a run shows: its rows without the times, its configuration without W&B's own part, its summary and files."""
    own = {"_timestamp", "_runtime", "_step", "_wandb"}
    rows = [{name: told(value) for name, value in row.items() if name not in own} for row in run.rows]
    config = {name: value for name, value in run.config.items() if name not in ("_wandb", "trainer")}
    summary = {name: told(value) for name, value in run.summary.items() if name not in own}
    return {
        "rows": sorted(rows, key=lambda row: (row["trainer/global_step"], sorted(row))),
        "config": config,
        "summary": summary,
        "pictures": {pixels(content) for name, content in run.files.items() if name.startswith("media/")},
        "exit": run.finished,
    }


def told(value):
    """Pictures by their size alone, for their files' names have W&B's step."""
    return (value["width"], value["height"]) if isinstance(value, dict) else value


def pixels(content):
    with Image.open(io.BytesIO(content)) as picture:
        return picture.convert("RGB").tobytes()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that was killed five times, and one that was not, both offline."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "tiny.yaml").write_text(RECIPE)
    where = ["--runs", str(folder)]
    assert fit(folder / "tiny.yaml", *where, *kill_at(5)) == -signal.SIGKILL
    run = folder / "tiny" / "0"
    for step in (11, 16, 20, 25):
        assert fit(folder / "tiny.yaml", *where, *kill_at(step), "--resume", str(run)) == -signal.SIGKILL
    assert fit(folder / "tiny.yaml", *where, "--resume", str(run)) == 0
    assert len(list(run.glob("wandb/offline-run-*"))) == 6
    return run


@pytest.fixture
def offline(interrupted):
    """A copy, for sending."""
    shutil.copytree(interrupted, "sent/tiny/0")
    return Path("sent/tiny/0")


@pytest.mark.slow
def test_it_is_one_run_equal_to_an_uninterrupted_online_one(recipe, offline, capfd):
    with WandbServer() as server:
        assert fit(recipe, environment=server.environment) == 0
        assert sync(offline, server.environment) == 0
        straight, replayed = server.runs.values()
        assert shown(replayed) == shown(straight)
        assert len(shown(straight)["pictures"]) == 6
        steps = [row["trainer/global_step"] for row in replayed.rows if "train/loss" in row]
        assert steps == list(range(5, 37, 5))
        assert set(server.runs) == {Run.open(run).info["wandb_id"] for run in ("runs/tiny/0", offline)}
        before = shown(replayed)
        assert f"sent {len(replayed.rows)} of {len(replayed.rows)} rows" in capfd.readouterr().out
        assert sync(offline, server.environment) == 0
        assert shown(replayed) == before
        assert "sent 0 of" in capfd.readouterr().out
        assert len(server.runs) == 2
    assert not list(offline.glob("wandb/run-*"))  # sending leaves nothing behind


@pytest.mark.slow
def test_what_was_logged_since_is_sent_later(recipe, offline):
    with WandbServer() as server:
        assert sync(offline, server.environment) == 0
        (run,) = server.runs.values()
        before = list(run.rows)
        assert fit(recipe, "--resume", str(offline), "--trainer.max_epochs", "3") == 0
        assert sync(offline, server.environment) == 0
        assert len(server.runs) == 1
        assert run.rows[: len(before)] == before
        steps = [row["trainer/global_step"] for row in run.rows if "train/loss" in row]
        assert steps == list(range(5, 55, 5))


@pytest.mark.slow
def test_a_run_that_was_partly_online_is_sent_whole_beside_it(recipe):
    with WandbServer() as server:
        assert fit(recipe, *kill_at(20), environment=server.environment) == -signal.SIGKILL
        assert fit(recipe, "--resume", "runs/tiny/0") == 0
        assert sync("runs/tiny/0", server.environment) == 0
        name = Run.open("runs/tiny/0").info["wandb_id"]
        assert set(server.runs) == {name, f"{name}-whole"}
        steps = [row["trainer/global_step"] for row in server.runs[f"{name}-whole"].rows if "train/loss" in row]
        assert steps == list(range(5, 37, 5))


@pytest.mark.slow
def test_an_online_run_that_restarts_five_times_stays_one_run(recipe):
    with WandbServer() as server:
        environment = server.environment
        assert fit(recipe, *kill_at(5), environment=environment) == -signal.SIGKILL
        for step in (11, 16, 20, 25):
            status = fit(recipe, *kill_at(step), "--resume", "runs/tiny/0", environment=environment)
            assert status == -signal.SIGKILL
        assert fit(recipe, "--resume", "runs/tiny/0", environment=environment) == 0
        (name,) = server.runs
        assert name == Run.open("runs/tiny/0").info["wandb_id"]
        run = server.runs[name]
        assert run.finished == 0
        assert {row["trainer/global_step"] for row in run.rows if "train/loss" in row} >= {25, 30, 35}
        assert [row["_step"] for row in run.rows] == list(range(len(run.rows)))  # none overwritten, none left out


def test_without_a_key_nothing_is_tried(recipe, capfd, monkeypatch):
    monkeypatch.setenv("NETRC", "nowhere")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with WandbServer() as server:
        assert fit(recipe, "--trainer.max_steps", "1") == 0
        assert sync("runs/tiny/0", {"WANDB_BASE_URL": server.environment["WANDB_BASE_URL"]}) == 2
        assert server.requests == 0
    assert "no key is configured for http://127.0.0.1" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "then"), [("fails", None), ("hangs", None), ("ok", "fails"), ("ok", "hangs")])
def test_a_server_that_is_away_is_said_so_in_time(offline, capfd, monkeypatch, mode, then):
    monkeypatch.setattr(tracking, "SECONDS_TO_WAIT", 3)
    with WandbServer(mode, then) as server:
        start = time.monotonic()
        assert sync(offline, server.environment) == 2
        assert time.monotonic() - start < 30
        assert "did not take the run" in capfd.readouterr().err
        server.mode = "ok"
        assert sync(offline, server.environment) == 0
        (run,) = server.runs.values()
        assert [row["_step"] for row in run.rows] == list(range(len(run.rows)))
        assert len(run.rows) > 10


@pytest.mark.parametrize("words", [[], ["a", "b"], ["nowhere"]])
def test_what_is_no_run_cannot_be_sent(capfd, words):
    assert main(["sync", *words]) == 2
    assert "visionlab: " in capfd.readouterr().err


def test_a_run_that_logged_nothing_cannot_be_sent(capfd):
    run = Run.create(Path("runs/tiny"), "a: 1")
    assert main(["sync", str(run.folder)]) == 2
    assert "has nothing to send" in capfd.readouterr().err
