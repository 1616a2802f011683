"""What is wrong with a folder of MS COCO."""

from pathlib import Path

import numpy as np

from visionlab.data.layouts.coco import Kind, Year, annotation_file, check_categories, image_folder, missing
from visionlab.data.layouts.coco_format import Content, read_coco
from visionlab.data.layouts.findings import Findings
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
                _check_names(folder, content, findings)
                paths = [folder / file for file in content.file_names]
                fingerprints[name] = check_images(name, paths, findings, content.sizes)
        check_leaks(fingerprints, findings)
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

    def report(defect: str, message: str, id: str | None) -> None:
        findings.error(defect, message, path, id=id)

    try:
        content = read_coco(path, report)
        check_categories(path, kind, content.category_ids.tolist(), content.category_names, content.keypoint_names)
    except (OSError, ValueError) as error:
        report("malformed-file", str(error), None)
        return None
    _check_boxes(path, content, findings)
    _check_keypoints(path, content, findings)
    _count(path, content, findings)
    return content


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


def _check_names(folder: Path, content: Content, findings: Findings) -> None:
    names, counts = np.unique(content.file_names, return_counts=True)
    for name in names[counts > 1].tolist():
        findings.error("duplicate-image", f"{folder / name} belongs to several images", folder / name)
    known = set(content.file_names)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in known:
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
