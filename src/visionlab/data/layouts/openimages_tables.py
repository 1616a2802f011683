"""The tables of Open Images: CSV files of up to 60 million rows, read in pieces and packed by image.

Columns are found by their names in the header (https://storage.googleapis.com/openimages/web/download_v7.html): their
number differs between the versions, and between the splits of one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, Protocol, TextIO

import numpy as np
import numpy.typing as npt

from visionlab.data.packed import save

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
Rows = tuple[Array, npt.NDArray[np.int64], dict[str, Array]]
"""A piece of a table: ``(n,)`` image ids, ``(n,)`` line numbers, and columns with a row each."""

PIECE = 1 << 14
"""Lines that are read at a time."""

ID = re.compile(rb"[0-9A-Za-z_-]{1,64}")
"""The ids of images: 16 hexadecimal digits in the official files. They become names of files."""

MID = re.compile(r"/[a-z]/[0-9a-z_]{1,32}")
"""The ids of classes."""

MASK = re.compile(rb"[0-9A-Za-z_-]{1,120}\.png")

FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
"""What is said about a box, 1 for yes, 0 for no and -1 for unknown: packed into a byte as digits of base 3, the first
lowest, each with 1 added."""

FAR_OUTSIDE = 0.01
"""Normalised coordinates further than this outside of [0, 1] are no rounding: they are in another unit."""


class Report(Protocol):
    """Takes what is wrong: :meth:`visionlab.data.layouts.findings.Findings.error`, or :func:`refuse`."""

    def __call__(
        self, kind: str, message: str, file: Path, *, line: int | None = None, id: str | None = None
    ) -> object: ...


def refuse(kind: str, message: str, file: Path, *, line: int | None = None, id: str | None = None) -> NoReturn:
    """Raise ValueError for the first thing that is wrong."""
    raise ValueError(message)


def flag(flags: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.int8]:
    """One of :data:`FLAGS` out of packed bytes: 1, 0, or -1 for unknown."""
    digits: npt.NDArray[np.int8] = (flags // 3 ** FLAGS.index(name) % 3).astype(np.int8)
    return digits - np.int8(1)


def read_boxes(path: Path, classes: Sequence[str], report: Report) -> Iterator[Rows]:
    """Read a table of boxes: ``labels`` int16, ``boxes`` ``(n, 4)`` float64 (left, top, right and bottom, normalised,
    the file's own numbers) and ``flags`` uint8.

    Args:
        path: ``*-annotations-bbox.csv``; the columns of :data:`FLAGS` may be absent, which means unknown.
        classes: by label.
        report: takes what is wrong; the row is left out.
    """
    index = {name.encode(): label for label, name in enumerate(classes)}
    sides = ("XMin", "YMin", "XMax", "YMax")
    columns = {"ImageID": "S65", "LabelName": "S40", **dict.fromkeys(sides, "f8")}
    for lines, rows in read_table(path, columns, dict.fromkeys(FLAGS, "i1"), report):
        labels = _labels(rows["LabelName"], index)
        boxes = np.stack([rows[side] for side in sides], axis=1)
        values = np.stack([rows[name] if name in rows else np.full(len(lines), -1, np.int8) for name in FLAGS], axis=1)
        wrong = _Wrong(path, lines, rows["ImageID"], report)
        wrong.add("unknown-category", labels < 0, "unknown class {}", rows["LabelName"])
        _check_boxes(boxes, wrong)
        flawed = (np.abs(values) > 1).any(axis=1)
        wrong.add("malformed-file", flawed, "a flag is none of -1, 0 and 1: {}", values)
        flags = ((values + 1) * 3 ** np.arange(len(FLAGS))).sum(axis=1).astype(np.uint8)
        yield wrong.rest({"labels": labels, "boxes": boxes, "flags": flags})


def read_labels(path: Path, classes: Sequence[str], report: Report) -> Iterator[Rows]:
    """Read a table of image labels that people verified: ``labels`` int16 and ``positive`` bool.

    Args:
        path: ``*-annotations-human-imagelabels*.csv``.
        classes: by label.
        report: takes what is wrong; the row is left out.
    """
    index = {name.encode(): label for label, name in enumerate(classes)}
    columns = {"ImageID": "S65", "LabelName": "S40", "Confidence": "f8"}
    for lines, rows in read_table(path, columns, {}, report):
        labels, confidence = _labels(rows["LabelName"], index), rows["Confidence"]
        wrong = _Wrong(path, lines, rows["ImageID"], report)
        wrong.add("unknown-category", labels < 0, "unknown class {}", rows["LabelName"])
        wrong.add("malformed-file", (confidence != 0) & (confidence != 1), "{} is not 0 or 1", confidence)
        yield wrong.rest({"labels": labels, "positive": confidence == 1})


def read_masks(path: Path, classes: Sequence[str], report: Report) -> Iterator[Rows]:
    """Read a table of masks: ``labels`` int16, ``boxes`` as :func:`read_boxes` gives them, and ``masks``, file names.

    Args:
        path: ``*-annotations-object-segmentation.csv``.
        classes: by label.
        report: takes what is wrong; the row is left out.
    """
    index = {name.encode(): label for label, name in enumerate(classes)}
    sides = ("BoxXMin", "BoxYMin", "BoxXMax", "BoxYMax")
    columns = {"MaskPath": "S128", "ImageID": "S65", "LabelName": "S40", **dict.fromkeys(sides, "f8")}
    for lines, rows in read_table(path, columns, {}, report):
        labels = _labels(rows["LabelName"], index)
        boxes = np.stack([rows[side] for side in sides], axis=1)
        names = rows["MaskPath"]
        odd = np.array([MASK.fullmatch(name) is None for name in names.tolist()], dtype=np.bool_)
        wrong = _Wrong(path, lines, rows["ImageID"], report)
        wrong.add("path-outside-root", odd, "{} is not the plain name of a PNG", names)
        wrong.add("unknown-category", labels < 0, "unknown class {}", rows["LabelName"])
        _check_boxes(boxes, wrong)
        yield wrong.rest({"labels": labels, "boxes": boxes, "masks": names})


def read_relationships(path: Path, report: Report) -> Iterator[Rows]:
    """Read a table of visual relationships: ``first`` and ``second``, ids of classes or (the second) of attributes,
    ``relation``, its name, and ``first_boxes`` and ``second_boxes`` as :func:`read_boxes` gives them.

    Args:
        path: ``*-annotations-vrd.csv``.
        report: takes what is wrong; the row is left out.
    """
    sides = [[f"{side}{i}" for side in ("XMin", "YMin", "XMax", "YMax")] for i in (1, 2)]
    with path.open(encoding="utf-8") as file:
        new = "RelationshipLabel" in file.readline(1 << 16)  # the challenge of 2018 wrote RelationLabel
    relation = "RelationshipLabel" if new else "RelationLabel"
    texts = {"ImageID": "S65", "LabelName1": "S40", "LabelName2": "S40", relation: "S64"}
    for lines, rows in read_table(path, {**texts, **dict.fromkeys(sides[0] + sides[1], "f8")}, {}, report):
        boxes = [np.stack([rows[name] for name in names], axis=1) for names in sides]
        wrong = _Wrong(path, lines, rows["ImageID"], report)
        for one in boxes:
            _check_boxes(one, wrong)
        yield wrong.rest(
            {
                "first": rows["LabelName1"],
                "second": rows["LabelName2"],
                "relation": rows[relation],
                "first_boxes": boxes[0],
                "second_boxes": boxes[1],
            }
        )


def read_table(
    path: Path, columns: dict[str, str], optional: dict[str, str], report: Report
) -> Iterator[tuple[npt.NDArray[np.int64], dict[str, Array]]]:
    """Read some columns of a table without quoting, in pieces.

    Args:
        path: a CSV file with a header.
        columns: the dtype of each that there must be. Texts have one character more than is allowed.
        optional: likewise of those that may be absent.
        report: takes what is wrong; the row is left out.

    Yields:
        The line number of each row, from 1, and its columns.

    Raises:
        ValueError: if a column is absent, or the file is not UTF-8.
    """
    with path.open(encoding="utf-8") as file:
        try:
            header = file.readline(1 << 16).rstrip("\n").split(",")
            for name in columns:
                if header.count(name) != 1:
                    raise ValueError(f"{path}, line 1: no column {name}; there are {', '.join(header)[:200]}")
            wanted = {**columns, **{name: kind for name, kind in optional.items() if name in header}}
            dtype = np.dtype(list(wanted.items()))
            places = [header.index(name) for name in wanted]
            first = 2
            while lines := _lines(file, path, first):
                yield _parsed(lines, first, dtype, places, len(header), path, report)
                first += len(lines)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8: {error}") from error


def _lines(file: TextIO, path: Path, first: int) -> list[str]:
    """The next lines, none of which may be long: a file without an end of line would fill the memory."""
    lines: list[str] = []
    for text in islice(iter(lambda: file.readline(1 << 16), ""), PIECE):
        if len(text) >= 1 << 16:
            raise ValueError(f"{path}, line {first + len(lines)}: longer than {1 << 16} characters")
        lines.append(text)
    return lines


def _parsed(
    lines: list[str], first: int, dtype: np.dtype[Any], places: list[int], width: int, path: Path, report: Report
) -> tuple[npt.NDArray[np.int64], dict[str, Array]]:
    numbers = np.arange(first, first + len(lines))
    rows = _converted(lines, dtype, places, width)
    if isinstance(rows, str):
        parsed = [_converted([line], dtype, places, width) for line in lines]
        good = np.array([not isinstance(row, str) for row in parsed], dtype=np.bool_)
        for number, line, row in zip(numbers.tolist(), lines, parsed, strict=True):
            if isinstance(row, str) and line.strip():
                report("malformed-file", f"{path}, line {number}: {row}", path, line=number)
        numbers = numbers[good]
        kept = [row for row in parsed if not isinstance(row, str)]
        rows = np.concatenate([np.empty(0, dtype), *kept])
    return numbers, {name: rows[name] for name in dtype.names or ()}


def _converted(lines: list[str], dtype: np.dtype[Any], places: list[int], width: int) -> Array | str:
    """The columns of some lines, or what is wrong with them."""
    for line in lines:
        if line.count(",") != width - 1:
            return f"{line.count(',') + 1} fields, not {width} as in the header"
    try:
        rows: Array = np.loadtxt(lines, dtype, delimiter=",", comments=None, usecols=places, ndmin=1)
    except ValueError as error:
        return str(error).partition(" at row")[0]
    if len(rows) != len(lines):
        return "an empty line"
    for name in dtype.names or ():
        if dtype[name].kind == "S" and (np.char.str_len(rows[name]) == dtype[name].itemsize).any():
            return f"{name} is longer than {dtype[name].itemsize - 1} characters"
    return rows


class _Wrong:
    """Reports the rows of a piece that are wrong, each once, and leaves them out."""

    def __init__(self, path: Path, lines: npt.NDArray[np.int64], ids: Array, report: Report) -> None:
        self.path, self.lines, self.ids, self.report = path, lines, ids, report
        self.good: BoolArray = np.ones(len(lines), dtype=np.bool_)
        starts = _begins(ids)
        flawed = [i for i, one in zip(starts.tolist(), ids[starts].tolist(), strict=True) if not ID.fullmatch(one)]
        if flawed:
            bad = np.isin(ids, ids[flawed])
            self.add("path-outside-root", bad, "{} is not an image id", ids)

    def add(self, kind: str, bad: BoolArray, says: str, values: Array) -> None:
        """Report the rows that are ``bad`` and were not before; ``says`` has a place for the value of the row."""
        for i in np.flatnonzero(bad & self.good).tolist():
            line, name = int(self.lines[i]), _text(self.ids[i])
            message = f"{self.path}, line {line}, image {name!r}: {says.format(_shown(values[i]))}"
            self.report(kind, message, self.path, line=line, id=name)
        self.good &= ~bad

    def rest(self, columns: dict[str, Array]) -> Rows:
        if self.good.all():
            return self.ids, self.lines, columns
        return self.ids[self.good], self.lines[self.good], {name: one[self.good] for name, one in columns.items()}


def _check_boxes(boxes: npt.NDArray[np.float64], wrong: _Wrong) -> None:
    """A box of no width or height is kept: the official tables have such."""
    says = "the box {} (left, top, right, bottom) is "
    with np.errstate(invalid="ignore"):
        wrong.add("box-nan", np.any(~np.isfinite(boxes), axis=1), says + "not finite", boxes)
        wrong.add("box-inverted", np.any(boxes[:, 2:] < boxes[:, :2], axis=1), says + "inverted", boxes)
        outside = (boxes < -FAR_OUTSIDE) | (boxes > 1 + FAR_OUTSIDE)
        wrong.add("box-outside", np.any(outside, axis=1), says + "not normalised to [0, 1]", boxes)


def _labels(names: Array, index: dict[bytes, int]) -> npt.NDArray[np.int16]:
    return np.array([index.get(name, -1) for name in names.tolist()], dtype=np.int16)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")[:80]


def _shown(value: Any) -> str:
    return repr(_text(value)) if isinstance(value, bytes) else str(value.tolist())


def pack(folder: Path, table: Iterable[Rows], path: Path, known: Array | None, report: Report) -> None:
    """Write a table by image: ``ids``, sorted, ``offsets`` into the other columns, and those under their names.

    Args:
        folder: of the arrays, for :class:`visionlab.data.packed.Arrays`.
        table: the pieces.
        path: of the table.
        known: all images that there are, sorted, at least one; those of the table if None.
        report: takes images that are not known; their rows are left out.
    """
    starts, lengths, columns = _collected(table, path, known, report)
    ids = np.unique(starts) if known is None else known
    image = np.searchsorted(ids, starts)
    save(folder, ids=ids)
    rows_per_image = np.zeros(len(ids), np.int64)
    np.add.at(rows_per_image, image, lengths)
    save(folder, offsets=np.concatenate([[0], np.cumsum(rows_per_image)]))
    order = None
    if (np.diff(image) <= 0).any():  # the official tables are sorted
        order = np.argsort(np.repeat(image.astype(np.int32), lengths), kind="stable")
    for name in list(columns):
        pieces = columns.pop(name)
        whole = np.concatenate(pieces)
        del pieces
        save(folder, **{name: whole if order is None else whole[order]})


def _collected(
    table: Iterable[Rows], path: Path, known: Array | None, report: Report
) -> tuple[Array, npt.NDArray[np.int64], dict[str, list[Array]]]:
    """The image and the length of each run of rows with one image, and the pieces of the columns."""
    starts: list[Array] = [np.empty(0, "S1")]
    lengths: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    columns: dict[str, list[Array]] = {}
    for ids, lines, values in table:
        begins = _begins(ids)
        if known is not None:
            strange = known[np.searchsorted(known, ids[begins]).clip(max=len(known) - 1)] != ids[begins]
            wrong = _Wrong(path, lines, ids, report)
            everywhere = np.repeat(strange, np.diff(np.append(begins, len(ids))))
            wrong.add("unknown-image", everywhere, "{} is not in the list of images of the split", ids)
            ids, lines, values = wrong.rest(values)
            begins = _begins(ids)
        starts.append(_narrow(ids[begins]))
        lengths.append(np.diff(np.append(begins, len(ids))))
        for name, value in values.items():
            columns.setdefault(name, []).append(_narrow(value) if value.dtype.kind == "S" else value)
    return np.concatenate(starts), np.concatenate(lengths), columns


def _begins(ids: Array) -> npt.NDArray[np.int64]:
    """Where the runs of equal ids begin."""
    return np.flatnonzero(np.concatenate([np.ones(min(len(ids), 1), np.bool_), ids[1:] != ids[:-1]]))


def _narrow(texts: Array) -> Array:
    """Texts in no more bytes each than the longest needs."""
    return texts.astype(f"S{max(int(np.char.str_len(texts).max(initial=1)), 1)}")
