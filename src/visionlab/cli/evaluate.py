"""``visionlab validate`` and ``visionlab test``: evaluate the weights of a run."""

import argparse
from pathlib import Path

from visionlab import slurm
from visionlab.cli.options import read_request, require_checkpoint
from visionlab.preflight import check_launch
from visionlab.run import Run

HELP = """usage: visionlab {command} RUN [--ckpt_path FILE] [--KEY VALUE ...]
       visionlab {command} --config RECIPE.yaml --ckpt_path FILE [--runs DIR] [--KEY VALUE ...]

Evaluates a run's best weights, or those of a checkpoint, on the {split} split, and prints the results.
They are left in the run folder.
"""


def main(argv: list[str]) -> int:
    """Run ``visionlab validate`` or ``visionlab test``; returns the exit status."""
    command, *words = argv
    if {"-h", "--help"} & set(words):
        print(HELP.format(command=command, split="validation" if command == "validate" else "test"), end="")
        return 0
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ckpt_path")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options, words = parser.parse_known_args(words)
    request = read_request(words)
    given = options.ckpt_path
    if given is None:
        if request.run is None:
            raise ValueError("which weights? Give a run folder, or --ckpt_path FILE")
        given = str(request.run.best)
    checkpoint = require_checkpoint(given)
    check_launch(continues=True)  # an evaluation that is started again loses nothing
    slurm.check_launch()

    from visionlab.cli.table import results_table
    from visionlab.experiment import Experiment
    from visionlab.processes import is_first

    experiment = Experiment(request.args)
    data = experiment.datamodule
    if command == "test" and not data.test_has_labels:
        raise ValueError(f"the test split of {type(data).__name__} has no labels; use visionlab validate")
    run = request.run
    if run is None and is_first():
        run = Run.create(options.runs / request.name, experiment.recipe)
    try:
        trainer = experiment.start(run if is_first() else None, record=False)
        evaluate = trainer.test if command == "test" else trainer.validate
        evaluate(experiment.model, datamodule=data, ckpt_path=checkpoint, verbose=False)
    except (ValueError, OSError):
        if run is not None and request.run is None:
            run.discard()
        raise
    if experiment.run is not None:
        if request.run is None:
            experiment.run.mark("finished")
        stage = "test" if command == "test" else "val"
        print(results_table(f"{request.name}, {stage}", experiment.run, stage, experiment.task_name))
        print(f"run folder: {experiment.run.folder}")
    return 0
