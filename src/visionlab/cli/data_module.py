"""From the name of a data set to a data module."""

import inspect
import pkgutil
from pathlib import Path
from typing import Any

from visionlab.cli.data import read_card
from visionlab.data.base import DataModule


def open_module(name: str, root: Path, ending: str | None) -> DataModule:
    """Make a data module of a card, over a root.

    Args:
        name: of the data set's card.
        root: the folder of the data set.
        ending: of the name of the data module, in any case, such as ``detection``; the card's first if None.

    Raises:
        ValueError: if there is no such data set or data module.
    """
    paths = read_card(name).data
    if ending is None:
        paths = paths[:1]
    fitting = [path for path in paths if ending is None or path.lower().endswith(ending.lower())]
    if len(fitting) != 1:
        classes = ", ".join(path.rpartition(".")[2] for path in paths)
        raise ValueError(f"--as {ending} must be the end of just one of {classes}")
    module: Any = pkgutil.resolve_name(fitting[0])
    takes_root = "root" in inspect.signature(module).parameters  # the digits have none
    data: DataModule = module(**({"root": str(root)} if takes_root else {}), batch_size=1)
    return data
