"""Reading pickles that nobody vouches for: data only, never code."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np


def read_pickle(path: Path) -> Any:
    """Read a pickle of numpy arrays, bytes, strings, numbers and plain containers, of any protocol.

    Strings of Python 2 are read as ``bytes``.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the file asks for anything else, which is refused and not run, or is not a whole pickle; the
            message names the file and what it asks for.
    """
    with path.open("rb") as file:
        try:
            return _DataUnpickler(file, encoding="bytes").load()
        except _RefusedError as refused:
            raise ValueError(f"{path} asks to import {refused}, which a file of data has no need of: refused") from None
        except OSError:
            raise
        except Exception as error:  # the documentation of pickle: any exception may be raised for a damaged file
            raise ValueError(f"{path} is not a whole pickle: {error}") from error


class _RefusedError(Exception):
    pass


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
