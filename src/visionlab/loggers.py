"""Where a run's numbers go: a table in the run folder, and Weights & Biases without ever waiting for it."""

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_warn

from visionlab import tracking

HEADER = "step,epoch,name,value\n"


class MetricsTable(Logger):
    """The run's numbers as one long table, ``step,epoch,name,value``; a row is on disk as soon as it is logged.

    Continuing a run takes the rows after its checkpoint away again, so an interrupted run leaves the same table as one
    that was not.

    Args:
        path: of the CSV file, which is continued if it exists.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The run folder holds the whole configuration already."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        epoch = int(metrics["epoch"]) if "epoch" in metrics else ""  # callbacks of Lightning's do not tell it
        new = self.size == 0
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                file.write(HEADER)
            writer.writerows(
                [step, epoch, name, repr(float(value))] for name, value in metrics.items() if name != "epoch"
            )

    @property
    def size(self) -> int:
        """How many bytes are on disk."""
        return self.path.stat().st_size if self.path.exists() else 0

    @rank_zero_only
    def forget_after(self, step: int, size: int | None = None, stage: str = "") -> None:
        """Drop what is logged again: the rows after ``step``, and a last row that was cut off.

        Args:
            step: of the checkpoint.
            size: how many bytes there were when it was saved; None keeps all rows up to its step.
            stage: what of the rows beyond ``size`` is logged again, as their names begin.
        """
        if not self.path.exists():
            return
        kept, at = [HEADER.encode()], 0
        for row in self.path.read_bytes().splitlines(keepends=True):
            again = size is not None and at >= size
            at += len(row)
            # a power loss may leave anything
            found = re.fullmatch(rb"(\d+),\d*,([^,]+),[^,]+\n", row)
            if found and int(found[1]) <= step and not (again and found[2].startswith(stage.encode())):
                kept.append(row)
        beside = self.path.with_suffix(".tmp")
        beside.write_bytes(b"".join(kept))
        beside.replace(self.path)


def read_metrics(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Read a :class:`MetricsTable`: by name, the steps and the values."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            steps, values = series.setdefault(row["name"], ([], []))
            steps.append(int(row["step"]))
            values.append(float(row["value"]))
    return series


class Tracker(WandbLogger):
    """Weights & Biases that costs no run: where its service is gone, what is logged from then on is lost, and the run
    goes on. Clusters that signal all processes of a job alike end that service, and the run must still save.
    """

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log numbers and pictures."""
        self._try(lambda: super(Tracker, self).log_metrics(metrics, step))

    def end(self, exit_code: int) -> None:
        """Tell that the run has ended."""
        self._try(lambda: self.experiment.finish(exit_code=exit_code))

    def _try(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:  # W&B's errors have no common base
            rank_zero_warn(f"Weights & Biases was not told all: {error}")


def open_wandb(folder: Path, run_id: str, name: str, config: dict[str, Any]) -> Tracker:
    """Start or continue a W&B run, offline unless a key is configured or ``WANDB_MODE`` says otherwise.

    A server that does not answer within :data:`visionlab.tracking.SECONDS_TO_WAIT` makes the run an offline one. It
    never asks for anything.

    Args:
        folder: the run folder, in which W&B makes ``wandb/``.
        run_id: of W&B; the same id continues the run.
        name: shown by W&B.
        config: the resolved configuration.
    """
    mode = os.environ.get("WANDB_MODE", "online" if tracking.key_is_configured() else "offline")
    try:
        run = tracking.begin(folder, run_id, name, config, mode)
    except Exception as error:  # W&B's errors have no common base, and tracking must not cost a run
        rank_zero_warn(f"Weights & Biases did not start ({error}); the run is recorded offline in {folder / 'wandb'}")
        wandb.teardown()  # else W&B's service holds the id to be in use
        run = tracking.begin(folder, run_id, name, config, "offline")
    return Tracker(experiment=run)
