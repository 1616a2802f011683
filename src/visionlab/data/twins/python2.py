"""Pickles as Python 2 wrote them, in which the CIFAR archives are.

Python 3 cannot write these: it has no strings that are bytes. Readers of the archives rely on them: with
``encoding="latin1"`` keys are strings, with ``encoding="bytes"`` they are bytes, and both are in use.
"""

import pickle
import struct

import numpy as np
import numpy.typing as npt

Picklable = dict[bytes, "Picklable"] | list["Picklable"] | bytes | int | npt.NDArray[np.uint8]


def pickle_python2(value: Picklable) -> bytes:
    """Pickle nested dicts, lists, byte strings, integers below 2**31 and arrays of ``uint8`` by protocol 2."""
    return pickle.PROTO + b"\x02" + _encoded(value) + pickle.STOP


def _encoded(value: Picklable) -> bytes:
    match value:
        case dict():
            items = b"".join(_encoded(key) + _encoded(entry) for key, entry in value.items())
            return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
        case list():
            return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(_encoded, value)) + pickle.APPENDS
        case bytes():
            return pickle.BINSTRING + struct.pack("<i", len(value)) + value
        case int():
            return pickle.BININT + struct.pack("<i", value)
        case np.ndarray():
            return _encoded_array(value)


def _encoded_array(array: npt.NDArray[np.uint8]) -> bytes:
    """An empty array and a call of its ``__setstate__`` with (version, shape, type, Fortran order, bytes)."""
    ndarray, dtype, reconstruct = (
        pickle.GLOBAL + name + b"\n"
        for name in (b"numpy\nndarray", b"numpy\ndtype", b"numpy.core.multiarray\n_reconstruct")
    )
    empty = reconstruct + ndarray + _encoded(0) + pickle.TUPLE1 + _encoded(b"b") + pickle.TUPLE3 + pickle.REDUCE
    uint8 = dtype + _encoded(b"u1") + _encoded(0) + _encoded(1) + pickle.TUPLE3 + pickle.REDUCE
    shape = pickle.MARK + b"".join(map(_encoded, array.shape)) + pickle.TUPLE
    state = _encoded(1) + shape + uint8 + pickle.NEWFALSE + _encoded(array.tobytes())
    return empty + pickle.MARK + state + pickle.TUPLE + pickle.BUILD
