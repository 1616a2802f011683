"""A twin of Open Images: scenes of ten boxable classes, in the files of v7 and all their columns."""

import base64
import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visionlab.data.twins.files import write_jpeg, write_mask_png
from visionlab.data.twins.plan import refuse_to_overwrite
from visionlab.data.twins.scenes import draw_scene

DRAWN = {
    "/m/0dbvp": "Goose",
    "/m/09d5_": "Owl",
    "/m/03bk1": "Giraffe",
    "/m/0898b": "Zebra",
    "/m/0k4j": "Car",
    "/m/01bjv": "Bus",
    "/m/0199g": "Bicycle",
    "/m/014j1m": "Apple",
    "/m/0cyhj_": "Orange",
    "/m/01bqk0": "Bicycle wheel",
}
"""The classes that are drawn: each a shape with a texture of its own."""

ABOVE = {
    "/m/0jbk": "Animal",
    "/m/015p6": "Bird",
    "/m/04rky": "Mammal",
    "/m/07yv9": "Vehicle",
    "/m/01prls": "Land vehicle",
    "/m/05y5lj": "Sports equipment",
    "/m/02wbm": "Food",
    "/m/02xwb": "Fruit",
}

UNBOXABLE = {"/m/01bqvp": "Sky", "/m/0csby": "Cloud", "/m/01d74z": "Night, evening"}
"""Classes of image labels alone."""

ATTRIBUTES = {"/m/02gy9n": "Transparent", "/m/05z87": "Plastic"}

BELOW = {
    "/m/0bl9f": ("/m/0jbk", "/m/07yv9", "/m/05y5lj", "/m/02wbm", "/m/01bqk0"),
    "/m/0jbk": ("/m/015p6", "/m/04rky"),
    "/m/015p6": ("/m/0dbvp", "/m/09d5_"),
    "/m/04rky": ("/m/03bk1", "/m/0898b"),
    "/m/07yv9": ("/m/01prls",),
    "/m/01prls": ("/m/0k4j", "/m/01bjv", "/m/0199g"),
    "/m/05y5lj": ("/m/0199g",),
    "/m/02wbm": ("/m/02xwb",),
    "/m/02xwb": ("/m/014j1m", "/m/0cyhj_"),
}
"""The classes below each, from the root, as in the true hierarchy: the bicycle is in two places."""

PARTS = {"/m/0199g": ("/m/01bqk0",)}

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""The splits, and what v7 calls them."""

BOX_COLUMNS = (
    *("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"),
    *("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"),
)
CLICKS = tuple(f"XClick{i}{axis}" for axis in "XY" for i in (1, 2, 3, 4))
LABEL_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
MASK_COLUMNS = (
    *("MaskPath", "ImageID", "LabelName", "BoxID", "BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax"),
    *("PredictedIoU", "Clicks"),
)
RELATION_COLUMNS = (
    *("ImageID", "LabelName1", "LabelName2", "XMin1", "XMax1", "YMin1", "YMax1"),
    *("XMin2", "XMax2", "YMin2", "YMax2", "RelationshipLabel"),
)
IMAGE_COLUMNS = (
    *("ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL", "Author", "Title"),
    *("OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation"),
)

LEAST = 8
"""Training images with which there is one of every kind."""

Row = Sequence[str | int]
BoxArray = npt.NDArray[np.float64]


@dataclass
class _Tables:
    """The rows of one split."""

    boxes: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    all_labels: list[Row] = field(default_factory=list)
    masks: list[Row] = field(default_factory=list)
    relations: list[Row] = field(default_factory=list)
    images: list[Row] = field(default_factory=list)


def make(root: Path, images: int, seed: int) -> None:
    """Write a twin of Open Images v7 with ten classes that are drawn and eight above them.

    Of eight images one has no boxes, one a group of six objects under one box (``IsGroupOf``), one boxes but no masks,
    one is grey and one a progressive JPEG. Masks have other sizes than their images; flags are unknown for the boxes of
    one source; some boxes are depictions. Each image has verified positive and negative labels, the others are unknown.

    Args:
        root: the folder of ``annotations``, ``masks`` and the images.
        images: for training, at least 8; a quarter as many for validation and for testing, and at least four.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a file is there already.
        ValueError: if there are too few images.
    """
    if images < LEAST:
        raise ValueError(f"{images} training images are too few: give at least {LEAST}")
    refuse_to_overwrite([root / "annotations", root / "masks", *(root / split for split in SPLITS)])
    rng = np.random.default_rng(seed)
    annotations = root / "annotations"
    annotations.mkdir(parents=True)
    boxable = {**DRAWN, **ABOVE}
    described = ("LabelName", "DisplayName")
    _write(annotations / "oidv7-class-descriptions-boxable.csv", described, sorted(boxable.items()))
    _write(annotations / "oidv7-class-descriptions.csv", described, sorted({**boxable, **UNBOXABLE}.items()))
    _write(annotations / "oidv6-attributes-description.csv", ("id", "name"), ATTRIBUTES.items())
    _write(annotations / "oidv6-relationships-description.csv", ("at", "at"), [("on", "on"), ("is", "is")])
    (annotations / "classes-segmentation.txt").write_text("".join(f"{one}\n" for one in DRAWN), encoding="utf-8")
    hierarchy = json.dumps(_node("/m/0bl9f"), indent=1)
    (annotations / "bbox_labels_600_hierarchy.json").write_text(hierarchy, encoding="utf-8")
    for split, word in SPLITS.items():
        (root / split).mkdir()
        (root / "masks" / split).mkdir(parents=True)
        count = images if split == "train" else max(images // 4, 4)
        ids = sorted(f"{i:016x}" for i in rng.choice(2**62, count, replace=False).tolist())
        tables = _Tables()
        for number, name in enumerate(ids):
            _draw(rng, root, split, number, name, tables)
        train = split == "train"
        boxes = "oidv6-train-annotations-bbox.csv" if train else f"{split}-annotations-bbox.csv"
        _write(annotations / boxes, BOX_COLUMNS + (CLICKS if train else ()), tables.boxes)
        labels = f"{split}-annotations-human-imagelabels-boxable.csv"
        _write(annotations / labels, LABEL_COLUMNS, tables.labels)
        _write(annotations / f"oidv7-{word}-annotations-human-imagelabels.csv", LABEL_COLUMNS, tables.all_labels)
        _write(annotations / f"{split}-annotations-object-segmentation.csv", MASK_COLUMNS, tables.masks)
        _write(annotations / f"oidv6-{split}-annotations-vrd.csv", RELATION_COLUMNS, tables.relations)
        listed = "train-images-boxable-with-rotation.csv" if train else f"{split}-images-with-rotation.csv"
        _write(annotations / listed, IMAGE_COLUMNS, tables.images)


def _draw(rng: np.random.Generator, root: Path, split: str, number: int, name: str, tables: _Tables) -> None:
    """Draw an image, and write its files and rows."""
    kind = number % LEAST if split == "train" else number % 4
    height, width = rng.integers(96, 161, 2).tolist()
    labels = [] if kind == 1 else rng.integers(0, len(DRAWN), rng.integers(1, 5)).tolist()
    group = 6 if kind == 2 else 0
    if group:
        labels = [int(rng.integers(len(DRAWN)))] * group + labels[:1]
    scene = draw_scene(rng, height, width, labels)
    grey = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY)
    path = root / split / f"{name}.jpg"
    write_jpeg(path, np.asarray(grey, np.uint8) if kind == 4 else scene.image, progressive=kind == 5)
    tables.images.append(_image_row(path, split, number))
    relative = scene.boxes / np.array([width, height, width, height])
    mids = [list(DRAWN)[label] for label in labels]
    for i in range(max(group - 1, 0), len(labels)):
        together = slice(0, group) if i < group else slice(i, i + 1)
        box = np.concatenate([relative[together, :2].min(axis=0), relative[together, 2:].max(axis=0)])
        occluded = any(_overlap(box, other) for j, other in enumerate(relative) if j != i and j >= group)
        truncated = bool(box.min() == 0 or box.max() == 1)
        depiction = bool(rng.uniform() < 0.05)
        known = [occluded, truncated, i < group, depiction, False]
        tables.boxes.append(_box_row(rng, name, mids[i], box, known, split))
        if kind != 3 and i >= group:
            tables.masks.append(_mask_row(rng, root / "masks" / split, name, mids[i], box, scene.masks[i]))
    if len(labels) > group + 1:
        first, second = relative[group], relative[group + 1]
        relation = "on" if _overlap(first, second) else "at"
        tables.relations.append([name, *mids[group : group + 2], *_sides(first), *_sides(second), relation])
        tables.relations.append([name, mids[group], next(iter(ATTRIBUTES)), *_sides(first) * 2, "is"])
    _label_rows(rng, name, set(mids), tables)


def _box_row(rng: np.random.Generator, name: str, mid: str, box: BoxArray, flags: list[bool], split: str) -> Row:
    activemil = split == "train" and not flags[2] and rng.uniform() < 0.1  # a net drew it, and people checked it
    source = "activemil" if activemil else "xclick"
    row = [name, source, mid, 1, *_sides(box), *([-1] * 5 if activemil else map(int, flags))]
    if split == "train":  # the extreme points that were clicked: left, top, right, bottom
        middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        points = [box[0], middle_x, box[2], middle_x, middle_y, box[1], middle_y, box[3]]
        row += ["-1.000000" if activemil else f"{point:.6f}" for point in points]
    return row


def _mask_row(
    rng: np.random.Generator, folder: Path, name: str, mid: str, box: BoxArray, mask: npt.NDArray[np.bool_]
) -> Row:
    scale = rng.choice([0.75, 1, 1.5625])  # 1600 to 1024 pixels, as many official ones
    size = [round(side * scale) for side in mask.shape]
    scaled = cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    number = f"{int(rng.integers(2**32)):08x}"
    file = f"{name}_{mid.replace('/', '')}_{number}.png"
    write_mask_png(folder / file, scaled > 0, bits=1)
    middle = f"{(box[0] + box[2]) / 2:.5f} {(box[1] + box[3]) / 2:.5f} 1"
    return [file, name, mid, number, *_sides(box), f"{rng.uniform(0.6, 0.95):.5f}", middle]


def _label_rows(rng: np.random.Generator, name: str, shown: set[str], tables: _Tables) -> None:
    """Positive are the classes that are there, negative some of those that are not; the rest is unknown."""
    above = {one for one in ABOVE if shown & _and_below(one)}
    absent = sorted(DRAWN.keys() - shown)
    negative = [absent[i] for i in rng.choice(len(absent), 3, replace=False).tolist()]
    sky = sorted(UNBOXABLE)[int(rng.integers(len(UNBOXABLE)))]
    boxable = {**dict.fromkeys(shown, 1), **dict.fromkeys(negative, 0)}
    every = {**boxable, **dict.fromkeys(above, 1), sky: 0}
    tables.labels += [[name, "verification", mid, boxable[mid]] for mid in sorted(boxable)]
    tables.all_labels += [[name, "crowdsource-verification", mid, every[mid]] for mid in sorted(every)]


def _image_row(path: Path, split: str, number: int) -> Row:
    content = path.read_bytes()
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    licence = "https://creativecommons.org/licenses/by/2.0/"
    title = f'Scene {number}, "drawn"'
    place = f"https://example.com/{path.name}"
    return [
        *(path.stem, split, place, place, licence, "https://example.com", "visionlab", title),
        *(len(content), digest, place, "0.0" if number % 3 else ""),
    ]


def _sides(box: BoxArray) -> list[str]:
    return [f"{value:.6f}" for value in box[[0, 2, 1, 3]].tolist()]


def _overlap(one: BoxArray, other: BoxArray) -> bool:
    return bool((np.maximum(one[:2], other[:2]) < np.minimum(one[2:], other[2:])).all())


def _node(name: str) -> dict[str, Any]:
    """A class in the hierarchy, with what is below it."""
    node: dict[str, Any] = {"LabelName": name}
    for key, below in (("Subcategory", BELOW), ("Part", PARTS)):
        if name in below:
            node[key] = [_node(one) for one in below[name]]
    return node


def _and_below(name: str) -> set[str]:
    return {name}.union(*(_and_below(one) for one in BELOW.get(name, ())))


def _write(path: Path, header: Sequence[str], rows: Iterable[Row]) -> None:
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
