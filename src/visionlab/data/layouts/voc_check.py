"""The check of PASCAL VOC: reads every file of every year and says what is wrong with each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.data.images import image_size, read_mask
from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.images import Fingerprints, check_images, check_leaks
from visionlab.data.layouts.voc import (
    CLASSES,
    YEARS,
    Annotation,
    how_to_get,
    named_year,
    read_annotation,
    read_class_list,
    read_list,
    year_folder,
)
from visionlab.data.layouts.voc_records import check_values, class_lists

SLACK = 1.0
"""Pixels that boxes may reach out of the image: files that count from 0 have boxes that do."""


def check(root: Path) -> Findings:
    """Read every file of every year that is there, and say what is wrong with each."""
    findings = Findings()
    folders: dict[Path, int] = {}
    for year in YEARS:
        try:
            folders.setdefault(year_folder(root, year), year)
        except FileNotFoundError as error:
            missing = error
    if not folders:
        findings.error("missing-file", str(missing), root)
    main: dict[str, Fingerprints] = {}
    for folder, year in folders.items():
        one = _Year(root, folder, year, str(named_year(folder) or folder.resolve().name), findings)
        main |= one.check()
    check_leaks(main, findings)
    findings.errors = list(dict.fromkeys(findings.errors))  # images are in the lists of two tasks
    return findings


class _Year:
    """The check of one year.

    Args:
        root: of the data set.
        folder: of the year.
        year: which it is.
        label: what its splits are named after.
        findings: is added to.
    """

    def __init__(self, root: Path, folder: Path, year: int, label: str, findings: Findings) -> None:
        self.root, self.folder, self.year, self.label, self.findings = root, folder, year, label, findings
        self.annotations: dict[str, Annotation | None] = {}
        self.lacking: set[str] = set()  # images whose annotations lack what was wrong in them

    def check(self) -> dict[str, Fingerprints]:
        """Returns what is to be compared with the images of other years."""
        self._read_annotations()
        main = self._check_images("Main", f"{self.label}/")
        check_leaks(self._check_images("Segmentation", f"{self.label}/segmentation/"), self.findings)
        for name in ("train", "val", "trainval", "test"):
            self._check_class_lists(name)
        self._check_masks()
        return main

    def _error(self, kind: str, message: str, file: Path, id: str) -> None:
        self.findings.error(kind, message, file, id=id)

    def _read_annotations(self) -> None:
        for path in sorted((self.folder / "Annotations").glob("*.xml")):
            if not (image := self._file("JPEGImages", path.stem, ".jpg")).is_file():
                self._error("unknown-image", f"{path} annotates {image}, which is missing", path, path.stem)
            before = len(self.findings.errors)
            self.annotations[path.stem] = read_annotation(path, self.findings.error)
            if len(self.findings.errors) > before:
                self.lacking.add(path.stem)
        objects = [
            (path, annotation, one)
            for path, annotation in self.annotations.items()
            if annotation is not None
            for one in annotation.objects
        ]
        little = 0
        for name, annotation, one in objects:
            left, top, right, bottom = one.box
            out = max(-left, -top, right - annotation.width, bottom - annotation.height)
            if out > SLACK:
                path = self._file("Annotations", name, ".xml")
                size = f"{annotation.width} x {annotation.height}"
                message = f"{path}, line {one.line}: the box reaches {out:g} pixels out of the image of {size}"
                self.findings.error("box-outside", message, path, line=one.line, id=name)
            little += 0 < out <= SLACK
        if little:
            self.findings.notes.append(
                f"{self.label}: {little:,} boxes reach up to a pixel out of their images, as if counted from 0"
            )
        if objects:
            counts = ", ".join(
                f"{sum(getattr(one, flag) for _, _, one in objects):,} {flag}"
                for flag in ("difficult", "truncated", "occluded")
            )
            self.findings.notes.append(f"{self.label}: {len(objects):,} objects, {counts}")

    def _check_images(self, kind: str, prefix: str) -> dict[str, Fingerprints]:
        """Check the images of the sets in one folder of lists: of all that do not overlap by intention."""
        folder = self.folder / "ImageSets" / kind
        files = {path.stem: path for path in sorted(folder.glob("*.txt"))}
        sets = [name for name in ("train" if "train" in files else "trainval", "val", "test") if name in files]
        if not sets:
            if kind == "Main":
                path = folder / "train.txt"
                self.findings.error("missing-file", f"{path} is missing: {how_to_get(self.root, self.year)}", path)
            return {}
        prints: dict[str, Fingerprints] = {}
        where: dict[str, str] = {}
        for name in sets:
            images = read_list(files[name], self.findings.error)
            for image in images:
                if image in where:
                    message = f"{files[name]} lists {image}, which {where[image]}.txt lists too"
                    self._error("leaked-image", message, files[name], image)
                where.setdefault(image, name)
            self._check_annotated(files[name], name, images)
            annotations = [self.annotations.get(image) for image in images]
            sizes = [(-1, -1) if one is None else (one.height, one.width) for one in annotations]
            paths = [self._file("JPEGImages", image, ".jpg") for image in images]
            split = f"{prefix}{name}"
            prints[split] = check_images(split, paths, self.findings, np.array(sizes, np.int64).reshape(-1, 2))
            labels = [one.label for annotation in annotations if annotation is not None for one in annotation.objects]
            if labels:
                self.findings.labels[split] = np.array(labels, dtype=np.int64)
        return prints

    def _check_annotated(self, listing: Path, name: str, images: Sequence[str]) -> None:
        if name == "test" and self.year != 2007 and not any(image in self.annotations for image in images):
            self.findings.notes.append(f"{listing}: no annotations of these images were published")
            return
        for image in images:
            if image not in self.annotations:
                path = self._file("Annotations", image, ".xml")
                self._error("missing-annotation", f"{path} is missing, and {listing} lists it", path, image)

    def _check_class_lists(self, name: str) -> None:
        """Whether the lists of each class are whole, and say what the objects say."""
        listing = self.folder / "ImageSets" / "Main" / f"{name}.txt"
        files = class_lists(self.folder, name)
        if not listing.is_file() or not any(path.is_file() for path in files):
            return
        images = dict.fromkeys(read_list(listing, Findings().error))  # what is wrong with it was said before
        for label, path in enumerate(files):
            if not path.is_file():
                self.findings.error("missing-file", f"{path} is missing: {how_to_get(self.root, self.year)}", path)
                continue
            signs = read_class_list(path, self.findings.error)
            for image in images:
                annotation = self.annotations.get(image)
                if image not in signs:
                    self._error("missing-annotation", f"{path} has no label of {image}", path, image)
                elif image in self.lacking or annotation is None:
                    continue
                elif signs[image] != (expected := _sign(annotation, label)):
                    message = f"{path} has {signs[image]} for {image}; by its objects it is {expected}"
                    self._error("wrong-label", message, path, image)
            for image in signs.keys() - images.keys():
                message = f"{path} has a label of {image}, which {listing} does not list"
                self._error("unknown-image", message, path, image)

    def _check_masks(self) -> None:
        images: dict[str, None] = {}
        for path in sorted((self.folder / "ImageSets" / "Segmentation").glob("*.txt")):
            if path.stem.endswith("aug"):
                self._check_augmented(path)
            elif path.stem != "test" or self.year == 2007:
                # what is wrong with the lists that were read before was said before
                known = path.stem in ("train", "val", "test")
                images |= dict.fromkeys(read_list(path, (Findings() if known else self.findings).error))
        numbered = (self.folder / "SegmentationObject").is_dir()
        disagree = 0
        for image in images:
            classes = self._check_mask(image, "SegmentationClass", len(CLASSES))
            annotation = self.annotations.get(image)
            if numbered and annotation is not None and image not in self.lacking:
                numbers = self._check_mask(image, "SegmentationObject", len(annotation.objects))
                if classes is not None and numbers is not None and classes.shape == numbers.shape:
                    disagree += _disagree(classes, numbers, annotation)
        if disagree:
            self.findings.notes.append(
                f"{self.label}: {disagree:,} objects have mostly another class in SegmentationClass than in Annotations"
            )

    def _check_augmented(self, listing: Path) -> None:
        for image in read_list(listing, self.findings.error):
            further = self._file("SegmentationClassAug", image, ".png").is_file()
            self._check_mask(image, "SegmentationClassAug" if further else "SegmentationClass", len(CLASSES))

    def _check_mask(self, image: str, folder: str, most: int) -> npt.NDArray[np.uint8] | None:
        """Returns the mask, if it can be read."""
        path = self._file(folder, image, ".png")
        try:
            mask = read_mask(path)
        except FileNotFoundError:
            self._error("missing-mask", f"{path} is missing", path, image)
            return None
        except (ValueError, OSError) as error:
            self._error("unreadable-mask", str(error), path, image)
            return None
        try:
            check_values(mask, most, path)
        except ValueError as error:
            self._error("palette-out-of-range", str(error), path, image)
        try:
            size = image_size(self._file("JPEGImages", image, ".jpg"))
        except (ValueError, OSError):
            return mask  # the image was found fault with before
        if mask.shape != size:
            message = f"{path} has {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x {size[0]}"
            self._error("wrong-size", message, path, image)
        return mask

    def _file(self, folder: str, image: str, suffix: str) -> Path:
        return self.folder / folder / f"{image}{suffix}"


def _sign(annotation: Annotation, label: int) -> int:
    """What the list of a class says of an image."""
    difficult = [one.difficult for one in annotation.objects if one.label == label]
    return -1 if not difficult else 0 if all(difficult) else 1


def _disagree(classes: npt.NDArray[np.uint8], numbers: npt.NDArray[np.uint8], annotation: Annotation) -> int:
    """How many objects have mostly pixels of another class."""
    inside = [classes[numbers == i] for i in range(1, len(annotation.objects) + 1)]
    return sum(
        2 * int(np.count_nonzero(pixels == one.label + 1)) < len(pixels)
        for pixels, one in zip(inside, annotation.objects, strict=True)
    )
