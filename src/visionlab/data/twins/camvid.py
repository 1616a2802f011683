"""A twin of CamVid: streets of random colours, with the lists of SegNet's tutorial."""

from pathlib import Path

import numpy as np

from visionlab.data.twins.files import write_png
from visionlab.data.twins.plan import refuse_to_overwrite
from visionlab.data.twins.streets import draw_street

HEIGHT, WIDTH = 90, 120
"""A quarter of CamVid's in SegNet's tutorial."""

FEWEST = 4

SEQUENCES = {"train": ("0001TP_{:06d}", 6690), "val": ("0016E5_{:05d}", 7959), "test": ("Seq05VD_f{:05d}", 0)}
"""The video of each split (the first of several in CamVid): how its frames are named, and the first of them."""

STEP = 30
"""Frames between two that are labelled."""


def make(root: Path, images: int, seed: int) -> None:
    """Write a twin of CamVid.

    Args:
        root: the folder in which ``CamVid`` appears.
        images: for training; a quarter as many, and at least 4, for validation and for testing each.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a list or a folder of images is there already.
        ValueError: if there are fewer than 4 images.
    """
    if images < FEWEST:
        raise ValueError(f"{images} training images are too few: give at least {FEWEST}")
    folder = root / "CamVid"
    refuse_to_overwrite(folder / name for split in SEQUENCES for name in (f"{split}.txt", split, f"{split}annot"))
    rng = np.random.default_rng(seed)
    sizes = {"train": images, "val": max(images // 4, FEWEST), "test": max(images // 4, FEWEST)}
    for split, (name, first) in SEQUENCES.items():
        for part in (split, f"{split}annot"):
            (folder / part).mkdir(parents=True)
        lines = []
        for frame in range(first, first + STEP * sizes[split], STEP):
            file = f"{name.format(frame)}.png"
            image, classes = draw_street(rng, HEIGHT, WIDTH)
            write_png(folder / split / file, image)
            write_png(folder / f"{split}annot" / file, classes)
            lines.append(f"/SegNet/CamVid/{split}/{file} /SegNet/CamVid/{split}annot/{file}\n")
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
