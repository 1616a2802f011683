"""``visionlab fit``: train by a recipe, then test the weights that did best."""

import argparse
import contextlib
import errno
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from visionlab import slurm
from visionlab.cli.options import Request, read_request, refuse_address
from visionlab.lock import Lock
from visionlab.preflight import check_launch, check_processes
from visionlab.run import Run, find_unfinished
from visionlab.signals import ASKING_TO_STOP, StopRequest

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
    request_to_stop = StopRequest()
    request_to_stop.note(signal.SIGUSR1)  # Slurm's warning, which would kill; it may come while torch is imported
    # and then waits until training begins: it interrupts processes that meet, and ends what is just being started
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options, words = parser.parse_known_args(argv[1:])
    if options.resume not in (None, "auto"):
        refuse_address(options.resume)
        if not Path(options.resume).exists():
            raise FileNotFoundError(f"there is nothing to resume at {options.resume}")
    recipe = read_request(words)
    check_launch(continues=options.resume is not None)
    slurm.check_launch()
    if (asked := _devices_and_nodes(recipe.args)) is not None:
        # the trainer is asked too, half a minute later
        slurm.check_tasks(*asked)
        check_processes(*asked)
    return _fit(recipe, options.runs, options.resume, request_to_stop)


def _devices_and_nodes(words: list[str]) -> tuple[int, int] | None:
    """What the recipe and the command line ask for; None unless they give the devices as a number."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", type=Path, action="append", default=[])
    parser.add_argument("--trainer.devices", dest="devices")
    parser.add_argument("--trainer.num_nodes", dest="num_nodes")
    given = parser.parse_known_args(words)[0]
    asked: dict[str, Any] = {"num_nodes": 1}
    for config in given.config:
        asked |= yaml.safe_load(config.read_text()).get("trainer") or {}
    asked |= {key: value for key, value in vars(given).items() if key != "config" and value is not None}
    devices, nodes = str(asked.get("devices")), str(asked["num_nodes"])
    return (int(devices), int(nodes)) if devices.isdigit() and nodes.isdigit() else None


def _fit(request: Request, runs: Path, resume: str | None, request_to_stop: StopRequest) -> int:
    from visionlab.experiment import Experiment
    from visionlab.processes import is_first

    experiment = Experiment(request.args)
    parent = runs / request.name
    with Lock() as lock:
        run, checkpoint = _where_to_continue(experiment, parent, resume, lock)
        anew = run is None
        if not is_first():
            run = None
        elif run is None:
            run = Run.create(parent, experiment.recipe, lock)
        else:
            run.reopen(experiment.recipe)
            print(f"continuing {run.folder} from {checkpoint.name if checkpoint else 'the start'}", file=sys.stderr)
        return _fit_in(run, anew, checkpoint, experiment, request_to_stop)


def _fit_in(
    run: Run | None, anew: bool, checkpoint: Path | None, experiment: "Experiment", request_to_stop: StopRequest
) -> int:
    """Train and test; returns the exit status.

    Args:
        run: the folder, on the first process.
        anew: whether it was made for this.
        checkpoint: where to begin, on the first process.
        experiment: what to train.
        request_to_stop: has noted signals since the program began.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from visionlab.callbacks.stop import Stopped

    try:
        _train_and_test(experiment, run, checkpoint, request_to_stop)
    except Stopped as stopped:
        for each in ASKING_TO_STOP:
            signal.signal(each, signal.SIG_IGN)  # what remains is short, and must be whole
        _end(experiment, "stopped")
        return _leave(run, *stopped.args)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C outside training, which Lightning turns into an exit
        _end(experiment, "stopped")
        return 128 + signal.SIGINT
    except Exception as error:
        with contextlib.suppress(OSError):  # the disk may be full
            _end(experiment, "failed")
        failure = _failure(error)
        mistake = failure is None and isinstance(error, (ValueError, OSError, MisconfigurationException))
        if run is not None and mistake and anew and not experiment.has_trained:
            run.discard()
        elif run is not None:
            with contextlib.suppress(OSError):
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


def _where_to_continue(
    experiment: "Experiment", parent: Path, resume: str | None, lock: Lock
) -> tuple[Run | None, Path | None]:
    """The run folder to continue, held by ``lock``, and the checkpoint to continue from. The first process chooses
    them; the others only see that what was named is there.

    Raises:
        ValueError: if another process uses the run.
    """
    from visionlab.processes import is_first

    if resume is None:
        return None, None
    named = None
    if resume == "auto":
        run = find_unfinished(parent, experiment.resolved, lock) if is_first() and parent.is_dir() else None
    elif (path := Path(resume)).is_file():
        named = path
        run = Run.open(path.parent.parent) if (path.parent.parent / "run.json").is_file() else None
    else:
        run = Run.open(path)
    if run is None or not is_first():
        return run, named
    if resume != "auto":
        run.hold(lock)
    return run, named or run.newest_checkpoint()


def _leave(run: Run | None, number: int, steps: int) -> int:
    """Say how a stopped run goes on, or see to it; returns the exit status."""
    from visionlab.processes import gather

    if run is not None:
        how = f"to continue: add --resume {run.folder}"
        if number == signal.SIGUSR1 and (job := slurm.job()) is not None:
            trouble = slurm.requeue()
            how = f"Slurm job {job} could not be queued again ({trouble}); {how}" if trouble else f"job {job} goes on"
        print(f"\nstopped after step {steps}, saved; {how}", file=sys.stderr)
    # a process that ended earlier would have its launcher end the others; one that Slurm ended already is no harm
    with contextlib.suppress(RuntimeError):
        gather(None)
    return 128 + number


def _train_and_test(
    experiment: "Experiment", run: Run | None, checkpoint: Path | None, request_to_stop: StopRequest
) -> None:
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

    from visionlab.callbacks.checkpoints import AtomicCheckpointIO, link, read_checkpoint
    from visionlab.callbacks.choice import FirstChooses
    from visionlab.cli.table import results_table

    trainer = experiment.start(run, record=True, request=request_to_stop)
    task, data = experiment.model, experiment.datamodule
    if run is not None:
        run.describe(experiment.place)
    trainer.callbacks.append(FirstChooses(checkpoint))  # type: ignore[attr-defined]
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint)
    best = experiment.checkpoints.folder / "best.ckpt"
    if trainer.interrupted or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    if run is not None and checkpoint is not None and not best.exists():
        # training was over when this was saved, in another folder: nothing was trained, and nothing saved here
        AtomicCheckpointIO().save_checkpoint(read_checkpoint(checkpoint), best)
        link(best, best.with_name("last.ckpt"))
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
        speed = run.folder / "results" / "train.json"
        if speed.exists():  # a kill as training ended leaves none, and there is nothing to do again
            told = "trained {steps} steps in {seconds:.1f} s, {images_per_second:.0f} images/s"
            print(told.format(**json.loads(speed.read_text())))
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
    from visionlab.loggers import Tracker

    if experiment.run is None:
        return
    experiment.run.mark(state)  # type: ignore[arg-type]
    for logger in experiment.trainer.loggers if experiment.trainer is not None else ():
        if isinstance(logger, Tracker):
            logger.end(exit_code=int(state != "finished"))
