"""Reading pickles that nobody vouches for: data only, never code."""

import pickle
import pickletools
from pathlib import Path
from typing import IO, Any

import numpy as np

from visionlab.data.plain import plain_size

MAX_BYTES = 1 << 28
"""Of a file: the largest of CIFAR's has 155 MB."""

MAX_OPCODES = 500_000
"""Instructions in a file: twice as many as CIFAR-100 has in its largest. Each may make an object."""

MAX_COPIED = 1 << 30
"""Bytes that the calls in a file could copy, if each took the longest string or list in it: CIFAR-100's largest file
could 0.8 GB."""

_CALLS = {"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"}


def read_pickle(path: Path) -> Any:
    """Read a pickle of numpy arrays, bytes, strings, numbers and plain containers, of any protocol.

    Strings of Python 2 are read as ``bytes``.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the file asks for anything else, which is refused and not run, is not a whole pickle, is no plain
            file, or could take more memory than any data set of pickles; the message names the file and what it asks
            for.
    """
    plain_size(path, MAX_BYTES)
    with path.open("rb") as file:
        try:
            _check_cost(file)
            file.seek(0)
            return _DataUnpickler(file, encoding="bytes").load()
        except _RefusedError as refused:
            raise ValueError(f"{path} asks to import {refused}, which a file of data has no need of: refused") from None
        except OSError:
            raise
        except Exception as error:  # the documentation of pickle: any exception may be raised for a damaged file
            raise ValueError(f"{path} is not a whole pickle: {error}") from error


class _RefusedError(Exception):
    pass


def _check_cost(file: IO[bytes]) -> None:
    calls = longest = 0
    for opcodes, (opcode, argument, _) in enumerate(pickletools.genops(file), start=1):
        calls += opcode.name in _CALLS
        if isinstance(argument, str | bytes | bytearray):
            longest = max(longest, len(argument))
        if opcodes > MAX_OPCODES or calls * (longest + 8 * opcodes) > MAX_COPIED:
            raise ValueError("it asks for more memory than data of its size could need")


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the protocols of Python 2: a call of ``_codecs.encode``."""
    if encoding != "latin1":
        raise _RefusedError(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}
for _core in ("numpy.core", "numpy._core"):  # the names before and since numpy 2
    _ALLOWED[_core + ".multiarray", "_reconstruct"] = np.empty(0).__reduce__()[0]
    _ALLOWED[_core + ".numeric", "_frombuffer"] = np.empty(0).__reduce_ex__(5)[0]


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return _ALLOWED[module, name]
