"""What is wrong with a folder of MS COCO, or of any images with boxes in its format."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from visionlab.data.layouts.coco import Kind, Year, annotation_file, check_categories, image_folder, missing
from visionlab.data.layouts.coco_format import Content, read_coco
from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.folder import SUFFIXES
from visionlab.data.layouts.images import check_images, check_leaks

FLAWED_BOXES = (918, 2206849)
"""Annotations of train2017 whose boxes have no height, in COCO's own files."""

OUTSIDE = 2.0
"""Pixels that boxes and keypoints may be outside their image: COCO's own are, by less than that."""

SPLITS = ("train", "val")


def check(root: Path) -> Findings:
    """Read every annotation and every image of the years that are there, and say what is wrong with each."""
    findings = Findings()
    years: tuple[Year, ...] = (2017, 2014)
    there = [
        year for year in years if any(annotation_file(root, "instances", split, year).exists() for split in SPLITS)
    ]
    for year in there if there else years[:1]:
        fingerprints = {}
        for split in SPLITS:
            name = f"{split}{year}"
            content = _check_file(root, "instances", split, year, findings)
            _check_file(root, "person_keypoints", split, year, findings)
            folder = image_folder(root, split, year)
            if not folder.is_dir():
                findings.error("missing-file", missing(root, folder, f"{name}.zip", year), folder)
            elif content is not None:
                findings.labels[name] = content.labels
                _check_repeated(folder, content, findings)
                _check_strays(folder, content.file_names, findings)
                paths = [folder / file for file in content.file_names]
                fingerprints[name] = check_images(name, paths, findings, content.sizes)
        check_leaks(fingerprints, findings)
    return findings


def check_format(
    root: Path,
    train_images: str = "train",
    train_annotations: str = "annotations/train.json",
    val_images: str = "val",
    val_annotations: str = "annotations/val.json",
    test_images: str = "test",
    test_annotations: str = "annotations/test.json",
) -> Findings:
    """Read every box and every image of a folder in COCO's format, and say what is wrong with each.

    Args:
        root: the folder that the others are in.
        train_images: the folder of images to train on.
        train_annotations: their file.
        val_images: the folder of images to validate on.
        val_annotations: their file.
        test_images: the folder of images to test on.
        test_annotations: their file; there need be none.
    """
    findings = Findings()
    splits = {"train": (train_images, train_annotations), "val": (val_images, val_annotations)}
    if (root / test_annotations).exists():
        splits["test"] = test_images, test_annotations
    known: dict[Path, list[str]] = {}
    fingerprints = {}
    first: Content | None = None
    for split, places in splits.items():
        folder, path = (root / place for place in places)
        if not folder.is_dir():
            findings.error("missing-file", f"{folder} is missing: expected the images of {path}", folder)
        if not path.is_file():
            findings.error("missing-file", f"{path} is missing: expected annotations in COCO's format", path)
            continue
        content = _read(path, findings, boxes_only=True)
        if content is None:
            continue
        first = content if first is None else first
        if content.category_names != first.category_names or (content.category_ids != first.category_ids).any():
            findings.error("other-categories", f"{path} has other categories than {root / train_annotations}", path)
        _check_boxes(path, content, findings)
        _count(path, content, findings)
        _check_repeated(folder, content, findings)
        if folder.is_dir():
            known.setdefault(folder, []).extend(content.file_names)
            findings.labels[split] = content.labels
            paths = [folder / file for file in content.file_names]
            fingerprints[split] = check_images(split, paths, findings, content.sizes)
    for folder, names in known.items():
        _check_strays(folder, names, findings)
    check_leaks(fingerprints, findings)
    findings.classes = None if first is None else len(first.category_ids)
    return findings


def _check_file(root: Path, kind: Kind, split: str, year: Year, findings: Findings) -> Content | None:
    """Check a file of annotations, and return what it holds if that has COCO's categories."""
    path = annotation_file(root, kind, split, year)
    if not path.is_file():
        message = missing(root, path, f"annotations_trainval{year}.zip", year)
        if kind == "instances":
            findings.error("missing-file", message, path)
        else:
            findings.notes.append(f"only keypoints need it: {message}")
        return None
    content = _read(path, findings)
    if content is None:
        return None
    try:
        check_categories(path, kind, content.category_ids.tolist(), content.category_names, content.keypoint_names)
    except ValueError as error:
        findings.error("malformed-file", str(error), path)
        return None
    _check_boxes(path, content, findings)
    _check_keypoints(path, content, findings)
    _count(path, content, findings)
    return content


def _read(path: Path, findings: Findings, boxes_only: bool = False) -> Content | None:
    def report(defect: str, message: str, id: str | None) -> None:
        findings.error(defect, message, path, id=id)

    try:
        return read_coco(path, report, boxes_only)
    except (OSError, ValueError) as error:
        report("malformed-file", str(error), None)
        return None


def _check_boxes(path: Path, content: Content, findings: Findings) -> None:
    boxes, ids = content.boxes, content.ids.tolist()
    ends = boxes[:, :2] + boxes[:, 2:]
    sizes = content.sizes[content.places][:, ::-1]
    for i in np.flatnonzero((boxes[:, 2:] == 0).any(1)).tolist():
        message = f"{path}, annotation {ids[i]}: bbox {boxes[i].tolist()} has no area"
        if ids[i] in FLAWED_BOXES:
            findings.notes.append(f"{message}, as in COCO's own files")
        else:
            findings.error("box-empty", message, path, id=str(ids[i]))
    for i in np.flatnonzero(((boxes[:, :2] < -OUTSIDE) | (ends > sizes + OUTSIDE)).any(1)).tolist():
        width, height = sizes[i].tolist()
        message = f"{path}, annotation {ids[i]}: bbox {boxes[i].tolist()} is outside its image of {width} x {height}"
        findings.error("box-outside", message, path, id=str(ids[i]))


def _check_keypoints(path: Path, content: Content, findings: Findings) -> None:
    places, seen = content.keypoints[..., :2], content.keypoints[..., 2] > 0
    sizes = content.sizes[content.places][:, None, ::-1]
    outside = seen & ((places < -OUTSIDE) | (places > sizes + OUTSIDE)).any(2)
    for i in np.flatnonzero(outside.any(1)).tolist():
        names = ", ".join(np.array(content.keypoint_names)[outside[i]])
        message = f"{path}, annotation {content.ids[i]}: outside its image: {names}"
        findings.error("keypoint-outside", message, path, id=str(content.ids[i]))


def _check_repeated(folder: Path, content: Content, findings: Findings) -> None:
    names, counts = np.unique(content.file_names, return_counts=True)
    for name in names[counts > 1].tolist():
        findings.error("duplicate-image", f"{folder / name} belongs to several images", folder / name)


def _check_strays(folder: Path, names: Iterable[str], findings: Findings) -> None:
    """Images that no annotations know of; what systems leave in folders, such as ``.DS_Store``, is none."""
    known = set(names)
    for path in sorted(folder.iterdir()):
        is_image = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        if is_image and path.name not in known and path.is_file():
            findings.error("missing-annotation", f"{path} is none of the images of its annotations", path)


def _count(path: Path, content: Content, findings: Findings) -> None:
    """Note what is legitimate, and worth knowing."""
    empty = len(content.image_ids) - len(np.unique(content.places))
    short = int((np.diff(content.outlines.polygons) < 6).sum())
    for count, what in (
        (empty, "images without objects"),
        (int(content.crowd.sum()), "crowds"),
        (short, "polygons of fewer than three points, which have no area"),
    ):
        if count:
            findings.notes.append(f"{path}: {count:,} {what}")
