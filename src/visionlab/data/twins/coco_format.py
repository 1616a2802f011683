"""Twins of any images with boxes in COCO's format, with categories of their own."""

import json
from pathlib import Path

import numpy as np

from visionlab.data.layouts.coco import CLASSES91
from visionlab.data.twins.coco import CATEGORIES, draw_images, split_sizes
from visionlab.data.twins.plan import refuse_to_overwrite

IDS = {CLASSES91.index(name) + 1: 10 * (i + 1) for i, name in enumerate(CATEGORIES)}
"""The ids of the categories, by COCO's, which no reader may rely on."""


def make(root: Path, images: int, seed: int) -> None:
    """Write ``train``, ``val`` and ``annotations/{train,val}.json``: boxes around objects of ten categories.

    Among its images are some without objects, some with a crowd, and greyscale ones.

    Args:
        root: the folder to write to.
        images: to train on; a quarter as many to validate on.
        seed: the same seed gives the same bytes.

    Raises:
        ValueError: if there are too few images.
        FileExistsError: if a file or folder of the data set is there already.
    """
    sizes = split_sizes(images)
    files = {split: root / "annotations" / f"{split}.json" for split in sizes}
    refuse_to_overwrite(root / split for split in sizes)
    refuse_to_overwrite(files.values())
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    categories = [{"id": id, "name": name} for id, name in zip(IDS.values(), CATEGORIES, strict=True)]
    first = 1
    for split, count in sizes.items():
        ids = range(first, first + count)
        pictures, objects = draw_images(root / split, rng, ids)
        first += count
        kept = ("image_id", "bbox", "area", "iscrowd")
        boxes = [
            {"id": i, "category_id": IDS[row["category_id"]], **{key: row[key] for key in kept}}
            for i, row in enumerate(objects, start=1)
        ]
        rows = [{"id": id, **picture} for id, picture in zip(ids, pictures, strict=True)]
        document = {"images": rows, "annotations": boxes, "categories": categories}
        files[split].write_text(json.dumps(document), encoding="utf-8")
