"""``visionlab submit``: write the sbatch file of a recipe, and submit it."""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

from visionlab.cli.options import read_request

HELP = """usage: visionlab submit RECIPE.yaml [--nodes N] [--gpus N] [--time T] [--sbatch KEY=VALUE ...] [--now]
                        [-- --KEY VALUE ...]

Writes runs/<recipe>/submit-<n>.sbatch, a short file to read and edit, which trains by the recipe on a Slurm cluster.
Before its time is over, or when it is preempted, the job saves, queues itself again and goes on in the same folder.

  --nodes N            machines (1)
  --gpus N             GPUs of each, and processes; 0 for one process on the CPU (1)
  --time T             until the job is queued again, as Slurm writes it: minutes, hours:minutes:seconds or
                       days-hours:minutes:seconds (4:00:00)
  --sbatch KEY=VALUE   any option of sbatch: --sbatch partition=a100 --sbatch account=vision --sbatch cpus-per-task=8
  --runs DIR           where run folders are made (runs)
  --now                submit it
  -- --KEY VALUE       override keys of the recipe, as with visionlab fit
"""

SECONDS_TO_SAVE = 120
"""How long before its end Slurm warns a job; it may do so up to 60 seconds earlier."""

FILE = """#!/bin/bash
# Written by visionlab submit; edit what you like. Submit it with: sbatch {path}
{settings}

# Slurm runs this file on the first node, where the processes meet; the port is one that no other job has.
export MASTER_ADDR=${{MASTER_ADDR:-$(hostname)}} MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000))
# the environment that this was written in
export PATH={environment}:$PATH

# One process a task. If one fails, all end. A warning that comes before visionlab can take it waits for it.
srun --kill-on-bad-exit=1 env --block-signal=USR1 \\
    {command}
"""


def main(argv: list[str]) -> int:
    """Run ``visionlab submit``; returns the exit status."""
    words = argv[1:]
    if not words or {"-h", "--help"} & set(words):
        print(HELP, end="")
        return 0 if words else 2
    at = words.index("--") if "--" in words else len(words)
    words, overrides = words[:at], words[at + 1 :]
    parser = argparse.ArgumentParser(prog="visionlab submit", add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--time", default="4:00:00")
    parser.add_argument("--sbatch", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--now", action="store_true")
    try:
        options, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error}; see visionlab submit --help") from error
    if unknown:
        raise ValueError(f"visionlab submit takes no {unknown[0]}; give keys of the recipe behind --")
    request = read_request(["--config", str(options.recipe), *overrides])
    folder = options.runs / request.name
    settings = _settings(options, folder)
    command = ["visionlab", "fit", "--config", str(options.recipe), "--resume", "auto", "--runs", str(options.runs)]
    trainer = ["--trainer.num_nodes", str(options.nodes), "--trainer.devices", str(max(options.gpus, 1))]
    trainer += ["--trainer.accelerator", "gpu" if options.gpus else "cpu"]
    folder.mkdir(parents=True, exist_ok=True)
    path = _next_free(folder)
    path.write_text(
        FILE.format(
            path=shlex.quote(str(path)),
            settings="\n".join(f"#SBATCH --{key}" + (f"={shlex.quote(v)}" if v else "") for key, v in settings.items()),
            environment=shlex.quote(str(Path(sys.executable).parent)),
            command=" \\\n    ".join(shlex.join(part) for part in (command, trainer, overrides) if part),
        )
    )
    print(path)
    return _submit(path) if options.now else 0


def _settings(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The options of sbatch, by name; empty where one takes no value.

    Raises:
        ValueError: if a number or an option is none.
    """
    for name, value, least in (("nodes", options.nodes, 1), ("gpus", options.gpus, 0)):
        if value < least:
            raise ValueError(f"--{name} must be at least {least}, not {value}")
    given = {}
    for each in options.sbatch:
        key, _, value = each.partition("=")
        if not re.fullmatch(r"[a-z][a-z-]*[a-z]", key) or not value.isprintable():
            raise ValueError(f"--sbatch takes KEY=VALUE, as in --sbatch partition=a100, not {each!r}")
        given[key] = value
    if _seconds(options.time) < 300 and "signal" not in given:
        raise ValueError(f"--time {options.time} is less than 5 minutes, and {SECONDS_TO_SAVE} s are kept for saving")
    gpus = {"gpus-per-node": str(options.gpus)} if options.gpus else {}
    return {
        "job-name": folder.name,
        "nodes": str(options.nodes),
        "ntasks-per-node": str(max(options.gpus, 1)),
        **gpus,
        "time": options.time,
        "signal": f"USR1@{SECONDS_TO_SAVE}",
        "requeue": "",
        "open-mode": "append",
        "chdir": str(Path.cwd()),
        "output": str(folder / "slurm-%j.out"),
        **given,
    }


def _seconds(time: str) -> int:
    """Read a time as Slurm writes it."""
    found = re.fullmatch(r"(?:(\d+)-(\d+)(?::(\d+)(?::(\d+))?)?)|(?:(?:(\d+):)?(\d+):(\d+))|(\d+)", time)
    if found is None:
        raise ValueError(f"--time is {time!r}; expected minutes, hours:minutes:seconds or days-hours:minutes:seconds")
    days, hours, minutes, seconds, h, m, s, only = (int(part or 0) for part in found.groups())
    return 86400 * days + 3600 * (hours + h) + 60 * (minutes + m + only) + seconds + s


def _next_free(folder: Path) -> Path:
    number = 0
    while (path := folder / f"submit-{number}.sbatch").exists():
        number += 1
    return path


def _submit(path: Path) -> int:
    """Hand the file to Slurm and print the number of the job."""
    try:
        done = subprocess.run(("sbatch", "--parsable", str(path)), capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        raise ValueError("there is no sbatch here: submit the file on a machine of the cluster") from error
    if done.returncode:
        raise ValueError(f"sbatch refused {path}: {done.stderr.strip()}")
    print(f"job {done.stdout.strip().split(';')[0]}")
    return 0
