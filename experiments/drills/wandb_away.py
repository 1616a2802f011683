"""What a W&B server costs a run when it is away at the start, in the middle or at the end, and what a kill loses (R10).

The server is a stand-in on this machine that can fail with status 500 or answer nothing. The step time is the median
over a run's steps, against an offline run beside it; start and end are what the run took longer than that one.

Usage: uv run python experiments/drills/wandb_away.py [--count 3]
"""

import argparse
import contextlib
import itertools
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from conftest import RECIPE, in_child, wait_for
from test_wandb import history
from visionlab.cli import main as visionlab
from visionlab.loggers import read_metrics
from wandb_server import WandbServer

EPOCHS = 40


@dataclass
class Timed:
    """Seconds: until the first step, the median step's, from the last step to the end; and the exit status."""

    start: float
    step: float
    end: float
    status: int


def fit(folder: Path, log: Path, environment: dict[str, str], *words: str) -> int:
    """Start a fit in a child; returns its process number."""
    note = f"{{class_path: stand_ins.NoteTimes, init_args: {{path: {folder / 'times'}}}}}"
    command = [
        "fit",
        "--config",
        str(folder / "tiny.yaml"),
        "--runs",
        str(folder / "runs"),
        "--trainer.callbacks+",
        note,
    ]

    def child() -> int:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        return visionlab([*command, "--trainer.max_epochs", str(EPOCHS), *words])

    return in_child(child, {"WANDB_MODE": "online" if environment else "offline", **environment})


def steps(folder: Path) -> list[float]:
    """When each step ended."""
    path = folder / "times"
    return [float(line) for line in path.read_text().splitlines()] if path.exists() else []


def timed(folder: Path, log: Path, environment: dict[str, str], meanwhile: Callable[[int], None]) -> Timed:
    """Fit, and call ``meanwhile`` with the number of steps taken, again and again."""
    (folder / "times").unlink(missing_ok=True)
    begun = time.monotonic()
    child = fit(folder, log, environment)
    while (taken := len(steps(folder))) < 18 * EPOCHS and time.monotonic() < begun + 120:
        meanwhile(taken)
        time.sleep(0.02)
    meanwhile(taken)
    status = wait_for(child, 120)
    ended, at = time.monotonic(), steps(folder)
    gaps = [b - a for a, b in itertools.pairwise(at)]
    return Timed(at[0] - begun, statistics.median(gaps), ended - at[-1], status)


def fails_after(server: WandbServer, mode: str, after: int) -> Callable[[int], None]:
    """Change the server's mode after a number of steps."""

    def meanwhile(taken: int) -> None:
        if taken >= after:
            server.mode = mode

    return meanwhile


def lost(folder: Path, log: Path, *, online: bool) -> float:
    """The seconds of rows that are missing after a kill: of steps of 20 ms, each of which logs."""
    slow = "{class_path: stand_ins.SlowSteps, init_args: {seconds: 0.02}}"
    with WandbServer() as server:
        (folder / "times").unlink(missing_ok=True)
        environment = server.environment if online else {}
        child = fit(folder, log, environment, "--trainer.callbacks+", slow, "--trainer.log_every_n_steps", "1")
        while len(steps(folder)) < 250:
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        wait_for(child)
        run = max((folder / "runs" / "tiny").iterdir(), key=lambda p: int(p.name))
        at = steps(folder)
        logged, _ = read_metrics(run / "metrics.csv")["train/loss"]
        if online:
            time.sleep(2)  # what is under way may arrive
            told = [row for recorded in server.runs.values() for row in recorded.rows]
        else:
            told = history(run)
        last = max((row["trainer/global_step"] for row in told if "train/loss" in row), default=0)
        assert len(at) >= logged[-1] - 1
        return at[-1] - at[last - 1] if last else at[-1] - at[0]


def main() -> int:
    """Run the drill; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3, help="rounds")
    count = parser.parse_args().count
    middle, end = 9 * EPOCHS, 18 * EPOCHS
    cases = {
        "there": ("ok", "ok", 0),
        "fails at the start": ("fails", "fails", 0),
        "hangs at the start": ("hangs", "hangs", 0),
        "fails in the middle": ("ok", "fails", middle),
        "hangs in the middle": ("ok", "hangs", middle),
        "fails at the end": ("ok", "fails", end),
        "hangs at the end": ("ok", "hangs", end),
    }
    good = True
    print("| server | start, s later | step time, ratio | end, s later |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder, log = Path(name), Path(name) / "log"
        (folder / "tiny.yaml").write_text(RECIPE)
        timed(folder, log, {}, lambda taken: None)  # warms up
        for case, (mode, then, after) in cases.items():
            rounds = []
            for _ in range(count):
                alone = timed(folder, log, {}, lambda taken: None)
                with WandbServer(mode) as server:
                    beside = timed(folder, log, server.environment, fails_after(server, then, after))
                good &= beside.status == alone.status == 0
                rounds.append((beside.start - alone.start, beside.step / alone.step, beside.end - alone.end))
            start, ratio, later = (statistics.median(column) for column in zip(*rounds, strict=True))
            good &= start < 12 and later < 12
            print(f"| {case} | {start:.1f} | {ratio:.2f} | {later:.1f} |", flush=True)
        for online in (False, True):
            seconds = [lost(folder, log, online=online) for _ in range(count)]
            good &= online or max(seconds) <= 2
            print(
                f"\nrows lost by SIGKILL, {'online' if online else 'offline'}: at most {max(seconds):.1f} s of {count}",
                flush=True,
            )
    return 0 if good else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started and mounted is ended
    sys.exit(main())
