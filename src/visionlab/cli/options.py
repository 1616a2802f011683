"""What the commands that run a recipe have in common, before anything heavy is imported."""

import argparse
import difflib
from dataclasses import dataclass
from pathlib import Path

from visionlab.recipes import require_recipe, require_values
from visionlab.run import Run


def recipe_name(config: Path) -> str:
    """What the runs of a recipe are filed under: its file name, or the name it was first filed under."""
    if config.name == "config.yaml" and (config.parent / "run.json").is_file():
        return config.parent.parent.name
    return config.stem


def require_file(path: Path) -> None:
    """See that a file that was named is there.

    Raises:
        FileNotFoundError: if not, with the nearest name in its folder, or the nearest folder.
    """
    if path.is_file():
        return
    folder = path.parent
    names = [str(p) for p in folder.rglob(f"*{path.suffix}")] if folder.is_dir() else []
    found = difflib.get_close_matches(str(path), names, 1)
    raise FileNotFoundError(f"there is no file {path}" + (f"; did you mean {found[0]}?" if found else ""))


def require_checkpoint(given: str) -> Path:
    """See that a checkpoint that was named is there.

    Raises:
        ValueError: if an address was given: loading one would trust whoever answers there.
        FileNotFoundError: if there is no such file.
    """
    refuse_address(given)
    if not Path(given).is_file():
        raise FileNotFoundError(f"there is no checkpoint {given}")
    return Path(given)


def refuse_address(given: str) -> None:
    """Raise a ValueError if this is an address rather than a path."""
    if "://" in given:
        raise ValueError(f"{given} is an address; checkpoints are loaded from local files only: download it first")


@dataclass(frozen=True)
class Request:
    """What is to be run.

    run: the run folder that was named, if one was.
    name: what runs of the recipe are filed under.
    args: for :class:`visionlab.experiment.Experiment`.
    """

    run: Run | None
    name: str
    args: list[str]


def read_request(words: list[str]) -> Request:
    """Read ``RUN ...`` or ``--config RECIPE ...``.

    Raises:
        ValueError: if a folder is named that is no run, nothing is named, or a recipe is no YAML of a sane size.
        FileNotFoundError: if a recipe is named that is not there.
    """
    run = None
    if words and not words[0].startswith("-"):
        run = Run.open(words[0])
        words = ["--config", str(run.folder / "config.yaml"), *words[1:]]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", type=Path, action="append")
    configs = parser.parse_known_args(words)[0].config
    if not configs:
        raise ValueError("which recipe? Give --config RECIPE.yaml")
    for config in configs:
        require_file(config)
        require_recipe(config)
    require_values(words)
    return Request(run, recipe_name(configs[0]), words)
