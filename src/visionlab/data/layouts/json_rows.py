"""Lists of objects in a JSON file, read without trust: checked by columns, and their defects reported one by one."""

import gc
import json
import reprlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.data.plain import plain_size

MAX_BYTES = 1 << 33
"""Of a file, which takes several times as much memory once: COCO's largest has 0.5 GB, LVIS' 1.1, Objects365's 6."""

HOLE = bytes(16)
"""What no text has, in whatever encoding, but the holes of a file that takes no room on the disk."""

Row = dict[str, Any]

Report = Callable[[str, str, str | None], None]
"""Is told the kind of a defect, a line about it, and the id of the row."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which goes over a large document again and again as lists are made of it, takes
    half of the time, and finds nothing.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def read_json(path: Path) -> Row:
    """Read a file that holds an object. Of a key that is given twice the last counts, as with every reader.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it holds anything else; the message names it, and the line.
    """
    plain_size(path, MAX_BYTES)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if HOLE in block:
                raise ValueError(f"{path} is not JSON: it holds bytes of zero")
    try:
        document = json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError(f"{path} is not read: it is nested too deeply") from None
    except ValueError as error:  # of the syntax, of UTF-8, or a number of thousands of digits
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds {shown(document)}, not an object")
    return document


class Rows:
    """One of the lists of a file, from which rows that are wrong are left out, and reported.

    Args:
        path: of the file.
        document: its content.
        key: of the list.
        noun: what a row is, for messages.
        report: is told of each row that is left out.

    Raises:
        ValueError: if there is no such list.
    """

    def __init__(self, path: Path, document: Row, key: str, noun: str, report: Report) -> None:
        self.path, self.noun, self.report = path, noun, report
        rows = document.get(key)
        if not isinstance(rows, list):
            raise ValueError(f"{path} has no list {key!r}; it has {', '.join(map(shown, list(document)[:9]))}")
        self._rows: list[Row] = rows
        self._columns: dict[str, list[Any]] = {}
        if not set(map(type, rows)) <= {dict}:
            self._rows = [row for row in rows if isinstance(row, dict)]
            for at, row in enumerate(rows):
                if not isinstance(row, dict):
                    report("malformed-file", f"{path}, {key}[{at}] is {shown(row)}, not an object", None)

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, key: str) -> list[Any]:
        """The value of each row that is left, None where it is absent."""
        if key not in self._columns:
            self._columns[key] = [row.get(key) for row in self._rows]
        return self._columns[key]

    def integers(self, key: str) -> npt.NDArray[np.int64]:
        """A column that was required to be integers."""
        return np.array(self.column(key), np.int64)

    def require(self, key: str, have: Callable[[list[Any]], bool], expected: str, kind: str) -> None:
        """Keep the rows whose value has a form.

        Args:
            key: of the value, which is None where it is absent.
            have: whether all of some values have the form: it is asked about all at once, and if not, about each.
            expected: the form, in words.
            kind: of the defect.
        """
        values = self.column(key)
        if not have(values):
            wrong = np.array([not have([value]) for value in values])
            self.leave_out(wrong, lambda i: f"{key} is {shown(values[i])}, not {expected}", kind)

    def leave_out(self, wrong: npt.NDArray[np.bool_], why: Callable[[int], str], kind: str) -> None:
        """Leave out rows.

        Args:
            wrong: ``(n,)``, which.
            why: of a position, in words.
            kind: of the defect.
        """
        if wrong.any():
            for i in np.flatnonzero(wrong).tolist():
                id = shown(self._rows[i].get("id"))
                self.report(kind, f"{self.path}, {self.noun} {id}: {why(i)}", id)
            self._rows = [row for row, bad in zip(self._rows, wrong.tolist(), strict=True) if not bad]
            self._columns = {}

    def sort(self) -> None:
        """Put the rows in the order of their ``id``."""
        self._rows = [self._rows[i] for i in np.argsort(self.integers("id")).tolist()]
        self._columns = {}

    def leave_out_repeated(self) -> None:
        """Leave out rows whose ``id`` an earlier row has."""
        ids = self.integers("id")
        repeated = np.ones(len(ids), np.bool_)
        repeated[np.unique(ids, return_index=True)[1]] = False
        self.leave_out(repeated, lambda i: "another before it has the same id", "duplicate-id")


def shown(value: Any) -> str:
    """A value for a message: one short line, whatever it is."""
    return reprlib.repr(value)


def are_integers(values: list[Any]) -> bool:
    """Whether all are integers of 64 bits."""
    return set(map(type, values)) <= {int} and (not values or (min(values) >= -(2**63) and max(values) < 2**63))


def are_names(values: list[Any]) -> bool:
    """Whether all are strings, none of them empty, which UTF-8 can hold."""
    return set(map(type, values)) <= {str} and "" not in values and _is_unicode("".join(values))


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether all are numbers, finite or not."""
    return set(map(type, values)) <= {int, float}


def are_lists(values: list[Any]) -> bool:
    """Whether all are lists."""
    return set(map(type, values)) <= {list}


def joined(lists: Iterable[list[Any]]) -> Iterable[Any]:
    """The elements of all lists, in order."""
    return chain.from_iterable(lists)


def floats(lists: Sequence[list[float]]) -> npt.NDArray[np.float64]:
    """``(n,)``, the numbers of all lists, in order; integers beyond the range of floats are infinite, as ``1e999``
    is.
    """
    try:
        return np.array(array("d", joined(lists)))  # a third of the time that numpy takes for a list
    except OverflowError:
        return np.array([float(value) if abs(value) < 1 << 1023 else np.inf for value in joined(lists)])
