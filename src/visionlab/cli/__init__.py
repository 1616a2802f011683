"""The command line. Each command is a module that is imported only when it is called, so that help and data commands
load no torch.
"""

import importlib
import os
import sys
import traceback

import visionlab

COMMANDS = {
    "fit": ("visionlab.cli.fit", "train by a recipe, then test the weights that did best"),
    "submit": ("visionlab.cli.submit", "write the sbatch file of a recipe for a Slurm cluster, and submit it"),
    "validate": ("visionlab.cli.evaluate", "evaluate a run on the validation split"),
    "test": ("visionlab.cli.evaluate", "evaluate a run on the test split"),
    "attack": ("visionlab.cli.attack", "attack the images that a run is tested on: clean and robust metrics"),
    "predict": ("visionlab.cli.predict", "predict images with a run: pictures and results"),
    "sync": ("visionlab.cli.sync", "send an offline run to Weights & Biases, as one run"),
    "data": ("visionlab.cli.data", "describe, make, check, show or download a data set"),
}

HELP = f"""usage: visionlab COMMAND ...

visionlab {visionlab.__version__}: {(visionlab.__doc__ or "").strip()}

commands:
{chr(10).join(f"  {name:<10}{text}" for name, (_, text) in COMMANDS.items())}

"visionlab COMMAND --help" tells more. VISIONLAB_TRACEBACK=1 shows where an error came from.
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the words after ``visionlab``; the process's own if None.

    Returns:
        The exit status: 0; 1 if the run failed; 2 if what was asked for is wrong; 128 plus the signal that stopped the
        run.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(visionlab.__version__)
        return 0
    if argv[0] not in COMMANDS:
        return complain(f"there is no command {argv[0]!r}; there are {', '.join(COMMANDS)}")
    module = importlib.import_module(COMMANDS[argv[0]][0])
    try:
        return int(module.main(argv))
    except (ValueError, OSError) as error:
        # what a user got wrong says so in its message; where it came from is of no use to them
        if os.environ.get("VISIONLAB_TRACEBACK"):
            traceback.print_exc()
        return complain(_one_line(str(error)))


def _one_line(message: str) -> str:
    """What a loader's process raised, without the traceback of that process that torch puts into the message."""
    if not message.startswith("Caught ") or "Original Traceback" not in message:
        return message
    return message.rstrip().splitlines()[-1].split(": ", 1)[-1]


def complain(message: str) -> int:
    """Say on stderr what is wrong; returns exit status 2."""
    print(f"visionlab: {message}", file=sys.stderr)
    return 2
