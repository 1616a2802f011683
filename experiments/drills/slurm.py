"""A real Slurm of two nodes on this machine, and what happens on clusters: preemption, signals at any time, requeueing
by others, the time limit, the death of a node, and mistakes.

    python experiments/drills/slurm.py [--short | --preemptions 6 --signals 50]

Needs root and the Debian packages slurm-wlm and munge; says so and does nothing where they are missing. Everything it
starts listens on the loopback and is stopped again.
"""

import argparse
import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from slurm_cluster import Cluster, cancel, environment, processes, run, wait, why_no_slurm

ROOT = Path(__file__).resolve().parents[2]

RECIPE = """
model:
  class_path: visionlab.tasks.classification.Classification
  init_args:
    net: {class_path: stand_ins.TinyNet}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
data: {class_path: stand_ins.FewDigits, init_args: {batch_size: 8, num_workers: 1}}
trainer: {max_epochs: EPOCHS, strategy: ddp, callbacks: [{class_path: stand_ins.Pace}], num_sanity_val_steps: 0,
  enable_progress_bar: false, enable_model_summary: false}
"""


class Job:
    """A job of the drill: its number, its run folder, and what Slurm says about it."""

    def __init__(self, folder: Path, epochs: int, *settings: str, overrides: tuple[str, ...] = ()) -> None:
        folder.mkdir()
        recipe = folder / "tiny.yaml"
        recipe.write_text(RECIPE.replace("EPOCHS", str(epochs)))
        self.run = folder / "runs" / "tiny" / "0"
        words = ("visionlab", "submit", str(recipe), "--runs", str(folder / "runs"), "--nodes", "2", "--gpus", "0")
        chosen = [word for each in settings for word in ("--sbatch", each)]
        self.number = run(*words, *chosen, "--now", "--", "--save_every_n_steps", "20", *overrides).split()[-1]
        self.begun = time.monotonic()

    def says(self, key: str) -> str:
        return re.search(rf"\b{key}=(\S*)", run("scontrol", "show", "job", self.number)).group(1)  # type: ignore[union-attr]

    @property
    def restarts(self) -> int:
        return int(self.says("Restarts"))

    @property
    def saved(self) -> int:
        """When the newest checkpoint was written; 0 if there is none."""
        last = self.run / "checkpoints" / "last.ckpt"
        return last.stat().st_mtime_ns if last.exists() else 0

    @property
    def output(self) -> str:
        path = self.run.parent / f"slurm-{self.number}.out"
        return path.read_text() if path.exists() else ""

    def tasks(self) -> list[int]:
        """The running processes of the program."""
        mine = [pid for pid, words in processes() if any(word.endswith("bin/visionlab") for word in words[:2])]
        return [pid for pid in mine if environment(pid).get("SLURM_JOB_ID") == self.number]

    def started(self) -> bool:
        """Whether all tasks of the newest start run: those of the one before may take a while to end."""
        counts = [environment(pid).get("SLURM_RESTART_COUNT", "0") for pid in self.tasks()]
        return counts.count(str(self.restarts)) >= 2

    def steps(self) -> int:
        """The steps of the newest good checkpoint; 0 if there is none."""
        for name in ("last.ckpt", "previous.ckpt"):
            path = self.run / "checkpoints" / name
            if path.exists():
                return int(torch.load(path, weights_only=True)["global_step"])
        return 0

    def trains(self, seconds: float = 300) -> float:
        """Wait until it has saved since now."""
        before = self.saved

        def advanced() -> bool:
            if (state := self.says("JobState")) in ("FAILED", "COMPLETED", "CANCELLED", "TIMEOUT", "NODE_FAIL"):
                raise RuntimeError(f"job {self.number} is {state}:\n{self.output[-2000:]}")
            return self.saved > before

        return wait(f"job {self.number} trains", seconds, advanced)

    def signal(self) -> None:
        run("scancel", "--signal=USR1", self.number)

    def restarted(self, restarts: int, seconds: float = 300) -> float:
        try:
            return wait(f"job {self.number} is queued again", seconds, lambda: self.restarts > restarts)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {self.says('JobState')}:\n{self.output[-2000:]}") from error

    def finished(self, seconds: float = 600) -> None:
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait(f"job {self.number} ends", seconds, lambda: self.says("JobState") in ends)
        if self.says("JobState") != "COMPLETED":
            raise RuntimeError(f"job {self.number} is {self.says('JobState')}:\n{self.output[-2000:]}")

    def end(self) -> None:
        cancel(self.number)
        wait("it is gone", 60, lambda: not self.tasks())

    def weights(self) -> str:
        """The SHA-256 of all weights and statistics."""
        digest = hashlib.sha256()
        content = torch.load(self.run / "checkpoints" / "last.ckpt", weights_only=True)
        for name, value in sorted(content["state_dict"].items()):
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()


def preempted(folder: Path, count: int) -> str:
    """R3: preempted again and again in training, and the same weights to the bit in the end."""
    epochs = 10 * count
    straight = Job(folder / "straight", epochs)
    job = Job(folder / "preempted", epochs)
    to_requeue, steps = [], []
    for _ in range(count):
        job.trains()
        time.sleep(random.uniform(0, 0.5))
        before = job.restarts
        job.signal()
        to_requeue.append(job.restarted(before))
        steps.append(job.steps())
    job.finished()
    straight.finished()
    if job.weights() != straight.weights():
        raise RuntimeError(
            f"after preemptions at steps {steps}, the weights differ from those of the uninterrupted run"
        )
    if [p.name for p in job.run.parent.iterdir() if p.is_dir()] != ["0"]:
        raise RuntimeError("there is more than one run folder")
    return (
        f"at steps {steps}; queued again after {max(to_requeue):.1f} s at most; SHA-256 {job.weights()[:16]} as without"
    )


def signalled(folder: Path, count: int) -> str:
    """R3: SIGUSR1 at any time from the first moment of the program on, neither a hang nor a lost checkpoint."""
    job = Job(folder / "signalled", 100_000)
    start_up = 20.0
    steps, early = 0, 0
    for i in range(count):
        wait("the tasks run", 300, job.started)
        begun, saved, before = time.monotonic(), job.saved, job.restarts
        # from 0 s, when the interpreter starts, to well within training
        time.sleep(random.uniform(0, 1.3 * start_up) if i else 0)
        early += job.saved == saved
        job.signal()
        job.restarted(before)
        if job.saved == saved:
            raise RuntimeError("nothing was saved")
        if i == 0:
            start_up = time.monotonic() - begun
        if (now := job.steps()) < steps:  # as many where a validation was begun again, and left again
            raise RuntimeError(f"from step {steps} to step {now}")
        steps = now
    if "User defined signal" in job.output:
        raise RuntimeError("a signal killed")
    job.end()
    return f"{count} signals, {early} of them during start-up; {steps} steps saved in the end"


def requeued(folder: Path) -> str:
    """R4: an administrator or a preemption queues the job again: SIGTERM, and later SIGKILL."""
    job = Job(folder / "requeued", 100_000)
    job.trains()
    run("scontrol", "requeue", job.number)
    gone = wait("the tasks are gone, before Slurm kills them", 12, lambda: not job.tasks())
    saved = job.steps()
    wait("the tasks run again", 300, job.started)
    first = wait("it goes on", 300, lambda: job.steps() > saved)
    if "continuing" not in job.output:
        raise RuntimeError(f"it began anew:\n{job.output[-2000:]}")
    job.end()
    return f"saved at step {saved} and gone after {gone:.1f} s; the next checkpoint {first:.0f} s after the new start"


def node_dies(folder: Path, cluster: Cluster) -> str:
    """R4: a node dies; the job waits for it and goes on."""
    job = Job(folder / "node", 100_000)
    job.trains()
    before, step = job.restarts, job.steps()
    cluster.kill_node("n2")
    noticed = job.restarted(before, 180)
    cluster.start_node("n2")
    again = wait("the tasks run again", 300, job.started)
    first = job.trains()
    if job.steps() < step:
        raise RuntimeError(f"from step {step} to step {job.steps()}")
    job.end()
    return (
        f"noticed after {noticed:.0f} s; running {again:.0f} s after it was back, first checkpoint {first:.0f} s later"
    )


def time_is_over(folder: Path) -> str:
    """R3: Slurm's own warning before the time limit."""
    job = Job(folder / "time", 100_000, "time=2", "signal=USR1@60")
    wait("it runs", 120, job.started)
    took = job.restarted(0, 150)
    step = job.steps()
    job.trains()
    job.end()
    return f"warned, saved at step {step} and queued again after {took:.0f} s of 120"


def mistaken(folder: Path) -> str:
    """R12: what people get wrong is named in a line, at once, and leaves nothing behind."""
    folder.mkdir()
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE.replace("EPOCHS", "1"))
    fit = f"visionlab fit --config {recipe} --runs {folder}/runs --trainer.accelerator cpu"
    two = "--trainer.num_nodes 2 --trainer.devices 1"
    cases = {
        "no srun": (["--nodes=2", "--ntasks-per-node=1"], f"{fit} {two}", "put srun before it"),
        "no tasks per node": (["--nodes=2", "--ntasks=2"], f"srun {fit} {two}", "--ntasks-per-node=1"),
        "wrong tasks": (
            ["--nodes=1", "--ntasks-per-node=2"],
            f"MASTER_ADDR=127.0.0.1 srun {fit} --trainer.devices 4",
            "wants 4 tasks on each of 1 nodes, but Slurm started 2 on 1",
        ),
        "no such host": (["--nodes=2", "--ntasks-per-node=1"], f"srun {fit} {two}", "the host n1"),
    }
    slowest = 0.0
    for name, (settings, command, expected) in cases.items():
        output = folder / f"{name.replace(' ', '-')}.out"
        script = f"#!/bin/bash\nunset MASTER_ADDR\n{command}\necho status $?\n"
        done = subprocess.run(
            ("sbatch", "--parsable", f"--output={output}", f"--chdir={folder}", *settings),
            input=script,
            capture_output=True,
            text=True,
            check=True,
        )
        number = done.stdout.strip()
        wait(f"{name}: it runs", 60, output.exists)
        ended = re.compile(r"JobState=(COMPLETED|FAILED)")
        took = wait(f"{name}: named", 60, lambda: ended.search(run("scontrol", "show", "job", number)) is not None)  # noqa: B023
        said = output.read_text()
        if expected not in said or "status 2" not in said or "Traceback" in said:
            raise RuntimeError(f"{name}: {said}")
        slowest = max(slowest, took)
    return f"{', '.join(cases)}: each named, status 2, after {slowest:.1f} s at most"


def stop(*_: object) -> None:
    """Leave, so that what was started is stopped too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # timeout sends it twice
    sys.exit("stopped")


def main() -> int:
    """Run the drills; returns 1 if one failed."""
    signal.signal(signal.SIGTERM, stop)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="3 preemptions, 5 signals and the mistakes")
    parser.add_argument("--preemptions", type=int, default=6)
    parser.add_argument("--signals", type=int, default=50)
    parser.add_argument("--only", help="one row of the table")
    options = parser.parse_args()
    if (reason := why_no_slurm()) is not None:
        print(f"skipped: Slurm: {reason}")
        return 0
    preemptions, signals = (3, 5) if options.short else (options.preemptions, options.signals)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # makes each start compile a thousand modules again
    os.environ |= {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "MASTER_ADDR": "127.0.0.1",
    }
    random.seed(0)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            cluster = stack.enter_context(Cluster(folder))
        except (RuntimeError, TimeoutError) as error:
            print(f"skipped: Slurm does not start here: {error}")
            return 0
        rows: dict[str, Callable[[], str]] = {
            "preemptions": lambda: preempted(folder, preemptions),
            "signals": lambda: signalled(folder, signals),
            "mistakes": lambda: mistaken(folder / "mistakes"),
        }
        if not options.short:
            rows |= {
                "requeue": lambda: requeued(folder),
                "node death": lambda: node_dies(folder, cluster),
                "time limit": lambda: time_is_over(folder),
            }
        failed = False
        print("| what | seconds | found |\n|---|---|---|", flush=True)
        for what, drill in rows.items():
            if options.only not in (None, what):
                continue
            begun = time.monotonic()
            try:
                found = drill()
            except (RuntimeError, TimeoutError) as error:
                failed, found = True, f"FAILED: {error}"
            print(f"| {what} | {time.monotonic() - begun:.0f} | {found} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
