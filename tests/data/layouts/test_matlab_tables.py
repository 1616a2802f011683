"""The development kit's table, read as scipy reads it, and from strangers."""

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from visionlab.data.layouts.matlab import read_table

ROWS = [
    (i + 1, f"n{i:08}", f"tench, pâté {i}" if i else "", 2.5 * i, np.arange(i), np.array([[i]], np.int16))
    for i in range(5)
]
KINDS = [(name, "O") for name in ("id", "wnid", "words", "number", "children", "small")]


def saved(variables, **options):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, **options)
    return file.getvalue()


@pytest.fixture
def content():
    return saved({"other": np.eye(3), "synsets": np.array([[row] for row in ROWS], dtype=KINDS)})


def read(content):
    Path("meta.mat").write_bytes(content)
    return read_table(Path("meta.mat"), "synsets")


@pytest.mark.parametrize("packed", [False, True])
def test_reads_what_scipy_reads(packed):
    variables = {"other": np.eye(3), "synsets": np.array([[row] for row in ROWS], dtype=KINDS)}
    content = saved(variables, do_compression=packed)
    rows = read(content)
    theirs = scipy.io.loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
    assert len(rows) == len(theirs) == 5
    for ours, their in zip(rows, theirs, strict=True):
        assert ours["id"] == their["id"]
        assert ours["wnid"] == their["wnid"]
        assert ours["words"] == str(their["words"] if np.size(their["words"]) else "")
        assert ours["number"] == their["number"]
        assert ours["small"] == their["small"]
        assert ours["children"] is None or len(np.atleast_1d(their["children"])) == 1


def test_another_variable_is_an_error(content):
    Path("meta.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"meta\.mat has no array of structures named 'synset'"):
        read_table(Path("meta.mat"), "synset")


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def structures(rows, name=b"synsets", fields=b"id", width=2, cells=b""):
    parts = [element(6, struct.pack("<II", 2, 0)), element(5, struct.pack("<ii", *rows)), element(1, name)]
    parts += [struct.pack("<HHi", 5, 4, width), element(1, fields), cells]
    return element(14, b"".join(parts))


HEAD = b" " * 124 + b"\x00\x01IM"
PACKED = struct.pack("<I", 15)

HOSTILE = {
    "a billion rows": structures((1 << 30, 1)),
    "a negative number of rows": structures((-5, 1)),
    "rows that are not there": structures((10_000, 1)),
    "many fields": structures((1, 1), fields=b"a" * 1_000_000, width=1),
    "fields of no width": structures((1, 1), width=0),
    "an element that is too long": struct.pack("<II", 14, 1 << 31),
    "nonsense": b"\xff" * 5000,
    "small elements": structures((1 << 14, 1), cells=struct.pack("<II", 14, 0) * 1000),
    "a bomb": b"".join(
        PACKED + struct.pack("<I", len(packed)) + packed for packed in [zlib.compress(bytes(1 << 24), 9)] * 100
    ),
    "many bombs": b"".join(
        PACKED + struct.pack("<I", len(packed)) + packed
        for packed in [zlib.compress(element(1, bytes(1 << 20)), 9)] * 500
    ),
    "a damaged archive": PACKED + struct.pack("<I", 8) + b"notzlib!",
    "text that is none": structures(
        (1, 1),
        cells=element(
            14,
            element(6, struct.pack("<II", 4, 0))
            + element(5, struct.pack("<ii", 1, 2))
            + element(1, b"")
            + element(16, b"\xff\xfe"),
        ),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_does_no_harm(name):
    start = time.process_time()
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^meta\.mat (is a damaged MATLAB file|has no array)") as raised:
        read(HEAD + HOSTILE[name])
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert time.process_time() - start < 5
    assert "\n" not in str(raised.value)


def test_a_file_of_another_kind_or_too_large_is_refused(content):
    for wrong in (b"", b"MATLAB", content[:100], content[:126] + b"MI" + content[128:], content + bytes(1 << 23)):
        with pytest.raises(ValueError, match=r"meta\.mat is not a MATLAB file"):
            read(wrong)


def test_a_file_that_is_cut_off_or_changed_is_never_read_as_something_else(content):
    rows = read(content)
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        changed[int(rng.integers(128, len(content)))] ^= 1 << int(rng.integers(8))
        end = len(content) if rng.uniform() < 0.5 else int(rng.integers(128, len(content)))
        try:
            assert len(read(bytes(changed[:end]))) == len(rows)
        except ValueError as error:
            assert str(error).startswith("meta.mat ")  # noqa: PT017  # any other error fails
