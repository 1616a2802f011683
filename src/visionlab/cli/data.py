"""``visionlab data``: which data sets there are, how to get them, twins and pictures of them, and a doctor for their
folders.

A data set is known by its card, a YAML file in ``visionlab/data/cards`` named like the data set; nothing else lists it.
"""

import argparse
import difflib
import inspect
import json
import pkgutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visionlab.mistakes import nearest

CARDS = Path(__file__).parents[1] / "data" / "cards"

SHOWN = 10
"""Images that could not be prepared, which are named; the rest is counted."""

EXAMPLES = {
    "check": "--set train_images=images --set train_annotations=train.json",
    "show": "--set year=2014",
    "prepare": "--set year=2014",
}
"""Of ``--set``, for help."""


@dataclass(frozen=True)
class Card:
    """What a card says.

    Attributes:
        title: the name that people write.
        about: what the images and labels are.
        authors: of the data set.
        year: of the publication.
        citation: of the publication.
        licence: with its source, or that none is stated.
        classes: how many; None where every folder has its own.
        images: how many, by split of the publisher.
        size: of what is downloaded, in bytes; None where nobody publishes it.
        layout: the tree of files below the root.
        get: how to get the data set.
        data: class paths for a recipe, one a task.
        check: the dotted path of a function of the root that gives :class:`visionlab.data.layouts.findings.Findings`;
            further arguments are words that ``--set`` gives.
        make: of a function of the root, the number of training images and a seed, which writes a twin; None without.
        download: of a function of the root, which gets the publisher's files; None without.
    """

    title: str
    about: str
    authors: str
    year: int
    citation: str
    licence: str
    classes: int | None
    images: dict[str, int]
    size: int | None
    layout: str
    get: str
    data: list[str]
    check: str
    make: str | None
    download: str | None


def names() -> list[str]:
    """The data sets, in alphabetical order."""
    return sorted(path.stem for path in CARDS.glob("*.yaml"))


def read_card(name: str) -> Card:
    """Read the card of a data set.

    Raises:
        ValueError: if there is none; the message gives the nearest name.
    """
    if name not in names():
        nearest = difflib.get_close_matches(name.lower(), names(), n=1, cutoff=0)
        raise ValueError(f"there is no data set {name!r}; did you mean {nearest[0]!r}? There are: {', '.join(names())}")
    return Card(**yaml.safe_load((CARDS / f"{name}.yaml").read_text(encoding="utf-8")))


def main(argv: list[str]) -> int:
    """Run the command.

    Args:
        argv: the words after ``visionlab``: ``data`` and what follows it.

    Returns:
        The exit status: 2 if a check finds something wrong, or an image could not be prepared.

    Raises:
        ValueError: if there is no such data set, or it cannot be made or downloaded; the message says why.
        OSError: if a file cannot be had or written; the message names it.
    """
    arguments = _parser().parse_args(argv[1:])
    return _COMMANDS[arguments.command](arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visionlab data", description="Data sets: which there are, and how to get them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="say which data sets there are")
    for command, does in (
        ("info", "say what a data set is, its licence and layout, and how to get it"),
        ("make", "write a small, learnable twin in the data set's true layout"),
        ("check", "say what is wrong with each file of a data folder"),
        ("show", "draw images of a data set with their annotations"),
        ("prepare", "decode the images of a data set once, made smaller, for faster training on whole-image labels"),
        ("download", "get a data set from its publisher"),
    ):
        sub = commands.add_parser(command, help=does, description=does[0].upper() + does[1:] + ".")
        sub.add_argument("name", metavar="NAME", help="of the data set, as `visionlab data list` gives it")
        if command != "info":
            sub.add_argument("--root", type=Path, help="the folder of the data set (default: data/NAME)")
        if command == "check":
            sub.add_argument("--json", action="store_true", help="write the findings as JSON, for machines")
        if command == "show":
            sub.add_argument("--split", choices=("train", "val", "test"), default="val", help="(default: val)")
            sub.add_argument("--images", type=int, default=16, help="how many, evenly spaced (default: 16)")
            sub.add_argument("--output", type=Path, metavar="FILE", help="to write (default: NAME_SPLIT.png)")
        if command == "prepare":
            sub.add_argument("--output", type=Path, metavar="DIR", required=True, help="to write, a folder a split")
            sub.add_argument("--short_side", type=int, default=256, help="of the images, in pixels (default: 256)")
        if command in ("show", "prepare"):
            sub.add_argument(
                "--as", dest="ending", metavar="TASK", help="such as detection (default: what `data info` names first)"
            )
        if command in ("check", "show", "prepare"):
            of = "the check, such as the names of files" if command == "check" else "the data module, as in a recipe"
            sub.add_argument(
                "--set",
                dest="settings",
                metavar="KEY=VALUE",
                action="append",
                default=[],
                help=f"an argument of {of}: {EXAMPLES[command]} (may be repeated)",
            )
        if command == "make":
            sub.add_argument(
                "--images", type=int, default=500, help="to train on; a quarter as many to test on (default: 500)"
            )
            sub.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")
    return parser


def _list(arguments: argparse.Namespace) -> int:
    for name in names():
        card = read_card(name)
        facts = [f"{card.classes:4} classes"] if card.classes is not None else ["     any classes"]
        facts += [f"{split} {count:,}" for split, count in card.images.items()]
        print(f"{name:14} {card.title:24} {', '.join(facts)}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    card = read_card(arguments.name)
    print(f"{card.title}: {card.about.strip()}\n")
    for key, value in (
        ("authors", f"{card.authors} ({card.year})"),
        ("citation", card.citation),
        ("licence", card.licence),
        ("classes", "any" if card.classes is None else card.classes),
        ("images", ", ".join(f"{split} {count:,}" for split, count in card.images.items())),
        ("download", "of a size that is not published" if card.size is None else f"{card.size:,} bytes"),
        ("class path", ", ".join(card.data)),
        ("to get it", card.get),
    ):
        print(f"{key:11} {str(value).strip()}")
    print(f"\nlayout, below the root:\n{card.layout.rstrip()}")
    return 0


def _make(arguments: argparse.Namespace) -> int:
    card, root = read_card(arguments.name), _root(arguments)
    _function(arguments.name, "make", card)(root, arguments.images, arguments.seed)
    print(f"wrote a twin of {card.title} with {arguments.images:,} training images to {root}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from visionlab.cli.findings import as_json, as_text  # numpy, which the other commands can do without

    card, root = read_card(arguments.name), _root(arguments)
    check, settings = _function(arguments.name, "check", card), _settings(arguments)
    _, *known = inspect.signature(check).parameters
    for key in settings:
        if key not in known:
            has = nearest(key, known, listed=True) or ": it has none"
            raise ValueError(f"--set {key}: the check of {arguments.name} has no such argument{has}")
    findings = check(root, **settings)
    if arguments.json:
        print(json.dumps(as_json(findings, card.classes), indent=2))
    else:
        print("\n".join(as_text(findings, card.classes)))
    return 2 if findings.errors else 0


def _show(arguments: argparse.Namespace) -> int:
    from visionlab.cli.data_show import show  # torch, which the other commands can do without

    root, ending, settings = _root(arguments), arguments.ending, _settings(arguments)
    print(show(arguments.name, root, arguments.split, arguments.images, arguments.output, ending, settings))
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from visionlab.cli.data_prepare import prepare_all  # torch, likewise

    root, output, settings = _root(arguments), arguments.output, _settings(arguments)
    written = prepare_all(arguments.name, root, output, arguments.short_side, arguments.ending, settings)
    for folder in written:
        print(f"wrote {folder}")
    print(f"to train on them: --data.init_args.prepared {output}")
    unreadable = [message for messages in written.values() for message in messages]
    if not unreadable:
        return 0
    for message in unreadable[:SHOWN]:
        print(message, file=sys.stderr)
    more = f" ({len(unreadable) - SHOWN:,} more than these)" if len(unreadable) > SHOWN else ""
    print(
        f"visionlab: {len(unreadable):,} images could not be read{more}: mend them, remove the folder and prepare "
        "again, or train with on_bad_sample: skip",
        file=sys.stderr,
    )
    return 2


def _download(arguments: argparse.Namespace) -> int:
    card, root = read_card(arguments.name), _root(arguments)
    _function(arguments.name, "download", card)(root)
    print(f"{card.title} is in {root}")
    return 0


_COMMANDS = {
    "list": _list,
    "info": _info,
    "make": _make,
    "check": _check,
    "show": _show,
    "prepare": _prepare,
    "download": _download,
}


def _root(arguments: argparse.Namespace) -> Path:
    given: Path | None = arguments.root
    return Path("data") / arguments.name if given is None else given


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    settings = {}
    for word in arguments.settings:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--set {word}: expected KEY=VALUE")
        settings[key] = value
    return settings


def _function(name: str, command: str, card: Card) -> Any:
    path = {"make": card.make, "check": card.check, "download": card.download}[command]
    if path is None:
        raise ValueError(f"{name} has nothing to {command}: {card.get.strip()}")
    return pkgutil.resolve_name(path)
