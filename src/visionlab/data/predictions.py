"""Files of detections, as the data sets' own evaluations read them: written, and read back, by images' names.

What is read back equals what was written to the last bit of its ``float32`` numbers, so the metrics of a file are those
of the run that wrote it; only sides within 2**-29 pixels of 0 may move by as much in VOC's, which counts from 1. The
order of detections of the same score in an image (in VOC's, of a class) is kept.
"""

import base64
import csv
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as rle

from visionlab.batch import DetectionPredictions

ByName = Mapping[str, DetectionPredictions]
"""What was found in each image, by what the data set calls it."""

Sizes = Mapping[str, tuple[int, int]]
"""Height and width of each image, by name."""

LabelMap = Sequence[Mapping[str, int | str]]
"""``{id, index, name}`` of each class, as a data module gives it."""


def write_coco(path: Path, predictions: ByName, label_map: LabelMap, kind: str) -> None:
    """Write COCO's results (https://cocodataset.org/#format-results): a list of ``image_id``, ``category_id``,
    ``score`` and one of ``bbox``, ``segmentation`` (compressed run lengths) and ``keypoints``.

    Args:
        path: of the file.
        predictions: by the ids of the images, in the file as whole numbers.
        label_map: of the data set.
        kind: ``bbox``, ``segm`` or ``keypoints``. A file has one: with boxes beside masks or keypoints, pycocotools
            takes their areas.
    """
    ids = {entry["index"]: entry["id"] for entry in label_map}
    rows: list[dict[str, Any]] = []
    for name, found in predictions.items():
        for i, (label, score) in enumerate(zip(found["labels"].tolist(), found["scores"].tolist(), strict=True)):
            row = {"image_id": int(name), "category_id": ids[label], "score": score}
            if kind == "bbox":
                left, top, right, bottom = found["boxes"][i].tolist()
                row["bbox"] = [left, top, right - left, bottom - top]
            elif kind == "segm":
                coded = rle.encode(np.asfortranarray(found["masks"][i].cpu().numpy()))
                row["segmentation"] = {"size": coded["size"], "counts": coded["counts"].decode("ascii")}
            else:
                row["keypoints"] = found["keypoints"][i].flatten().tolist()
            rows.append(row)
    path.write_text(json.dumps(rows))


def read_coco(path: Path, label_map: LabelMap) -> dict[str, DetectionPredictions]:
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
            one["mask"] = rle.decode(row["segmentation"])
        if "keypoints" in row:
            one["keypoints"] = np.reshape(row["keypoints"], (-1, 3))
        by_image[str(row["image_id"])].append(one)
    return {name: _together(found) for name, found in by_image.items()}


def write_voc(folder: Path, predictions: ByName, label_map: LabelMap, set_name: str, competition: int = 3) -> None:
    """Write VOC's results of detection (development kit of 2012, section 8.2): ``comp3_det_test_<class>.txt`` with a
    line ``image score xmin ymin xmax ymax`` for each box, in pixels counted from 1, those on the border included.

    Args:
        folder: of the files, one a class.
        predictions: by the names of the images.
        label_map: of the data set.
        set_name: ``test``, ``val``, ...
        competition: 3 if only VOC's images were trained on, else 4.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for entry in label_map:
        lines = []
        for name, found in predictions.items():
            rows = zip(found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True)
            for (left, top, right, bottom), score, label in rows:
                if label == entry["index"]:
                    lines.append(f"{name} {score!r} {left + 1!r} {top + 1!r} {right!r} {bottom!r}\n")
        (folder / f"comp{competition}_det_{set_name}_{entry['name']}.txt").write_text("".join(lines))


def read_voc(folder: Path, label_map: LabelMap, set_name: str, competition: int = 3) -> dict[str, DetectionPredictions]:
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
    return {name: _together(found) for name, found in by_image.items()}


COLUMNS = ("ImageID", "LabelName", "Score", "XMin", "XMax", "YMin", "YMax")
MASK_COLUMNS = ("ImageID", "LabelName", "Score", "ImageWidth", "ImageHeight", "Mask")


def write_openimages(
    path: Path, predictions: ByName, label_map: LabelMap, sizes: Sizes, *, masks: bool = False
) -> None:
    """Write Open Images' table of boxes, normalised, or of masks (``oid_challenge_evaluation_utils.py`` of
    tensorflow/models): a row a detection, with the columns :data:`COLUMNS` or :data:`MASK_COLUMNS`.

    Args:
        path: of the file.
        predictions: by the ids of the images.
        label_map: of the data set.
        sizes: of the images.
        masks: whether masks are written rather than boxes: as COCO's compressed run lengths, compressed by zlib and
            in base64.
    """
    ids = {entry["index"]: entry["id"] for entry in label_map}
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MASK_COLUMNS if masks else COLUMNS)
        for name, found in predictions.items():
            height, width = sizes[name]
            for i, (label, score) in enumerate(zip(found["labels"].tolist(), found["scores"].tolist(), strict=True)):
                if masks:
                    coded = rle.encode(np.asfortranarray(found["masks"][i].cpu().numpy()))["counts"]
                    writer.writerow([name, ids[label], score, width, height, _to_text(coded)])
                else:
                    left, top, right, bottom = found["boxes"][i].tolist()
                    sides = (left / width, right / width, top / height, bottom / height)
                    writer.writerow([name, ids[label], score, *sides])


def read_openimages(path: Path, label_map: LabelMap, sizes: Sizes) -> dict[str, DetectionPredictions]:
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
                one |= {"mask": rle.decode(coded), "box": [left, top, left + width, top + height]}
            else:
                height, width = sizes[row["ImageID"]]
                left, right, top, bottom = (float(row[name]) for name in COLUMNS[3:])
                one["box"] = [left * width, top * height, right * width, bottom * height]
            by_image[row["ImageID"]].append(one)
    return {name: _together(found) for name, found in by_image.items()}


def nothing_found() -> DetectionPredictions:
    """What was found in an image that is not in a file of boxes."""
    return {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}


def _to_text(counts: bytes) -> str:
    return base64.b64encode(zlib.compress(counts, zlib.Z_BEST_COMPRESSION)).decode("ascii")


def _together(rows: Iterable[Mapping[str, Any]]) -> DetectionPredictions:
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
        found["masks"] = torch.from_numpy(column("mask", np.uint8))
    if "keypoints" in ordered[0]:
        found["keypoints"] = torch.from_numpy(column("keypoints", np.float32))
    return found
