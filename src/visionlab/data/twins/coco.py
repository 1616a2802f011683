"""Twins of MS COCO: small data sets that can be learned, in its layout and format."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visionlab.data.layouts.coco import CLASSES, CLASSES91, IDS, KEYPOINTS, Kind, annotation_file, image_folder
from visionlab.data.twins.files import write_jpeg
from visionlab.data.twins.plan import refuse_to_overwrite
from visionlab.data.twins.scenes import PersonScene, draw_person_scene

Row = dict[str, Any]
BoolMask = npt.NDArray[np.bool_]

CATEGORIES = ("person", "car", "boat", "stop sign", "dog", "backpack", "bottle", "chair", "tv", "toothbrush")
"""Those that are drawn: the category of each motif of :mod:`visionlab.data.twins.scenes`, people first."""

FEWEST = 4
"""Images of a split."""

SKELETON = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11)),
    *((2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
)
"""The keypoints that are joined, counted from 1, as COCO's category of people has them."""

CROWD_IDS = 900_000_000_000
"""COCO's crowds have ids from here."""


def make(root: Path, images: int, seed: int) -> None:
    """Write a twin of 2017.

    Among its images are some without objects, some with a crowd, and greyscale ones.

    Args:
        root: the folder to write to.
        images: to train on; a quarter as many to validate on.
        seed: the same seed gives the same bytes.

    Raises:
        ValueError: if there are fewer than :data:`FEWEST` images.
        FileExistsError: if a file or folder of the data set is there already.
    """
    sizes = split_sizes(images)
    kinds: tuple[Kind, ...] = ("instances", "person_keypoints")
    refuse_to_overwrite(image_folder(root, split, 2017) for split in sizes)
    refuse_to_overwrite(annotation_file(root, kind, split, 2017) for split in sizes for kind in kinds)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(np.arange(1, 581_930))[: sum(sizes.values())]
    annotation_ids = iter(rng.permutation(np.arange(919, 2_206_849)))
    for split, count in sizes.items():
        ids = image_ids[:count].tolist()
        pictures, objects = draw_images(root / f"{split}2017", rng, ids)
        date = "2013-11-14 11:18:45"
        dated = [
            {"license": 4, **picture, "date_captured": date, "id": id}
            for picture, id in zip(pictures, ids, strict=True)
        ]
        numbered = [{**row, "id": CROWD_IDS * row["iscrowd"] + int(next(annotation_ids))} for row in objects]
        image_ids = image_ids[count:]
        _write(root, split, dated, numbered)


def split_sizes(images: int) -> dict[str, int]:
    """How many images a twin has to train and to validate on.

    Raises:
        ValueError: if there are fewer than :data:`FEWEST` images to train on.
    """
    if images < FEWEST:
        raise ValueError(f"{images} training images are too few: give at least {FEWEST}")
    return {"train": images, "val": max(images // 4, FEWEST)}


def draw_images(folder: Path, rng: np.random.Generator, image_ids: Sequence[int]) -> tuple[list[Row], list[Row]]:
    """Draw scenes into a new folder.

    Returns:
        The rows of the images, and those of their objects, both without ids of their own.
    """
    folder.mkdir()
    pictures, objects = [], []
    for i, image_id in enumerate(image_ids):
        scene, crowd = _draw(rng, i)
        height, width = scene.image.shape[:2]
        name = f"{image_id:012}.jpg"
        pictures.append({"file_name": name, "height": height, "width": width})
        grey = i % 10 == 3
        write_jpeg(
            folder / name, cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY).astype(np.uint8) if grey else scene.image
        )
        objects += [{**row, "image_id": image_id} for row in _rows(scene, crowd)]
    return pictures, objects


def _draw(rng: np.random.Generator, i: int) -> tuple[PersonScene, int]:
    """A scene, and how many of its last objects are a crowd (of its first people, if negative)."""
    height, width = rng.integers(96, 161, 2).tolist()
    motifs = len(CATEGORIES)
    if i == 1 or i % 8 == 5:
        return draw_person_scene(rng, height, width, 0), 0
    if i % 12 == 2:
        return draw_person_scene(rng, height, width, 3, rng.integers(1, motifs, 1).tolist()), -3
    if i % 6 == 2:
        others = [int(rng.integers(1, motifs))] * 4
        return draw_person_scene(rng, height, width, int(rng.integers(0, 2)), others), 4
    people = int(rng.integers(0, 3))
    return draw_person_scene(rng, height, width, people, rng.integers(1, motifs, rng.integers(1, 4)).tolist()), 0


def _rows(scene: PersonScene, crowd: int) -> list[Row]:
    """The annotations of a scene, those of people with keypoints."""
    alone = slice(-crowd, None) if crowd < 0 else slice(0, len(scene.labels) - crowd)
    rows = [
        _object(mask, int(label), keypoints)
        for mask, label, keypoints in zip(scene.masks[alone], scene.labels[alone], scene.keypoints[alone], strict=True)
    ]
    if crowd:
        members = slice(0, -crowd) if crowd < 0 else slice(len(scene.labels) - crowd, None)
        rows.append(_crowd(np.logical_or.reduce(scene.masks[members]), int(scene.labels[members][0])))
    return rows


def _object(mask: BoolMask, motif: int, keypoints: npt.NDArray[np.float64]) -> Row:
    polygons = _polygons(mask)
    corners = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
    left, top = corners.min(0)
    width, height = corners.max(0) - (left, top)
    row: Row = {
        "segmentation": polygons,
        "area": sum(_area(np.reshape(polygon, (-1, 2))) for polygon in polygons),
        "iscrowd": 0,
        "bbox": [round(float(value), 2) for value in (left, top, width, height)],
        "category_id": _category(motif),
    }
    if motif == 0:
        row["num_keypoints"] = int((keypoints[:, 2] > 0).sum())
        row["keypoints"] = np.floor(keypoints).astype(int).ravel().tolist()
    return row


def _crowd(mask: BoolMask, motif: int) -> Row:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
    pixels = np.concatenate([[False], mask.ravel(order="F")])  # run lengths begin with those outside
    runs = np.diff([0, *np.flatnonzero(np.diff(pixels)), mask.size]).tolist()
    row: Row = {
        "segmentation": {"counts": runs, "size": list(mask.shape)},
        "area": int(mask.sum()),
        "iscrowd": 1,
        "bbox": [int(value) for value in box],
        "category_id": _category(motif),
    }
    if motif == 0:
        row |= {"num_keypoints": 0, "keypoints": [0] * 3 * len(KEYPOINTS)}
    return row


def _category(motif: int) -> int:
    return CLASSES91.index(CATEGORIES[motif]) + 1


def _polygons(mask: BoolMask) -> list[list[float]]:
    """The outlines of the parts of a mask, between the pixels, without holes, which COCO's polygons have none of."""
    fine = np.repeat(np.repeat(mask, 3, 0), 3, 1).astype(np.uint8)  # outlines go through the middles of pixels
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlines = [cv2.approxPolyDP(contour, 1.5, closed=True) for contour in contours]
    polygons = [((outline[:, 0] + 0.5) / 3).round(2).ravel().tolist() for outline in outlines if len(outline) > 2]
    assert polygons, "the visible part of an object has three pixels or more"
    return polygons


def _area(points: npt.NDArray[np.float64]) -> float:
    x, y = points.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def _write(root: Path, split: str, pictures: list[Row], objects: list[Row]) -> None:
    head: Row = {
        "info": {
            "description": "A twin of COCO 2017, drawn",
            "url": "http://cocodataset.org",
            "version": "1.0",
            "year": 2017,
            "contributor": "visionlab",
            "date_created": "2017/09/01",
        },
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}],
        "images": pictures,
    }
    names = zip(IDS, CLASSES, strict=True)
    categories = [{"supercategory": "person" if id == 1 else "thing", "id": id, "name": name} for id, name in names]
    person = {**categories[0], "keypoints": KEYPOINTS, "skeleton": SKELETON}
    without = [{key: row[key] for key in row if key not in ("num_keypoints", "keypoints")} for row in objects]
    people = [row for row in objects if row["category_id"] == 1]
    contents: dict[Kind, tuple[list[Row], list[Row]]] = {
        "instances": (without, categories),
        "person_keypoints": (people, [person]),
    }
    for kind, (annotations, listed) in contents.items():
        document = {**head, "annotations": annotations, "categories": listed}
        annotation_file(root, kind, split, 2017).write_text(json.dumps(document), encoding="utf-8")
