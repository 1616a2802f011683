"""Writes what an evaluation found into the run folder."""

import csv
import json
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor


class WriteResults(Callback):
    """After each evaluation: ``results/<stage>.json`` with the scalars, ``results/<stage>_per_class.csv``, one CSV a
    matrix, and ``per_image/<stage>.csv`` with a row an image: its id in the data set, its loss, and whatever the
    metrics keep about it.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._write(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "test")

    def _write(self, trainer: Trainer, task: Any, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        results: dict[str, Tensor] = task.results[stage]
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # ours: the command line makes no trainer without
        folder = self.folder / "results"
        folder.mkdir(parents=True, exist_ok=True)
        scalars = {name: float(value) for name, value in results.items() if value.ndim == 0}
        (folder / f"{stage}.json").write_text(json.dumps(scalars, indent=2) + "\n")
        by_class = {
            name.removeprefix(f"{stage}/"): value.tolist() for name, value in results.items() if value.ndim == 1
        }
        if by_class:
            _write_csv(folder / f"{stage}_per_class.csv", {"class": list(data.classes), **by_class})
        for name, value in results.items():
            if value.ndim == 2:
                columns = {c: value[:, i].tolist() for i, c in enumerate(data.classes)}
                _write_csv(folder / f"{stage}_{name.split('/')[-1]}.csv", {"class": list(data.classes), **columns})
        if task.records:
            dataset = data.datasets[stage]
            columns = {name: v.tolist() for name, v in task.records.items() if v.ndim == 1 and name != "ids"}
            ids = [dataset.name(i) for i in task.records["ids"].tolist()]
            per_image = self.folder / "per_image"
            per_image.mkdir(exist_ok=True)
            _write_csv(per_image / f"{stage}.csv", {"id": ids, **columns})


def _write_csv(path: Path, columns: dict[str, list[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
