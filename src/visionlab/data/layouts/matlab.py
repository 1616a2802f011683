"""The one table of ImageNet's development kit: an array of structures in a MATLAB file of level 5, from anyone.

scipy's reader allocates what a file says that it holds, before it looks whether it does. This one reads text and
numbers alone, and allocates no more than it finds (MATLAB, "MAT-File Format", level 5).
"""

import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 1 << 23
"""Of a file, and of all that is unpacked from it: several times what 1,860 classes and their definitions need."""

MAX_ROWS, MAX_FIELDS = 1 << 14, 32

_MATRIX, _PACKED = 14, 15
_STRUCTURES, _TEXT = 2, 4
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "<i2",
    4: "<u2",
    5: "<i4",
    6: "<u4",
    7: "<f4",
    9: "<f8",
    12: "<i8",
    13: "<u8",
    16: "u1",
}


def read_table(path: Path, variable: str) -> list[dict[str, Any]]:
    """Read an array of structures.

    Args:
        path: a little-endian file of at most 8 MiB, as MATLAB has written them since version 5.
        variable: the name of the array.

    Returns:
        A row for each structure, in order: its text as ``str``, single numbers as ``float``, all else as None.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is anything else; the message names the file.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES or data[124:128] != b"\x00\x01IM":
        raise ValueError(f"{path} is not a MATLAB file of level 5 and at most {MAX_BYTES:,} bytes")
    left = MAX_BYTES
    try:
        for kind, content, _ in _elements(memoryview(data)[128:]):
            if kind == _PACKED:
                unpacked = zlib.decompressobj().decompress(content, left)
                left -= len(unpacked)
                if left < 1:
                    raise ValueError("too much is packed")
                kind, content, _ = next(_elements(memoryview(unpacked)))
            if kind == _MATRIX and (rows := _table(content, variable)) is not None:
                return rows
    except (struct.error, zlib.error, StopIteration, UnicodeDecodeError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path} is a damaged MATLAB file ({type(error).__name__})") from error
    raise ValueError(f"{path} has no array of structures named {variable!r}")


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """The elements that ``data`` holds: kind, content, and what follows."""
    while len(data) >= 8:
        kind, size = struct.unpack_from("<II", data)
        if kind >> 16:  # a small element has its size beside its kind, and at most 4 bytes
            kind, size, start, end = kind & 0xFFFF, kind >> 16, 4, 8
        else:
            start, end = 8, 8 + (size if kind == _PACKED else -(-size // 8) * 8)
        if start + size > len(data) or (start == 4 and size > 4):
            raise ValueError("an element is longer than what holds it")
        yield kind, data[start : start + size], data[end:]
        data = data[end:]


def _table(content: memoryview, variable: str) -> list[dict[str, Any]] | None:
    """The rows of a matrix, if it has that name and holds structures."""
    elements = _elements(content)
    (_, flags, _), (_, shape, _), (_, name, _) = next(elements), next(elements), next(elements)
    if bytes(name).decode() != variable or flags[0] != _STRUCTURES:
        return None
    (_, length, _), (_, fields, rest) = next(elements), next(elements)
    width = int.from_bytes(length, "little")
    if len(fields) > MAX_FIELDS * 64:
        raise ValueError("too many fields")
    names = [bytes(fields[at : at + width]).rstrip(b"\0").decode() for at in range(0, len(fields), width)]
    count = 1
    for size in np.frombuffer(shape, "<i4").tolist():
        count *= size
    if not 0 <= count <= MAX_ROWS or not 0 < len(names) <= MAX_FIELDS:
        raise ValueError("too many rows")
    cells = _elements(rest)
    return [{name: _value(next(cells)[1]) for name in names} for _ in range(count)]


def _value(content: memoryview) -> Any:
    """Text, a number, or None for all else."""
    elements = list(itertools.islice(_elements(content), 4))
    if len(elements) < 4:
        return None  # an empty matrix
    (_, flags, _), _, _, (kind, data, _) = elements
    if flags[0] == _TEXT:
        return bytes(data).decode("utf-16-le" if kind in (4, 17) else "utf-8")
    if flags[0] > _TEXT + 1 and kind in _NUMBERS:
        numbers = np.frombuffer(data, _NUMBERS[kind])
        return float(numbers[0]) if len(numbers) == 1 else None
    return None
