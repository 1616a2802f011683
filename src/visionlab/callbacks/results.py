"""Writes what an evaluation found into the run folder."""

import csv
import json
import math
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor


class WriteResults(Callback):
    """Writes what each evaluation found into the run folder.

    - ``results/<stage>.json``: the scalars; null where there was nothing to score.
    - ``results/<stage>_per_class.csv``: the vectors whose names end in ``_per_class``.
    - ``results/<stage>_<name>.csv``: each other vector, and each matrix. The columns of a ``(C, C)`` matrix are the
      classes, others are numbered; its rows are named by class, as are those of one whose name ends in ``_per_class``.
      Where two protocols have one of the same name, theirs stands before it.
    - ``per_image/<stage>.csv``: a row an image, with its id in the data set, its loss, and whatever the metrics keep
      about it.
    - ``predictions/<stage>/``: the objects that were found, in the files that the data set's own evaluation reads; not
      of the validations within training.

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
        valid = {name: None if math.isnan(value) else value for name, value in scalars.items()}  # JSON has no NaN
        (folder / f"{stage}.json").write_text(json.dumps(valid, indent=2) + "\n")
        classes = list(data.classes)
        per_class: dict[str, list[Any]] = {}
        matrices = [name.split("/")[-1] for name, value in results.items() if value.ndim > 0]
        for name, value in results.items():
            short = name.removeprefix(f"{stage}/")
            if value.ndim == 1 and name.endswith("_per_class"):
                per_class[short] = value.tolist()
            elif value.ndim > 0:
                # two protocols may give matrices of one name
                last = name.split("/")[-1]
                file = folder / f"{stage}_{last if matrices.count(last) == 1 else short.replace('/', '_')}.csv"
                _write_csv(file, _columns(name, value, classes))
        if per_class:
            _write_csv(folder / f"{stage}_per_class.csv", {"class": classes, **per_class})
        if task.records:
            dataset = data.datasets[stage]
            columns = {name: v.tolist() for name, v in task.records.items() if v.ndim == 1 and name != "ids"}
            ids = [dataset.name(i) for i in task.records["ids"].tolist()]
            per_image = self.folder / "per_image"
            per_image.mkdir(exist_ok=True)
            _write_csv(per_image / f"{stage}.csv", {"id": ids, **columns})
            if task.found:
                folder, found = self.folder / "predictions" / stage, list(task.found.values())
                data.write_predictions(folder, stage, found, ids, data.label_map)


def _columns(name: str, value: Tensor, classes: list[str]) -> dict[str, list[Any]]:
    if value.ndim == 1:
        return {name.split("/")[-1]: value.tolist()}
    square = value.shape == (len(classes), len(classes))
    columns = {str(classes[i] if square else i): value[:, i].tolist() for i in range(value.shape[1])}
    return {"class": classes, **columns} if square or name.endswith("_per_class") else columns


def _write_csv(path: Path, columns: dict[str, list[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
