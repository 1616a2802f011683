import collections
import io
import os
import pickle

import numpy as np
import pytest

from visionlab.data.layouts.pickles import read_pickle


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_data_of_any_protocol(tmp_path, protocol):
    content = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), b"labels": [1, 2.5, None, ("a", b"\xff")], "s": {1}}
    if protocol < 4:
        del content["s"]  # a set is built by a call in these
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    got = read_pickle(path)
    np.testing.assert_array_equal(got.pop("data"), content.pop("data"))
    assert got == content


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (Runs(os.system, "touch ran"), "system"),
        (Runs(eval, "open('ran', 'w')"), "eval"),
        (Runs(os.mkdir, "ran"), "mkdir"),
        (Runs(np.load, "ran"), "numpy"),
        (collections.OrderedDict, "OrderedDict"),
        (io.BytesIO, "BytesIO"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_refuses_whatever_is_not_data_and_names_it(tmp_path, evil, name, protocol):
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({"labels": evil}, protocol=protocol))
    with pytest.raises(ValueError, match=rf"data_batch_1 asks to import .*{name}.*refused"):
        read_pickle(path)
    assert not (tmp_path / "ran").exists()


def test_refuses_other_codecs(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(ValueError, match=r"batch asks to import _codecs.encode to rot13"):
        read_pickle(path)


def test_refuses_attributes_of_what_is_allowed(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    with pytest.raises(ValueError, match=r"numpy.ndarray.tofile"):
        read_pickle(path)


def test_a_cut_pickle_is_named(tmp_path):
    whole = pickle.dumps({"data": np.zeros((5, 100), dtype=np.uint8), "labels": [0] * 5}, protocol=2)
    path = tmp_path / "data_batch_3"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="data_batch_3 is not a whole pickle"):
            read_pickle(path)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80\x02}q\x01", b"\x80\x05\x8e" + b"\xff" * 8])
def test_what_is_no_pickle_is_named(tmp_path, content):
    path = tmp_path / "meta"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="meta is not a whole pickle"):
        read_pickle(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_pickle(tmp_path / "none")
