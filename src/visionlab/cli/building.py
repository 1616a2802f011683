"""From arguments to an experiment, with mistakes told in a line."""

import warnings

from jsonargparse import ArgumentError

from visionlab.cli.mistakes import explain
from visionlab.experiment import Experiment

# every number of ours is gathered from all processes before it is logged
warnings.filterwarnings("ignore", message=r".*`sync_dist=True`.*")
# the task brings images to [0, 1]; data sets are not meant to
warnings.filterwarnings("ignore", message=r".*You have overridden `on_after_batch_transfer` in `LightningModule`.*")
# training losses are summed over steps, so that none is lost in short epochs
warnings.filterwarnings("ignore", message=r".*is smaller than the logging interval.*")
# Lightning's own use of torch
warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
# in-memory data is fastest without loader processes, and recipes choose their number
warnings.filterwarnings("ignore", message=r".*does not have many workers.*")


def build(args: list[str]) -> Experiment:
    """Parse arguments and make task and data.

    Raises:
        ValueError: if an argument is wrong; the message names it, and the nearest right one.
    """
    try:
        return Experiment(args)
    except ArgumentError as error:
        raise ValueError(explain(str(error), args)) from error
