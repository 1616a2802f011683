"""From the name of a data set to a data module."""

import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from visionlab.cli.data import read_card
from visionlab.data.base import DataModule
from visionlab.mistakes import explain, nearest


def open_module(name: str, root: Path, ending: str | None, settings: Mapping[str, str]) -> DataModule:
    """Make a data module of a card, over a root.

    Args:
        name: of the data set's card.
        root: the folder of the data set.
        ending: of the name of the data module, in any case, such as ``detection``; the card's first if None.
        settings: further arguments of the data module, in YAML.

    Raises:
        ValueError: if there is no such data set, data module or argument, or a value of the wrong type.
    """
    paths = read_card(name).data
    if ending is None:
        paths = paths[:1]
    fitting = [path for path in paths if ending is None or path.lower().endswith(ending.lower())]
    if len(fitting) != 1:
        classes = ", ".join(path.rpartition(".")[2] for path in paths)
        raise ValueError(f"--as {ending} must be the end of just one of {classes}")
    module: Any = pkgutil.resolve_name(fitting[0])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(module, "data")
    known = list(vars(parser.get_defaults().data))
    given: dict[str, Any] = {"root": str(root)} if "root" in known else {}  # the digits have none
    given["batch_size"] = 1
    for key, text in settings.items():
        if key not in known:
            raise ValueError(f"--set {key}: {module.__name__} has no such argument{nearest(key, known, listed=True)}")
        try:
            given[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {key}: {text!r} is no YAML") from error
    try:
        data: DataModule = parser.instantiate(parser.parse_object({"data": given})).data
    except ArgumentError as error:
        raise ValueError(f"--set {explain(str(error), []).removeprefix('data.')}") from error
    return data
