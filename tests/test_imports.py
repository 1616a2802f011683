"""Who may import whom, and what must start without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "visionlab"

MAY_IMPORT = {
    "batch": set(),
    "processes": set(),
    "tracking": set(),  # apart from loggers, for `visionlab sync` needs no torch
    "recipes": set(),  # looks at YAML before anything heavy is imported
    "loggers": {"tracking"},
    "signals": set(),  # noted from the start of the program, before torch is imported
    "slurm": set(),
    "lock": set(),
    "preflight": set(),
    "watcher": set(),
    "attacks": {"batch"},
    "losses": {"batch"},
    "nets": {"batch"},
    "pictures": {"batch"},
    "metrics": {"batch", "processes"},
    "data": {"batch", "metrics"},
    "tasks": {"batch", "losses", "metrics", "attacks", "processes"},
    "scores": {"batch", "metrics", "data", "load", "processes"},
    "callbacks": {"batch", "pictures", "loggers", "preflight", "processes", "signals", "watcher"},
}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room):
    files = [SOURCE / f"{room}.py"] if (SOURCE / f"{room}.py").exists() else list((SOURCE / room).rglob("*.py"))
    assert files
    for path in files:
        rooms = {name.split(".")[1] for name in imports_of(path) if name.startswith("visionlab.")}
        assert rooms <= MAY_IMPORT[room] | {room}, path


def test_no_drawers():
    assert not [p for p in SOURCE.rglob("*.py") if p.stem in ("utils", "helpers", "common", "misc")]


LIGHT = [
    "--help",
    "--version",
    "fit --help",
    "test --help",
    "predict --help",
    "attack --help",
    "attack nowhere",
    "sync --help",
    "sync nowhere",
    "data list",
    "data info digits",
    "data show --help",
    "fit --config nowhere.yaml",
    "submit --help",
    "submit nowhere.yaml",
]


@pytest.mark.parametrize("command", LIGHT)
def test_commands_that_need_no_tensor_load_no_torch_and_answer_at_once(command):
    code = (
        "import sys, time; from visionlab.cli import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'lightning', 'albumentations', 'torchvision', 'matplotlib', 'sklearn'} & set(sys.modules);"
        "assert not heavy, heavy; assert time.process_time() < 0.5, time.process_time()"
    )
    subprocess.run([sys.executable, "-c", code, *command.split()], check=True, capture_output=True, timeout=60)
