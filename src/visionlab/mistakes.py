"""Turns the command line parser's report of a mistake into a line or two that name it, with the nearest right word."""

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from lightning import Trainer


def explain(report: str, argv: list[str]) -> str:
    """Say what is wrong.

    Args:
        report: the message of a ``jsonargparse.ArgumentError``.
        argv: the arguments that were parsed.
    """
    where = ".".join(re.findall(r'Parser key "([^"]+)"', report))
    prefix = f"{where}: " if where and where != "config" else ""
    if found := re.search(
        r"Option '([^']+)' is not accepted|does not accept option '([^']+)'|unrecognized arguments: --(\S+)", report
    ):
        option = next(group for group in found.groups() if group)
        return f"{prefix}there is no argument {option!r}{nearest(option, _known_arguments(argv))}"
    if found := re.search(r"module '([^']+)' has no attribute '([^']+)'", report):
        module, name = found.groups()
        classes = [n for n, value in vars(importlib.import_module(module)).items() if inspect.isclass(value)]
        return f"{prefix}{module} has no class {name!r}{nearest(name, classes, module)}"
    if found := re.search(r"No module named '([^']+)'", report):
        return f"{prefix}there is no module {found[1]!r}{_nearest_module(found[1])}"
    errors = [
        line.strip(" -") for line in report.splitlines() if not re.match(r"\s*(Given value|Subtypes|Errors)", line)
    ]
    told = [
        line
        for line in errors
        if not re.match(r"(Parser key|Does not validate|Problem with|Expected a <class 'NoneType'>)", line)
    ]
    return prefix + " ".join((told or errors)[:2])


def nearest(word: str, candidates: Iterable[str], package: str = "") -> str:
    """``; did you mean 'x'?``, or nothing where no candidate is near. Of a dotted word the last part that differs
    counts.
    """
    known = set(candidates)
    last = word.split(".")[-1]
    found = difflib.get_close_matches(word, known, 1) or difflib.get_close_matches(last, known, 1)
    return f"; did you mean {f'{package}.' if package else ''}{found[0]}?" if found else ""


def _nearest_module(name: str) -> str:
    parent, _, last = name.rpartition(".")
    if not parent:
        return nearest(name, [module.name for module in pkgutil.iter_modules()])
    try:
        package = importlib.import_module(parent)
    except ImportError:
        return ""
    return nearest(last, [module.name for module in pkgutil.iter_modules(package.__path__)], parent)


def _known_arguments(argv: list[str]) -> set[str]:
    """The arguments of the trainer, of every class that the recipe names, and the recipe's own top-level keys."""
    trainer = list(inspect.signature(Trainer.__init__).parameters)
    known = {
        "model",
        "data",
        "trainer",
        "seed_everything",
        "save_every_n_steps",
        *trainer,
        *(f"trainer.{name}" for name in trainer),
    }
    recipes = [
        yaml.safe_load(Path(word).read_text()) for word in argv if word.endswith(".yaml") and Path(word).is_file()
    ]
    for path in _class_paths([*recipes, *({"class_path": word} for word in argv)]):
        module, _, name = path.rpartition(".")
        try:
            cls = getattr(importlib.import_module(module), name)
            known.update(inspect.signature(cls).parameters)
        except (ImportError, AttributeError, TypeError, ValueError):
            continue
    return known - {"self"}


def _class_paths(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        if isinstance(path := value.get("class_path"), str) and "." in path:
            yield path
        for each in value.values():
            yield from _class_paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _class_paths(each)
