"""``visionlab data prepare``: the images of a data set, decoded and made smaller once."""

from pathlib import Path

from visionlab.cli.data_module import open_module
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule
from visionlab.data.prepared import prepare

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def prepare_all(name: str, root: Path, output: Path, short_side: int, ending: str | None) -> list[Path]:
    """Write a prepared folder for each split that is not there yet.

    Args:
        name: of the data set's card.
        root: the folder of the data set.
        output: gets a folder a split; what ``prepared`` of a recipe's data names.
        short_side: of the images, in pixels.
        ending: of the name of the data module; the card's first if None.

    Returns:
        The folders that were written.

    Raises:
        ValueError: if there is no such data set, or it is no folder of images, or an image is not whole.
        OSError: if a file cannot be read or written; the message names it.
    """
    data = open_module(name, root, ending)
    if not isinstance(data, DiskDataModule):
        raise ValueError(f"{name} is read into memory anyway: there is nothing to prepare")
    folders = [(split, output / split) for split in SPLITS if not (output / split).exists()]
    for split, folder in folders:
        prepare(data.records(split), folder, short_side)
    return [folder for _, folder in folders]
