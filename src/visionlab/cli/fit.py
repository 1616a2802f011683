"""``visionlab fit``: train by a recipe, then test the weights that did best."""

import argparse
import errno
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from visionlab.cli.options import Request, read_request, refuse_address
from visionlab.preflight import check_launch
from visionlab.run import Run, find_unfinished

if TYPE_CHECKING:
    from visionlab.experiment import Experiment

HELP = """usage: visionlab fit --config RECIPE.yaml [--resume auto|RUN|CHECKPOINT] [--runs DIR] [--KEY VALUE ...]

Trains by a recipe into a new run folder, tests the weights that did best, and prints the results.

  --config RECIPE.yaml   the experiment, complete in one file
  --resume auto          continue this job's run, or the newest unfinished one with the same configuration, else start
                         anew
  --resume RUN           continue the run in this folder; what the command line says wins over what was saved
  --resume CHECKPOINT    continue from this file
  --runs DIR             where run folders are made (runs)
  --KEY VALUE            override any key of the recipe:
                         --trainer.max_epochs 3 --model.init_args.optimizer.init_args.lr 0.1
  --print_config         print the resolved configuration and stop
  --trainer.help, --model.help CLASS, --data.help CLASS
                         list every key
"""


def main(argv: list[str]) -> int:
    """Run ``visionlab fit``; returns the exit status."""
    if {"-h", "--help"} & set(argv):
        print(HELP, end="")
        return 0
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options, words = parser.parse_known_args(argv[1:])
    if options.resume not in (None, "auto"):
        refuse_address(options.resume)
        if not Path(options.resume).exists():
            raise FileNotFoundError(f"there is nothing to resume at {options.resume}")
    request = read_request(words)
    check_launch(continues=options.resume is not None)
    return _fit(request, options.runs, options.resume)


def _fit(request: Request, runs: Path, resume: str | None) -> int:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from visionlab.callbacks.stop import Stopped
    from visionlab.experiment import Experiment
    from visionlab.processes import is_first

    experiment = Experiment(request.args)
    parent = runs / request.name
    run, checkpoint = _where_to_continue(experiment, parent, resume)
    anew = run is None
    if is_first():
        if run is None:
            run = Run.create(parent, experiment.recipe)
        else:
            run.reopen(experiment.recipe)
            print(f"continuing {run.folder} from {checkpoint.name if checkpoint else 'the start'}", file=sys.stderr)
    else:
        run = None
    try:
        _train_and_test(experiment, run, checkpoint)
    except Stopped as stopped:
        number, steps = stopped.args
        _end(experiment, "stopped")
        if run is not None:
            print(f"\nstopped after step {steps}, saved; to continue: add --resume {run.folder}", file=sys.stderr)
        return 128 + int(number)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C outside training, which Lightning turns into an exit
        _end(experiment, "stopped")
        return 128 + signal.SIGINT
    except Exception as error:
        _end(experiment, "failed")
        failure = _failure(error)
        mistake = failure is None and isinstance(error, (ValueError, OSError, MisconfigurationException))
        if run is not None and mistake and anew and not experiment.has_trained:
            run.discard()
        elif run is not None:
            (run.folder / "error.txt").write_text(traceback.format_exc())
        if isinstance(error, MisconfigurationException):
            raise ValueError(str(error)) from error
        if failure is None and experiment.watch.cause is None:
            raise
        if run is not None:
            last = run.newest_checkpoint()
            good = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
            print(f"visionlab: {failure or 'so this process ends too'}; {good}", file=sys.stderr)
        return 1
    _end(experiment, "finished")
    return 0


def _where_to_continue(experiment: "Experiment", parent: Path, resume: str | None) -> tuple[Run | None, Path | None]:
    """The run folder to continue and the checkpoint to continue from, the same on every process."""
    if resume is None:
        return None, None
    if resume == "auto":
        run = find_unfinished(parent, experiment.resolved) if parent.is_dir() else None
        return run, run.newest_checkpoint() if run else None
    path = Path(resume)
    if path.is_file():
        of_a_run = (path.parent.parent / "run.json").is_file()
        return Run.open(path.parent.parent) if of_a_run else None, path
    run = Run.open(path)
    return run, run.newest_checkpoint()


def _train_and_test(experiment: "Experiment", run: Run | None, checkpoint: Path | None) -> None:
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

    from visionlab.cli.table import results_table

    trainer = experiment.start(run, record=True)
    task, data = experiment.model, experiment.datamodule
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint)
    best = experiment.checkpoints.folder / "best.ckpt"
    if trainer.interrupted or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        # the processes that trained have ended, and with them what they knew of how far they came
        last = trainer.strategy.checkpoint_io.load_checkpoint(experiment.checkpoints.folder / "last.ckpt")
        trainer.fit_loop.load_state_dict(last["loops"]["fit_loop"])
        epochs = trainer.fit_loop.epoch_progress.current
        epochs.completed = epochs.processed  # type: ignore[attr-defined]  # it was saved just before
    stage = "test" if data.test_has_labels else "val"
    evaluate = trainer.test if data.test_has_labels else trainer.validate
    evaluate(task, datamodule=data, ckpt_path=best, verbose=False)
    if run is not None:
        note = "" if data.test_has_labels else " (the test split has no labels)"
        print(results_table(f"{run.folder.parent.name}, {stage}{note}", run, stage, experiment.task_name))
        speed = json.loads((run.folder / "results" / "train.json").read_text())
        print("trained {steps} steps in {seconds:.1f} s, {images_per_second:.0f} images/s".format(**speed))
        print(f"run folder: {run.folder}")


def _failure(error: Exception) -> str | None:
    """A line about a failure that is neither a mistake in what was asked for nor a fault of the program."""
    from torch.distributed import DistStoreError

    if isinstance(error, DistStoreError):
        return f"the processes of the run did not meet: {error}"
    if isinstance(error, FloatingPointError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full ({error.strerror})"
    return None


def _end(experiment: "Experiment", state: str) -> None:
    from lightning.pytorch.loggers import WandbLogger

    if experiment.run is None:
        return
    experiment.run.mark(state)  # type: ignore[arg-type]
    for logger in experiment.trainer.loggers if experiment.trainer is not None else ():
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(state != "finished"))
