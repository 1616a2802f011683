"""Turns the command line parser's report of a mistake into a line or two that name it, with the nearest right word."""

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Sequence

TOP = (
    "model",
    "data",
    "trainer",
    "seed_everything",
    "save_every_n_steps",
    "threads",
    "config",
    "print_config",
    "resume",
    "runs",
)
"""What stands at the top of a command line or a recipe."""

FEW = 12
"""How many words are listed where none is near."""


def explain(report: str, argv: Sequence[str]) -> str:
    """Say what is wrong.

    Args:
        report: the message of an error of jsonargparse, or of a class that was made from the recipe.
        argv: the arguments that were parsed.
    """
    where = ".".join(re.findall(r'Parser key "([^"]+)"', report))
    prefix = f"{where}: " if where and where != "config" else ""
    for rule in RULES:
        if told := rule(report):
            return prefix + told
    if found := re.search(r"argument (--\S+): expected one argument", report):
        return f"{_without_value(found[1], argv)} needs a value"
    return prefix + " ".join(_told(report)[:3])


def nearest(word: str, candidates: Iterable[str], *, before: str = "", listed: bool = False) -> str:
    """``; did you mean 'x'?``, or nothing where no candidate is near.

    Args:
        word: what was written.
        candidates: what may be written.
        before: put before the candidate that is named.
        listed: whether the candidates are listed where none is near.
    """
    known = list(candidates)
    if found := difflib.get_close_matches(word, known, 1):
        return f"; did you mean {before}{found[0]}?"
    return f"; there are {', '.join(known[:FEW])}{' …' if len(known) > FEW else ''}" if listed and known else ""


def _unknown_argument(report: str) -> str:
    if found := re.search(r"Group 'trainer' does not accept option '([^']+)'", report):
        return _no_trainer_argument(found[1])
    if found := re.search(r"Option '([^']+)' is not accepted", report):
        option, path = found[1], _class_at(report, found.start())
        if path is None:
            return _no_top_argument(option)
        first, known = option.split(".")[0], _arguments(path)
        near = nearest(first, [*known, "init_args"]) or nearest(first, known, listed=True)
        return f"{path} has no argument {first!r}{near}"
    if found := re.search(r"unrecognized arguments: (?:--)?([^\s=]+)", report):
        return _no_top_argument(found[1])
    return ""


def _no_top_argument(option: str) -> str:
    first, _, rest = option.partition(".")
    if first == "trainer":
        return _no_trainer_argument(rest)
    return f"there is no argument {option!r}" + nearest(first, TOP).replace("?", f".{rest}?" if rest else "?")


def _no_trainer_argument(name: str) -> str:
    return f"there is no argument 'trainer.{name}'{nearest(name, _arguments('lightning.Trainer'), before='trainer.')}"


def _unknown_class(report: str) -> str:
    if found := re.search(r"module '([^']+)' has no attribute '([^']+)'", report):
        module, name = found.groups()
        if f"{module}.{name}." in report:  # more follows: the name was meant to be a module
            return f"there is no module '{module}.{name}'{_nearest_module(f'{module}.{name}')}"
        classes = [n for n, value in vars(importlib.import_module(module)).items() if inspect.isclass(value)]
        return f"{module} has no class {name!r}{nearest(name, classes, before=f'{module}.')}"
    if found := re.search(r"No module named '([^']+)'", report):
        return f"there is no module {found[1]!r}{_nearest_module(found[1])}"
    return ""


def _nearest_module(name: str) -> str:
    parent, _, last = name.rpartition(".")
    if not parent:
        return nearest(name, [module.name for module in pkgutil.iter_modules()])
    try:
        package = importlib.import_module(parent)
    except ImportError:
        return ""
    return nearest(last, [module.name for module in pkgutil.iter_modules(package.__path__)], before=f"{parent}.")


def _missing_argument(report: str) -> str:
    if not (found := re.search(r"the following arguments are required: ([\w, ]+)", report)):
        return ""
    path = _class_at(report, found.start())
    return f"{'the recipe' if path is None else path} needs {found[1].strip()}"


def _wrong_class(report: str) -> str:
    found = re.search(r"Expected '([^']+)' to be a subclass of <class '([^']+)'>", report)
    return f"{found[1]} is no {found[2].rpartition('.')[2]}" if found else ""


def _misspelt_key(report: str) -> str:
    """A part of a recipe without ``class_path``: jsonargparse takes it for the base class, and calls that abstract."""
    if "Expected an instantiatable class" not in report:
        return ""
    keys = re.findall(r"[{ ]'(\w+)': ", report.rpartition("Given value: ")[2])
    wrong = [key for key in keys if key not in ("class_path", "init_args")]
    misspelt = next((k for k in wrong if difflib.get_close_matches(k, ("class_path", "init_args"), 1)), None)
    if misspelt is None:
        return "it needs a class_path"
    return f"there is no key {misspelt!r}{nearest(misspelt, ('class_path', 'init_args'))}"


def _wrong_value(report: str) -> str:
    tail = report[report.rfind("Parser key") :] if "Parser key" in report else ""
    given = re.search(r"(?:Given|Got) value: (.*?)(?:\. Got value: .*)?$", tail, re.MULTILINE)
    expected: list[str] = []
    for kind in re.findall(r"Expected an? (<class '[^']+'>|typing\.Literal\[[^]]*\])", tail):
        if literal := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
            expected += literal[1].split(", ")
        elif "NoneType" not in kind:
            expected.append(kind[len("<class '") : -len("'>")].rpartition(".")[2])
    if given is None or not expected:
        return ""
    return f"expected {' or '.join(sorted(set(expected)))}, not {given[1]!r}"  # Unions have no order of their own


def _no_class_path(report: str) -> str:
    found = re.search(r"Expected a dot import path string: (\S+)", report)
    return f"{found[1]!r} is no class path: give the module and the class, package.module.Class" if found else ""


def _told(report: str) -> list[str]:
    """The lines of a report that say something."""
    lines = [line.strip(" -") for line in report.splitlines()]
    noise = r"Given value|Subtypes:|Errors:|Parser key|Does not validate|Problem with|Expected a <class 'NoneType'>|$"
    told = [line for line in lines if not re.match(noise, line)] or lines
    return [re.sub(r"^Type \S+ .*?callable class: |\. Got value: .*$", "", line) for line in told]


def _without_value(option: str, argv: Sequence[str]) -> str:
    """The argument below ``option`` that is followed by another, or by nothing."""
    for word, after in zip(argv, [*argv[1:], "--"], strict=True):
        if word.startswith(option) and "=" not in word and after.startswith("--"):
            return word
    return option


def _class_at(report: str, at: int) -> str | None:
    """The class that a complaint at this place of the report is about; None for the command line itself."""
    line = report[at:].partition("\n")[0]
    if found := re.search(r"Got value: Namespace\(.*?class_path='([^']+)'", line):
        return found[1]
    before = re.findall(r"given class_path '([^']+)'", report[:at])
    return before[-1] if before else None


def _arguments(path: str) -> list[str]:
    try:
        return [name for name in inspect.signature(pkgutil.resolve_name(path)).parameters if name != "self"]
    except (ImportError, AttributeError, TypeError, ValueError):
        return []


RULES = (
    _unknown_argument,
    _unknown_class,
    _missing_argument,
    _wrong_class,
    _misspelt_key,
    _wrong_value,
    _no_class_path,
)
"""Each gives what it has to say about a report, or nothing. The first that speaks is heard."""
