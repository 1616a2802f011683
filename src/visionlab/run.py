"""The run folder: everything that one experiment left, and the way back from it to a task.

::

    runs/<recipe>/<n>/
        run.json        format version, state, command, versions, git commit, W&B id, where it trained
        config.yaml     the resolved configuration: ``visionlab fit --config`` takes it
        metrics.csv     step,epoch,name,value
        results/        <stage>.json: the scalars; <stage>_per_class.csv, <stage>_confusion.csv; train.json: the speed
        per_image/      <stage>.csv: id, loss, correct or score
        checkpoints/    best.ckpt, last.ckpt, previous.ckpt
        pictures/
        wandb/
        lock            held by the process that trains
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

import visionlab
from visionlab import slurm
from visionlab.lock import Lock, held_elsewhere, holder

FORMAT = 1
"""The version of the run folder's layout."""

State = Literal["running", "finished", "stopped", "failed"]

SECONDS_TO_END = 30
"""How long a process may take to end when its job has been started again."""


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @staticmethod
    def create(parent: Path, config: str, lock: Lock | None = None) -> "Run":
        """Make the next numbered folder under ``parent``. Only one process of a run may.

        Args:
            parent: ``runs/<recipe>``.
            config: the resolved configuration, as YAML.
            lock: is to hold the run, so that no other process continues it.
        """
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=-1)
        while True:
            try:
                (parent / str(number)).mkdir()
                break
            except FileExistsError:  # another run was faster
                number += 1
        run = Run(parent / str(number))
        if lock is not None:
            lock.take(run._lock)  # before the run can be found
        run._replace("config.yaml", config)
        run._write(
            {
                "format": FORMAT,
                "state": "running",
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "command": sys.argv,
                "job": job_id(),
                "wandb_id": f"{parent.name}-{number}-{os.urandom(4).hex()}",
                "host": platform.node(),
                "versions": _versions(),
                "git": _git_state(),
            }
        )
        return run

    @staticmethod
    def open(folder: str | Path) -> "Run":
        """Open a run folder.

        Raises:
            ValueError: if it is none, or one of a later version of visionlab.
        """
        run = Run(Path(folder))
        if not (run.folder / "run.json").is_file():
            raise ValueError(f"{folder} is not a run folder: it has no run.json")
        try:
            found = int(run.info["format"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"{run.folder / 'run.json'} is damaged: {type(error).__name__}: {error}") from error
        if found > FORMAT:
            raise ValueError(f"{folder} has run folder format {found}; this visionlab reads up to {FORMAT}")
        return run

    @property
    def info(self) -> dict[str, Any]:
        """What ``run.json`` holds."""
        return dict(json.loads((self.folder / "run.json").read_text()))

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return dict(yaml.safe_load((self.folder / "config.yaml").read_text()))

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def best(self) -> Path:
        """The weights that did best on the monitored metric."""
        return self.checkpoints / "best.ckpt"

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    def hold(self, lock: Lock) -> None:
        """Have ``lock`` hold the run. A process of this very job that does is waited for: it is about to end, or its
        machine is gone, whose lock is passed over.

        Raises:
            ValueError: names the process that holds it.
        """
        if lock.take(self._lock):
            return
        if self._is_of_this_job():
            print(f"visionlab: waiting for {holder(self._lock)} to leave {self.folder}", file=sys.stderr, flush=True)
            if lock.take(self._lock, SECONDS_TO_END):
                return
            if held_elsewhere(self._lock):
                print(f"visionlab: {holder(self._lock)} may be gone: continuing {self.folder}", file=sys.stderr)
                return
        raise ValueError(f"{self.folder} is in use by {holder(self._lock)}; if that is gone, delete {self._lock}")

    def _is_of_this_job(self) -> bool:
        job = job_id()
        return job is not None and self.info.get("job") == job

    def reopen(self, config: str) -> None:
        """Continue the run, with the configuration as it is now."""
        self._replace("config.yaml", config)
        self._write({**self.info, "state": "running", "job": job_id()})

    def mark(self, state: State) -> None:
        """Write how the run stands."""
        self._write({**self.info, "state": state})

    def describe(self, place: dict[str, Any]) -> None:
        """Write on what the run trains, and whether continuing it is exact there."""
        self._write({**self.info, "place": place})

    def discard(self) -> None:
        """Delete the folder and all that is in it: for a run that ended before its first step."""
        shutil.rmtree(self.folder)

    def newest_checkpoint(self) -> Path | None:
        """The newest checkpoint that is whole; a damaged one is passed over, with a warning."""
        for name in ("last.ckpt", "previous.ckpt", "best.ckpt"):
            path = self.checkpoints / name
            if path.exists():
                if is_whole(path):
                    return path
                print(f"visionlab: {path} is damaged; looking for the one before", file=sys.stderr)
        return None

    def _write(self, info: dict[str, Any]) -> None:
        self._replace("run.json", json.dumps(info, indent=2) + "\n")

    def _replace(self, name: str, text: str) -> None:
        """Write a file at once, for the other processes of the run may be reading it, and the power may fail."""
        beside = self.folder / f"{name}.tmp"
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.folder / name)


def find_unfinished(parent: Path, config: dict[str, Any], lock: Lock | None = None) -> Run | None:
    """The run that the same command would continue: the one of this Slurm or torchrun job, else the newest that has not
    finished, has an equal resolved configuration, and is in use by no other process. Damaged ones are passed over, with
    a warning.

    Args:
        parent: ``runs/<recipe>``.
        config: the resolved configuration.
        lock: is to hold the run.

    Raises:
        ValueError: if a process of this job goes on using its run.
    """
    numbers = sorted((int(p.parent.name) for p in parent.glob("*/run.json") if p.parent.name.isdigit()), reverse=True)
    of_this_job, alike = [], []
    for number in numbers:
        try:
            run = Run.open(parent / str(number))
            if run.info["state"] == "finished":
                continue
            if run._is_of_this_job():
                of_this_job.append(run)
            elif run.config == config:
                alike.append(run)
        except (ValueError, KeyError, TypeError, OSError, yaml.YAMLError) as error:
            print(f"visionlab: passing over {parent / str(number)}: {error}", file=sys.stderr)
    for run in [*of_this_job, *alike]:
        if lock is None:
            return run
        try:
            run.hold(lock)
        except ValueError as error:
            if run in of_this_job:
                raise
            print(f"visionlab: passing over a run: {error}", file=sys.stderr)
            continue
        if run.info["state"] != "finished":
            return run
        lock.release()  # it has finished meanwhile
    return None


def job_id() -> str | None:
    """What the cluster calls this job, the same in all its processes and after it was requeued; None outside a
    cluster.
    """
    if (job := slurm.job()) is not None:
        return f"slurm-{job}"
    torchrun = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if torchrun == "none" else f"torchrun-{torchrun}"


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is complete and undamaged: by the checksum that torch stores with each of its records, and
    by opening it, for the checksums do not cover the archive's own directory.
    """
    import torch  # not above: the commands that read no checkpoint load no torch

    try:
        with zipfile.ZipFile(checkpoint) as archive:
            if archive.testzip() is not None:
                return False
        torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # neither reader expects damage, which makes them raise seven kinds of errors
        return False
    return True


def _versions() -> dict[str, str]:
    names = ("torch", "torchvision", "lightning", "torchmetrics", "albumentations", "numpy", "wandb")
    return {"visionlab": visionlab.__version__, "python": platform.python_version()} | {
        n: metadata.version(n) for n in names
    }


def _git_state() -> dict[str, Any] | None:
    """The commit of the working directory, and whether it has changes; None outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", *arguments), capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
