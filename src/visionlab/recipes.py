"""What a recipe's text may be, seen from YAML's events alone, before anything is made of it.

A config names classes to import, so it is code, and only a trusted one may be run. These limits are for the rest: a few
hundred bytes of aliases that stand for gigabytes, brackets nested until the interpreter gives up, and a key that was
written twice, of which YAML silently takes the last.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

MOST_BYTES = 200_000
"""Of a recipe; a resolved one has about 10,000."""

MOST_REPEATED = 10_000
"""How many nodes may stand behind a recipe's aliases, with all that they repeat."""

DEEPEST = 100
"""How many lists and mappings may lie within each other."""


@dataclass
class _Open:
    """A list or mapping that has not ended."""

    anchor: str | None
    is_mapping: bool
    nodes: int = 1
    children: int = 0
    keys: set[str] = field(default_factory=set)


def require_recipe(path: Path) -> None:
    """See that a file holds a recipe: YAML of a sane size, with a mapping in which each key stands once.

    Raises:
        ValueError: if not; the message says where.
    """
    try:
        content = yaml.load(_checked(path, set()), Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise ValueError(f"{place}: this is no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no recipe: expected the keys model, data and trainer")


def require_values(words: list[str]) -> None:
    """See that values on a command line, which are YAML too, and the files that they name keep to the limits.

    Raises:
        ValueError: if not; the message says where.
    """
    for word in words:
        _check_value(word.partition("=")[2] if word.startswith("--") else word, "the command line", set())


def _checked(path: Path, seen: set[Path]) -> str:
    """The text of a file that keeps to the limits, as do the files that it names."""
    seen.add(path.resolve())
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"{path} has {size} bytes, a recipe at most {MOST_BYTES}")
    text = path.read_text(encoding="utf-8")
    for line, value in _values(text, str(path)):
        _check_value(value, f"{path}, line {line}", seen)
    return text


def _check_value(value: str, where: str, seen: set[Path]) -> None:
    """The parser reads a value as YAML once more, or the file that it names."""
    if value.endswith((".yaml", ".yml", ".json")) and "\n" not in value:
        path = Path(value)
        if path.resolve() not in seen and path.is_file():
            _checked(path, seen)
    elif any(sign in value for sign in "[{&\n"):
        try:
            for _ in _values(value, where):
                pass
        except yaml.YAMLError:
            return  # then the parser takes it for plain text


def _values(text: str, where: str) -> Iterator[tuple[int, str]]:
    """Each scalar with its line, while the text keeps to the limits."""
    opened: list[_Open] = []
    behind: dict[str, int] = {}
    repeated = 0
    for event in yaml.parse(text, Loader=LOADER):
        assert event.start_mark is not None
        line = event.start_mark.line + 1
        here = where if ", line " in where else f"{where}, line {line}"
        match event:
            case yaml.AliasEvent():
                if event.anchor not in behind:
                    raise ValueError(f"{here}: the alias *{event.anchor} stands for nothing before it, or for itself")
                repeated += behind[event.anchor]
                if repeated > MOST_REPEATED:
                    raise ValueError(f"{here}: the aliases repeat more than {MOST_REPEATED} nodes")
                _add(opened, behind[event.anchor])
            case yaml.ScalarEvent():
                if opened and opened[-1].is_mapping and opened[-1].children % 2 == 0:
                    if event.value in opened[-1].keys:
                        raise ValueError(f"{here}: the key {event.value!r} was written before; each stands once")
                    opened[-1].keys.add(event.value)
                else:
                    yield line, event.value
                if event.anchor:
                    behind[event.anchor] = 1
                _add(opened, 1)
            case yaml.CollectionStartEvent():
                if len(opened) == DEEPEST:
                    raise ValueError(f"{here}: more than {DEEPEST} lists and mappings lie within each other")
                opened.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            case yaml.CollectionEndEvent():
                ended = opened.pop()
                if ended.anchor:
                    behind[ended.anchor] = ended.nodes
                _add(opened, ended.nodes)


def _add(opened: list[_Open], nodes: int) -> None:
    if opened:
        opened[-1].nodes += nodes
        opened[-1].children += 1
