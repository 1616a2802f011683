"""Files of detections, as the data sets' own evaluations read them: written, and read back.

What is read back equals what was written to the last bit of its ``float32`` numbers, so the metrics of a file are those
of the run that wrote it; only sides within 2**-29 pixels of 0 may move by as much in VOC's, which counts from 1. The
order of detections of the same score in an image (in VOC's, of a class) is kept.
"""

import base64
import csv
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as rle

from visionlab.batch import DetectionPredictions
from visionlab.metrics.by_objects import Part, Table

Sizes = Mapping[str, tuple[int, int]]
"""Height and width of each image, by name."""

LabelMap = Sequence[Mapping[str, int | str]]
"""``{id, index, name}`` of each class, as a data module gives it."""


COCO_FILES: dict[str, Part] = {"bbox": "xywh", "segm": "masks", "keypoints": "keypoints"}
"""The parts of objects, by what pycocotools calls their evaluation: each has a file, for with boxes beside masks or
keypoints it takes their areas."""


def write_coco(folder: Path, found: Sequence[Table], names: Sequence[str], label_map: LabelMap) -> None:
    """Write COCO's results (https://cocodataset.org/#format-results), ``bbox.json``, ``segm.json`` and
    ``keypoints.json``, whichever parts the objects have: lists of ``image_id``, ``category_id``, ``score`` and one of
    ``bbox``, ``segmentation`` (compressed run lengths) and ``keypoints``.

    Args:
        folder: of the files.
        found: the same objects, with some of their parts each
            (:func:`visionlab.metrics.by_objects.found_rows`), and ``images``, the places of their images in ``names``.
        names: the ids of the images. What is no whole number, as the name of a file may be, is written as it is.
        label_map: of the data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = {entry["index"]: entry["id"] for entry in label_map}
    for kind, part, table in _parts(COCO_FILES, found):
        rows: list[dict[str, Any]] = []
        for image, label, score, value in zip(*_columns(table, "images", "labels", "scores", part), strict=True):
            name = names[image]
            row = {"image_id": int(name) if name.isdecimal() else name, "category_id": ids[label], "score": score}
            if part == "xywh":
                row["bbox"] = value
            elif part == "masks":
                row["segmentation"] = {"size": value["size"], "counts": value["counts"].decode("ascii")}
            else:
                row["keypoints"] = [number for point in value for number in point]
            rows.append(row)
        (folder / f"{kind}.json").write_text(json.dumps(rows))


def read_coco(path: Path, label_map: LabelMap) -> "FoundByName":
    """Read what :func:`write_coco` writes, or any list of results; images without a detection are not in it.

    Boxes are 0 where the file has none.

    Raises:
        ValueError: if it is no list of results, or has an unknown category.
    """
    index = {entry["id"]: entry["index"] for entry in label_map}
    rows = json.loads(path.read_text())
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not a list of results")
    by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["category_id"] not in index:
            raise ValueError(f"{path}: there is no category {row['category_id']!r}")
        one = {"label": index[row["category_id"]], "score": row["score"], "box": [0.0] * 4}
        if "bbox" in row:
            left, top, width, height = row["bbox"]
            one["box"] = [left, top, left + width, top + height]
        if "segmentation" in row:
            one["mask"] = row["segmentation"]
        if "keypoints" in row:
            one["keypoints"] = np.reshape(row["keypoints"], (-1, 3))
        by_image[str(row["image_id"])].append(one)
    return FoundByName(by_image)


def write_voc(
    folder: Path, found: Table, names: Sequence[str], label_map: LabelMap, set_name: str, competition: int = 4
) -> None:
    """Write VOC's results of detection (development kit of 2012, section 8.2): ``comp4_det_test_<class>.txt`` with a
    line ``image score xmin ymin xmax ymax`` for each box, in pixels counted from 1, those on the border included.

    Args:
        folder: of the files, one a class.
        found: the objects, with their boxes, and ``images``, the places of their images in ``names``.
        names: of the images.
        label_map: of the data set.
        set_name: ``test``, ``val``, ...
        competition: 3 if only VOC's images were trained on; 4 if others were too, as ImageNet's by most backbones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[int, list[str]] = defaultdict(list)
    for image, label, score, box in zip(*_columns(found, "images", "labels", "scores", "xywh"), strict=True):
        left, top, width, height = box
        sides = (left + 1, top + 1, left + width, top + height)
        lines[label].append(" ".join([names[image], repr(score), *map(repr, sides)]) + "\n")
    for entry in label_map:
        path = folder / f"comp{competition}_det_{set_name}_{entry['name']}.txt"
        path.write_text("".join(lines[int(entry["index"])]))


def read_voc(folder: Path, label_map: LabelMap, set_name: str, competition: int = 4) -> "FoundByName":
    """Read what :func:`write_voc` writes; images without a detection are not in it.

    Raises:
        FileNotFoundError: if a class has no file.
        ValueError: if a line is not of six entries.
    """
    by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in label_map:
        path = folder / f"comp{competition}_det_{set_name}_{entry['name']}.txt"
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            parts = line.split()
            if len(parts) != 6:
                raise ValueError(f"{path}, line {number}: expected image, score and four sides, not {line!r:.100}")
            score, left, top, right, bottom = map(float, parts[1:])
            one = {"label": entry["index"], "score": score, "box": [left - 1, top - 1, right, bottom]}
            by_image[parts[0]].append(one)
    return FoundByName(by_image)


COLUMNS = ("ImageID", "LabelName", "Score", "XMin", "XMax", "YMin", "YMax")
MASK_COLUMNS = ("ImageID", "LabelName", "Score", "ImageWidth", "ImageHeight", "Mask")


OPENIMAGES_FILES: dict[str, Part] = {"boxes": "xywh", "masks": "masks"}


def write_openimages(folder: Path, found: Sequence[Table], names: Sequence[str], label_map: LabelMap) -> None:
    """Write Open Images' tables (``oid_challenge_evaluation_utils.py`` of tensorflow/models), a row an object:
    ``boxes.csv``, normalised, with the columns :data:`COLUMNS`, and ``masks.csv``, with :data:`MASK_COLUMNS`, COCO's
    compressed run lengths compressed by zlib and in base64; whichever parts the objects have.

    Args:
        folder: of the files.
        found: the same objects, with some of their parts each, ``images``, the places of their images in ``names``, and
            the ``height`` and ``width`` of those.
        names: the ids of the images.
        label_map: of the data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = {entry["index"]: entry["id"] for entry in label_map}
    for kind, part, table in _parts(OPENIMAGES_FILES, found):
        with (folder / f"{kind}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS if part == "xywh" else MASK_COLUMNS)
            columns = _columns(table, "images", "labels", "scores", "height", "width", part)
            for image, label, score, height, width, value in zip(*columns, strict=True):
                row = [names[image], ids[label], score]
                if part == "xywh":
                    left, top, wide, high = value
                    row += [left / width, (left + wide) / width, top / height, (top + high) / height]
                else:
                    row += [width, height, _to_text(value["counts"])]
                writer.writerow(row)


def read_openimages(path: Path, label_map: LabelMap, sizes: Sizes) -> "FoundByName":
    """Read what :func:`write_openimages` writes; images without a detection are not in it. Masks come with the boxes
    around them.

    Raises:
        ValueError: if the columns are others, or a class is unknown.
    """
    index = {str(entry["id"]): entry["index"] for entry in label_map}
    by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = tuple(reader.fieldnames or ())
        if columns not in (COLUMNS, MASK_COLUMNS):
            raise ValueError(f"{path}: expected the columns {', '.join(COLUMNS)}, not {', '.join(columns)}")
        for row in reader:
            if row["LabelName"] not in index:
                raise ValueError(f"{path}, line {reader.line_num}: there is no class {row['LabelName']!r}")
            one: dict[str, Any] = {"label": index[row["LabelName"]], "score": float(row["Score"])}
            if columns == MASK_COLUMNS:
                size = [int(row["ImageHeight"]), int(row["ImageWidth"])]
                coded = {"size": size, "counts": zlib.decompress(base64.b64decode(row["Mask"]))}
                left, top, width, height = rle.toBbox(coded).tolist()
                one |= {"mask": coded, "box": [left, top, left + width, top + height]}
            else:
                height, width = sizes[row["ImageID"]]
                left, right, top, bottom = (float(row[name]) for name in COLUMNS[3:])
                one["box"] = [left * width, top * height, right * width, bottom * height]
            by_image[row["ImageID"]].append(one)
    return FoundByName(by_image)


class FoundByName(Mapping[str, DetectionPredictions]):
    """What was found in each image, by what the data set calls it. Masks are decoded when an image is asked for."""

    def __init__(self, rows: Mapping[str, list[dict[str, Any]]]) -> None:
        self.rows = dict(rows)

    def __getitem__(self, name: str) -> DetectionPredictions:
        return _together(self.rows[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def nothing_found() -> DetectionPredictions:
    """What was found in an image that is not in a file of boxes."""
    return {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}


def _to_text(counts: bytes) -> str:
    return base64.b64encode(zlib.compress(counts, zlib.Z_BEST_COMPRESSION)).decode("ascii")


def _parts(files: Mapping[str, Part], found: Sequence[Table]) -> Iterator[tuple[str, Part, Table]]:
    """Each kind of file, the part of objects that it holds, and the first table that has it."""
    for kind, part in files.items():
        table = next((one for one in found if part in one), None)
        if table is not None:
            yield kind, part, table


def _columns(table: Table, *names: str) -> list[list[Any]]:
    return [table[name].tolist() for name in names]


def _together(rows: Sequence[Mapping[str, Any]]) -> DetectionPredictions:
    """The detections of one image, by falling score."""
    ordered = sorted(rows, key=lambda row: -row["score"])

    def column(name: str, dtype: Any) -> npt.NDArray[Any]:
        return np.array([row[name] for row in ordered], dtype)

    found: DetectionPredictions = {
        "boxes": torch.from_numpy(column("box", np.float32)),
        "scores": torch.from_numpy(column("score", np.float32)),
        "labels": torch.from_numpy(column("label", np.int64)),
    }
    if "mask" in ordered[0]:
        found["masks"] = torch.from_numpy(np.stack([rle.decode(row["mask"]) for row in ordered]))
    if "keypoints" in ordered[0]:
        found["keypoints"] = torch.from_numpy(column("keypoints", np.float32))
    return found
