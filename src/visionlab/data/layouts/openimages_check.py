"""What is wrong with a folder of Open Images."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from visionlab.data.images import image_size, read_mask
from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.images import Fingerprints, check_images, check_leaks
from visionlab.data.layouts.openimages import HIERARCHY, SPLITS, Kind, OpenImages, Split, read_images
from visionlab.data.layouts.openimages_classes import Classes, read_ancestors, read_classes
from visionlab.data.layouts.openimages_folders import Parts, locate
from visionlab.data.layouts.openimages_records import check_proportion
from visionlab.data.layouts.openimages_tables import (
    Array,
    Rows,
    read_boxes,
    read_labels,
    read_masks,
    read_relationships,
)

SHOWN = 1_000
"""Findings of one kind in one file, after which the rest is only counted: a table may have millions."""


def check(root: Path) -> Findings:
    """Read every table, mask and image, and say what is wrong with each.

    A split without any table is noted, for many have only some splits; so are tables and masks that only some tasks
    want. Images that the tables name and that are missing are errors: a task leaves them out only if it is told to.
    """
    folder, limited = OpenImages(root), _Limited()
    findings = limited.findings
    boxable = _classes(folder, "boxable", limited)
    every = _classes(folder, "all", limited) if folder.find("class-descriptions.csv") else boxable
    hierarchy = folder.find(HIERARCHY)
    if hierarchy is None:
        findings.notes.append(f"there is no {HIERARCHY}, which the official metrics want")
    else:
        limited.attempt(hierarchy, lambda: read_ancestors(hierarchy, boxable.ids, limited.report))
    images = {split: _check_split(folder, split, boxable, every, limited) for split in SPLITS}
    check_leaks({split: prints for split, prints in images.items() if prints is not None}, findings)
    if not findings.images:
        findings.error("missing-file", f"{root} has no table of boxes, masks or labels of any split", root)
    limited.close()
    return findings


class _Limited:
    """Collects findings, of each kind in each file no more than :data:`SHOWN`."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.counts: Counter[tuple[str, Path]] = Counter()

    def report(self, kind: str, message: str, file: Path, *, line: int | None = None, id: str | None = None) -> None:
        self.counts[kind, file] += 1
        if self.counts[kind, file] <= SHOWN:
            self.findings.error(kind, message, file, line=line, id=id)

    def attempt(self, path: Path, read: Callable[[], object]) -> None:
        """Read a file, of which an error is a finding."""
        try:
            read()
        except (ValueError, OSError) as error:
            self.report("malformed-file", str(error), path)

    def close(self) -> None:
        for (kind, file), count in self.counts.items():
            if count > SHOWN:
                self.findings.notes.append(f"{file}: {count - SHOWN:,} more {kind}")


def _classes(folder: OpenImages, vocabulary: str, limited: _Limited) -> Classes:
    classes = Classes((), ())
    try:
        path = folder.classes_file("boxable" if vocabulary == "boxable" else "all")
        classes = read_classes(path, limited.report)
    except FileNotFoundError as error:
        limited.report("missing-file", str(error), folder.root)
    except ValueError as error:
        limited.report("malformed-file", str(error), path)
    return classes


def _check_split(
    folder: OpenImages, split: Split, boxable: Classes, every: Classes, limited: _Limited
) -> Fingerprints | None:
    findings = limited.findings
    readers: dict[Kind, Callable[[Path], Iterator[Rows]]] = {
        "boxes": lambda path: read_boxes(path, boxable.ids, limited.report),
        "masks": lambda path: read_masks(path, boxable.ids, limited.report),
        "boxable labels": lambda path: read_labels(path, boxable.ids, limited.report),
        "all labels": lambda path: read_labels(path, every.ids, limited.report),
        "relationships": lambda path: read_relationships(path, limited.report),
    }
    tables = {kind: path for kind in readers if (path := folder.find_table(kind, split))}
    word = SPLITS[split][0]
    if not tables:
        findings.notes.append(f"there is no table of the split {word}")
        return None
    absent = [kind for kind in readers if kind not in tables]
    if absent:
        findings.notes.append(f"{word}: no table of {', '.join(absent)}")
    known: set[bytes] = set()
    if (list_of_images := folder.find_table("images", split)) is not None:
        limited.attempt(
            list_of_images, lambda: known.update(read_images(list_of_images, split, limited.report).tolist())
        )
    images, masks = known.copy(), dict[bytes, bytes]()
    for kind, path in tables.items():
        # the table of all labels is of nine million images, most of them without a box
        of_split = kind != "all labels" or not images
        seen = _Seen(path, kind, known if kind != "all labels" else set(), of_split, limited)
        limited.attempt(path, partial(seen.add_all, readers[kind](path)))
        images |= seen.images
        if kind == "boxes":
            findings.labels[split] = np.concatenate([np.empty(0, np.int64), *seen.labels])
        masks |= seen.masks
    ids, parts = np.array(sorted(images), dtype="S"), folder.image_parts(split)
    places = locate(ids, parts, ".jpg")
    if masks:
        _check_masks(folder, split, masks, _Paths(parts, ids, places), limited)
    for path in _Paths(parts, ids[places < 0], places[places < 0]):
        limited.report("missing-image", f"{path} is missing", path, id=path.stem)
    return check_images(split, _Paths(parts, ids[places >= 0], places[places >= 0]), findings)


class _Paths(Sequence[Path]):
    """The files of some images, made when asked for: there may be millions. Those that are nowhere would be in the main
    folder.
    """

    def __init__(self, parts: Parts, ids: Array, places: npt.NDArray[np.int32]) -> None:
        self.parts, self.ids, self.places = parts, ids, places

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "_Paths": ...

    def __getitem__(self, index: int | slice) -> "Path | _Paths":
        if isinstance(index, slice):
            return _Paths(self.parts, self.ids[index], self.places[index])
        return self.parts.path(int(self.places[index]), f"{self.ids[index].decode('ascii')}.jpg")


class _Seen:
    """What a table names."""

    def __init__(self, path: Path, kind: Kind, known: set[bytes], of_split: bool, limited: _Limited) -> None:
        self.path, self.kind, self.known, self.of_split, self.limited = path, kind, known, of_split, limited
        self.images: set[bytes] = set()
        self.labels: list[npt.NDArray[np.int64]] = []
        self.masks: dict[bytes, bytes] = {}

    def add_all(self, table: Iterable[Rows]) -> None:
        for rows in table:
            self._add(*rows)

    def _add(self, ids: Array, lines: npt.NDArray[np.int64], columns: dict[str, Array]) -> None:
        here = set(np.unique(ids).tolist())
        if self.known:
            for stranger in sorted(here - self.known):
                line, name = int(lines[ids == stranger][0]), stranger.decode("ascii")
                says = f"{self.path}, line {line}, image {name!r}: not in the list of images of the split"
                self.limited.report("unknown-image", says, self.path, line=line, id=name)
                here.discard(stranger)
        if self.of_split:
            self.images |= here
        if self.kind == "boxes":
            self.labels.append(columns["labels"].astype(np.int64))
            self._note_boxes(lines, columns["boxes"])
        if self.kind == "masks":
            for name, image, line in zip(columns["masks"].tolist(), ids.tolist(), lines.tolist(), strict=True):
                if name in self.masks:
                    says = f"{self.path}, line {line}: {name.decode('ascii')} is there twice"
                    self.limited.report("duplicate-id", says, self.path, line=line, id=name.decode("ascii"))
                self.masks[name] = image

    def _note_boxes(self, lines: npt.NDArray[np.int64], boxes: npt.NDArray[np.float64]) -> None:
        empty = lines[np.any(boxes[:, 2:] == boxes[:, :2], axis=1)].tolist()
        outside = lines[np.any((boxes < 0) | (boxes > 1), axis=1)].tolist()
        for what, where in (("boxes without area", empty), ("boxes a little outside of their image", outside)):
            if where:
                shown = ", ".join(map(str, where[:5])) + ("…" if len(where) > 5 else "")
                self.limited.findings.notes.append(f"{self.path}: {len(where):,} {what} (lines {shown})")


def _check_masks(
    folder: OpenImages, split: Split, masks: dict[bytes, bytes], images: _Paths, limited: _Limited
) -> None:
    try:
        parts = folder.mask_parts(split)
    except FileNotFoundError as error:
        limited.findings.notes.append(str(error))
        return
    names = np.array(list(masks), dtype="S")
    of_image = np.searchsorted(images.ids, np.array(list(masks.values()), dtype="S"))
    for name, place, row in zip(names.tolist(), locate(names, parts, "").tolist(), of_image.tolist(), strict=True):
        path = parts.path(place, name.decode("ascii"))
        if place < 0:
            limited.report("missing-annotation", f"{path} is missing", path, id=path.stem)
            continue
        try:
            mask = read_mask(path)
        except (ValueError, OSError) as error:
            limited.report("unreadable-mask", str(error), path, id=path.stem)
            continue
        if row == len(images) or images.ids[row] != masks[name]:
            continue  # of an image that is not in the list, which is found on its own
        try:
            size = image_size(images[row])
        except (ValueError, OSError):
            continue  # likewise
        try:
            check_proportion(path, mask.shape, size)
        except ValueError as error:
            limited.report("size-mismatch", str(error), path, id=path.stem)
