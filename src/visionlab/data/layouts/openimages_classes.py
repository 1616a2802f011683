"""The classes of Open Images: their descriptions, how the boxable ones are ordered in a hierarchy, and how a few of
them are chosen.
"""

import csv
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from visionlab.data.layouts.openimages_tables import MID, Report, refuse
from visionlab.data.plain import plain_size

MAX_BYTES = 1 << 24
"""Of a file: the full vocabulary, the largest, has less than one MB."""

MOST = 32_767
"""Labels are kept as int16; the full vocabulary has about 20,000 classes."""


class Classes(NamedTuple):
    """Classes, by label.

    Attributes:
        ids: the machine-generated ids of the data set (``/m/01g317``).
        names: for people; two classes may share one.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]


def read_classes(path: Path, report: Report = refuse) -> Classes:
    """Read a table of ids and names, with a header (as v6 and v7 have it) or without (v4, v5).

    Args:
        path: ``*class-descriptions*.csv``.
        report: takes what is wrong; such a class is left out.

    Raises:
        ValueError: if the file is not UTF-8, or has no classes or too many.
    """
    classes: dict[str, str] = {}
    plain_size(path, MAX_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                line = reader.line_num
                if not row or (line == 1 and not row[0].startswith("/")):
                    continue
                if len(row) != 2 or not MID.fullmatch(row[0]):
                    report(
                        "malformed-file", f"{path}, line {line}: not an id and a name: {row!r:.200}", path, line=line
                    )
                elif row[0] in classes:
                    report("duplicate-id", f"{path}, line {line}: {row[0]} is there twice", path, line=line, id=row[0])
                else:
                    classes[row[0]] = row[1]
                if len(classes) > MOST:
                    raise ValueError(f"{path}, line {line}: more than {MOST:,} classes")
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of classes: {error}") from error
    if not classes:
        raise ValueError(f"{path} has no classes")
    return Classes(tuple(classes), tuple(classes.values()))


def chosen(classes: Classes, wanted: Sequence[str], path: Path) -> Classes:
    """Some of the classes, in the order in which they are wanted.

    Args:
        classes: all.
        wanted: ids or names.
        path: of the file that has them, for messages.

    Raises:
        ValueError: if there is no such class, if a name means several, or a class is wanted twice.
    """
    ids = []
    for one in wanted:
        found = [one] if one in classes.ids else [i for i, n in zip(*classes, strict=True) if n == one]
        if not found:
            lower = {name.lower(): name for name in classes.names}
            nearest = difflib.get_close_matches(one.lower(), lower, n=1, cutoff=0)
            raise ValueError(f"there is no class {one!r} in {path}; did you mean {lower[nearest[0]]!r}?")
        if len(found) > 1:
            raise ValueError(f"there are several classes {one!r} in {path}: give one of {', '.join(found)}")
        ids += found
    if len(set(ids)) < len(ids):
        twice = next(one for i, one in enumerate(ids) if one in ids[:i])
        raise ValueError(f"class {twice} is wanted twice in classes = {list(wanted)}")
    names = dict(zip(*classes, strict=True))
    return Classes(tuple(ids), tuple(names[one] for one in ids))


def read_ancestors(path: Path, ids: Sequence[str], report: Report = refuse) -> npt.NDArray[np.bool_]:
    """Which classes a class belongs to, by the subcategories of the hierarchy, as the official evaluation expands boxes
    (tensorflow/models, ``oid_hierarchical_labels_expansion.py``). What is only a part of a class does not belong to it.

    Args:
        path: ``bbox_labels_600_hierarchy.json``. A class may stand at several places.
        ids: of the classes, by label.
        report: takes classes of the hierarchy that are not among them, apart from the root.

    Returns:
        ``(C, C)``: whether the class of the column is that of the row, or one that holds it.

    Raises:
        ValueError: if the file is not such a hierarchy.
    """
    label = {one: i for i, one in enumerate(ids)}
    ancestors = np.eye(len(ids), dtype=np.bool_)
    nodes: list[tuple[Any, tuple[int, ...]]] = [(_read_json(path), ())]
    root = True
    strangers = set()
    while nodes:
        node, above = nodes.pop()
        name = node.get("LabelName") if isinstance(node, dict) else None
        if not isinstance(name, str):
            raise ValueError(f"{path}: a node without LabelName: {node!r:.100}")
        if name in label:
            ancestors[label[name], list(above)] = True
            above = (*above, label[name]) if label[name] not in above else above
        elif not root:
            strangers.add(name)
        root = False
        for kind, beneath in (("Subcategory", above), ("Part", ())):
            children = node.get(kind, [])
            if not isinstance(children, list):
                raise ValueError(f"{path}: {kind} of {name} is not a list")
            nodes += [(child, beneath) for child in children]
    for stranger in sorted(strangers):
        report("unknown-category", f"{path}: unknown class {stranger!r:.80}", path, id=stranger)
    return ancestors


def _read_json(path: Path) -> Any:
    plain_size(path, MAX_BYTES)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a hierarchy: {str(error)[:200]}") from error
