"""What ``visionlab attack`` does, once what was asked for is read."""

import csv
import inspect
import json
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import wandb
from PIL import Image
from torch import Tensor

from visionlab.attacks.base import Attack, Bounded
from visionlab.cli.attacked_pictures import shown
from visionlab.cli.table import side_by_side
from visionlab.load import Loaded, load
from visionlab.loggers import open_wandb
from visionlab.pictures.perturbations import budget_curve, three_panels
from visionlab.run import Run
from visionlab.tasks.audit import Audit, with_budget
from visionlab.tasks.base import Task
from visionlab.tasks.objectives import (
    Appear,
    ChangeClass,
    ClassLoss,
    Objective,
    OwnLoss,
    PixelCrossEntropy,
    Vanish,
    subset,
    usual,
)
from visionlab.tasks.under_attack import UnderAttack, attacked

PICTURED = 6
"""How many images are drawn: those whose loss rises most."""

OBJECTIVES: dict[str, Objective] = {
    "class": ClassLoss(),
    "margin": ClassLoss("margin"),
    "dlr": ClassLoss("dlr"),
    "own": OwnLoss(),
    "vanish": Vanish(),
    "appear": Appear(),
    "change_class": ChangeClass(),
    "pixels": PixelCrossEntropy(),
}


@dataclass(frozen=True)
class Request:
    """What was asked for.

    name: of the attack, as results are named.
    class_path: of the attack.
    arguments: of it.
    loss: one of :data:`OBJECTIVES`; the usual one of the task if None.
    curve: budgets.
    images: how many; all if None.
    audited: how many of them are audited.
    split: test, where it has labels, if None.
    folder: below ``RUN/attacks``; a number if None.
    """

    name: str
    class_path: str
    arguments: dict[str, Any]
    loss: str | None
    curve: list[str]
    images: int | None
    audited: int
    split: str | None
    folder: str | None


def attack_run(run: Run, checkpoint: Path, request: Request) -> None:
    """Attack, print, and leave the results in the run folder.

    Raises:
        ValueError: if the attack does not exist, or does not fit the task or its images.
    """
    attack = make_attack(request.class_path, request.arguments)
    curve = dict(zip(request.curve, budgets(attack, request.curve), strict=True))
    loaded = load(run.folder, checkpoint)
    task, data = loaded.task, loaded.data
    if not isinstance(task, Task):
        raise ValueError(f"{type(task).__name__} tells nothing about images that an attack could make wrong")
    task.to("cuda" if torch.cuda.is_available() else "cpu")
    objective = usual(task) if request.loss is None else OBJECTIVES[request.loss]
    split = request.split
    if split is None:
        split = "test" if data.test_has_labels else "val"
    if split == "test" and not data.test_has_labels:
        raise ValueError(f"the test split of {type(data).__name__} has no labels; use --split val")
    clean = UnderAttack("clean", task, None, objective, data.metrics())
    under = UnderAttack(request.name, task, attack, objective, data.metrics())
    along = {text: UnderAttack(text, task, one, objective, data.metrics()) for text, one in curve.items()}
    audit = Audit(task, attack, objective, data.metrics, data.monitor, request.audited)
    with torch.no_grad():
        for batch in batches(loaded, split, request.images):
            for metric in (clean, under, audit, *along.values()):
                metric.update(None, batch)
    results = {"clean": clean.compute(), request.name: under.compute()}
    found = audit.compute()
    columns = {name: scalars(values) for name, values in results.items()}
    folder = new_folder(run.folder / "attacks", request.folder)
    (folder / "results.json").write_text(
        json.dumps({"attack": repr(attack), "split": split, **columns, "audit": scalars(found)}, indent=2) + "\n"
    )
    (folder / "audit.txt").write_text(audit.told + "\n")
    write_per_image(folder / "per_image.csv", [clean, under], data.datasets[split])  # type: ignore[index]
    rises = under.records[f"loss_under_{request.name}"] - clean.records["loss_under_clean"]
    ids = clean.records["ids"][rises.argsort(descending=True, stable=True)[:PICTURED]].tolist()
    again = batches(loaded, split, request.images)
    pictures = {"attacked": draw(task, loaded.class_names, again, ids, attack, objective)}
    if along:
        values = {text: scalars(one.compute()) for text, one in along.items()}
        pictures["curve"] = write_curve(folder, attack, curve, values, data.monitor, audit.facts.chance)
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    title = f"{run.folder.parent.name}, {split}, {len(clean.records['ids'])} images"
    print(side_by_side(title, {"clean": columns["clean"], request.name: columns[request.name]}))
    print(audit.told)
    print(f"left in {folder}")
    tell_wandb(run, folder.name, columns[request.name], pictures)


def make_attack(class_path: str, arguments: dict[str, Any]) -> Attack:
    """The attack that a class path names.

    Raises:
        ValueError: if there is none, or it does not take the arguments.
    """
    try:
        made = pkgutil.resolve_name(class_path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no attack {class_path}: {error}") from error
    if not (isinstance(made, type) and issubclass(made, Attack)):
        raise ValueError(f"{class_path} is no attack")
    takes = inspect.signature(made).parameters
    for name in arguments:
        if name not in takes:
            raise ValueError(f"{made.__name__} takes no {name}; it takes {', '.join(takes)}")
    if missing := [name for name, one in takes.items() if one.default is one.empty and name not in arguments]:
        raise ValueError(f"{made.__name__} needs --{' and --'.join(missing)}")
    try:
        return made(**arguments)
    except TypeError as error:
        raise ValueError(f"{made.__name__}: {error}") from error


def budgets(attack: Attack, curve: list[str]) -> list[Attack]:
    """The attack with each budget of a curve.

    Raises:
        ValueError: if it has no budget, or one of these is none.
    """
    if curve and not isinstance(attack, Bounded):
        raise ValueError(f"{type(attack).__name__} has no budget to draw a curve over")
    return [with_budget(attack, text) for text in curve] if isinstance(attack, Bounded) else []


def batches(loaded: Loaded, split: str, images: int | None) -> Iterator[Any]:
    """The first images of a split, in batches on the task's device, float32 in [0, 1]."""
    task, data = loaded.task, loaded.data
    data.setup("test" if split == "test" else "validate")
    left = math.inf if images is None else images
    for batch in data.test_dataloader() if split == "test" else data.val_dataloader():
        some = subset(batch, list(range(int(min(left, len(batch["ids"]))))))
        left -= len(some["ids"])
        yield task.on_after_batch_transfer(task.transfer_batch_to_device(some, task.device, 0), 0)
        if left <= 0:
            return


def scalars(values: dict[str, Tensor]) -> dict[str, float | None]:
    """Those of the values that are; None for NaN."""
    numbers = {name: float(value) for name, value in values.items() if value.ndim == 0}
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}


def new_folder(parent: Path, name: str | None) -> Path:
    """Make the folder of that name, or the next numbered one."""
    parent.mkdir(exist_ok=True)
    if name is None:
        name = str(1 + max((int(path.name) for path in parent.iterdir() if path.name.isdigit()), default=-1))
    folder = parent / name
    folder.mkdir(exist_ok=True)
    return folder


def write_per_image(path: Path, metrics: list[UnderAttack], dataset: Any) -> None:
    """A row an image: its name in the data set, and what is known of it without and under the attack."""
    columns: dict[str, list[Any]] = {"id": [dataset.name(i) for i in metrics[0].records["ids"].tolist()]}
    for metric in metrics:
        columns |= {
            n: v.tolist() for n, v in metric.records.items() if v.layout == torch.strided and v.ndim == 1 and n != "ids"
        }
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_curve(
    folder: Path,
    attack: Attack,
    curve: dict[str, Attack],
    values: dict[str, dict[str, float | None]],
    monitor: str,
    chance: float,
) -> Image.Image:
    """``curve.csv``, a row a budget with all metrics; returns the picture of the one that the data set watches."""
    assert isinstance(attack, Bounded)
    names = list(next(iter(values.values())))
    numbers = [one.budget for one in curve.values() if isinstance(one, Bounded)]
    with (folder / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["eps", "budget", *names])
        for text, number in zip(curve, numbers, strict=True):
            writer.writerow([text, number, *("" if values[text].get(n) is None else values[text][n] for n in names)])
    watched = [np.nan if (v := values[text][monitor]) is None else v for text in curve]
    return budget_curve(numbers, watched, f"{monitor} under {type(attack).__name__}", chance, attack.norm)


def draw(
    task: Task, names: list[str], batches: Iterator[Any], ids: list[int], attack: Attack, objective: Objective
) -> Image.Image:
    """The three panels of the images of these ids, in that order."""
    panels: dict[int, Any] = {}
    for batch in batches:
        mine = [i for i, one in enumerate(batch["ids"].tolist()) if one in ids]
        if len(mine) > 0:
            some = subset(batch, mine)
            moved = attacked(task, some, attack, objective)
            with torch.no_grad():
                before, after = task.step(some).predict(), task.step(moved).predict()
            found = shown(some["images"], moved["images"], before, after, names)
            panels |= zip(some["ids"].tolist(), found, strict=True)
        if len(panels) == len(ids):
            break
    return three_panels([panels[one] for one in ids], title=titled(attack))


def titled(attack: Attack) -> str:
    """The attack in a few words."""
    name = type(attack).__name__
    return f"{name}, eps {attack.eps} of {attack.norm}" if isinstance(attack, Bounded) else name


def tell_wandb(run: Run, name: str, values: dict[str, float | None], pictures: dict[str, Image.Image]) -> None:
    """Log numbers and pictures where the run has been logged."""
    if not (run.folder / "wandb").is_dir():
        return
    tracker = open_wandb(run.folder, run.info["wandb_id"], f"{run.folder.parent.name}/{run.folder.name}", run.config)
    numbers = {f"attacks/{name}/{key}": value for key, value in values.items() if value is not None}
    drawn = {f"attacks/{name}/{key}": wandb.Image(picture) for key, picture in pictures.items()}
    tracker.log_metrics({**numbers, **drawn})
    tracker.end(0)
