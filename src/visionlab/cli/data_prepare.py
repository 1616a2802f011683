"""``visionlab data prepare``: the images of a data set, decoded and made smaller once."""

import pkgutil
from collections.abc import Mapping
from pathlib import Path

from visionlab.cli.data import read_card
from visionlab.cli.data_module import open_module
from visionlab.data import collate
from visionlab.data.base import Split
from visionlab.data.disk import DiskDataModule, has_places
from visionlab.data.prepared import prepare
from visionlab.data.sample import Records

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def prepare_all(
    name: str, root: Path, output: Path, short_side: int, ending: str | None, settings: Mapping[str, str]
) -> dict[Path, list[str]]:
    """Write a prepared folder for each split that is not there yet. One of the same images as another is a link to it.

    Args:
        name: of the data set's card.
        root: the folder of the data set.
        output: gets a folder a split; what ``prepared`` of a recipe's data names.
        short_side: of the images, in pixels.
        ending: of the name of the data module; the card's first if None.
        settings: further arguments of the data module.

    Returns:
        The folders that were written, and what is wrong with each image of theirs that could not be read.

    Raises:
        ValueError: if there is no such data set, or it is no folder of images, or has boxes or masks, or no image can
            be read.
        OSError: if a file cannot be read or written; the message names it.
    """
    data = open_module(name, root, ending, settings)
    if not isinstance(data, DiskDataModule):
        raise ValueError(f"{name} is read into memory anyway: there is nothing to prepare")
    written = dict[Path, list[str]]()
    originals = dict[Path, Records]()
    for split in SPLITS:
        folder, records = output / split, data.records(split)
        if has_places(records):
            raise ValueError(
                f"{type(data).__name__} has boxes or masks, which do not fit smaller images: {_others(name)}"
            )
        if folder.exists():
            continue
        same = next((other for other, images in originals.items() if _same_files(images, records)), None)
        if same is None:
            written[folder] = prepare(records, folder, short_side)
            originals[folder] = records
        else:
            folder.symlink_to(same.name, target_is_directory=True)
            written[folder] = []
    return written


def _others(name: str) -> str:
    """Which data modules of a card can use prepared images."""
    whole = [collate.classification, collate.images_only]
    modules = [(path.rpartition(".")[2], pkgutil.resolve_name(path)) for path in read_card(name).data]
    endings = [ending for ending, module in modules if getattr(module, "train_collate", None) in whole]
    return f"give --as {' or '.join(endings)}" if endings else f"nothing of {name} can be prepared"


def _same_files(one: Records, other: Records) -> bool:
    """Whether two splits are of the same images, as val and test are where there are no labels of a test split."""
    return len(one) == len(other) and all(
        one.name(i) == other.name(i) and one.path(i) == other.path(i) for i in range(len(one))
    )
