import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from conftest import in_child, wait_for
from visionlab.data.packed import Arrays, offsets_of, open_index, save, save_strings


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "cache"))


def test_arrays_and_strings_come_back(tmp_path):
    save(tmp_path, numbers=np.arange(6).reshape(3, 2), none=np.zeros((0, 4)), starts=np.array([0, 2, 2, 3]))
    save_strings(tmp_path, "names", ["a", "", "Straße", "日本"])
    arrays = pickle.loads(pickle.dumps(Arrays(tmp_path)))
    assert arrays["numbers"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert arrays["none"].shape == (0, 4)
    assert arrays.texts("names") == ["a", "", "Straße", "日本"]
    assert [len(arrays.rows("numbers", i, "starts")) for i in range(3)] == [2, 0, 1]


def test_no_strings_at_all_come_back(tmp_path):
    save_strings(tmp_path, "names", [])
    assert Arrays(tmp_path).texts("names") == []


def test_arrays_are_mapped_and_not_written_to(tmp_path):
    save(tmp_path, numbers=np.arange(3))
    numbers = Arrays(tmp_path)["numbers"]
    assert isinstance(numbers, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        numbers[0] = 5


def test_offsets_of_groups():
    assert offsets_of(np.array([0, 0, 2, 3]), 5).tolist() == [0, 2, 2, 3, 4, 4]
    assert offsets_of(np.zeros(0, dtype=np.int64), 2).tolist() == [0, 0, 0]


def test_an_index_is_built_once_and_again_when_a_source_changes(tmp_path):
    source, built = tmp_path / "source.txt", []
    source.write_text("one")

    def build(folder: Path) -> None:
        built.append(source.read_text())
        save(folder, length=np.array([len(source.read_text())]))

    assert [open_index("test-1", [source], build)["length"][0] for _ in range(3)] == [3, 3, 3]
    source.write_text("three")
    assert open_index("test-1", [source], build)["length"][0] == 5
    assert open_index("test-2", [source], build)["length"][0] == 5
    assert built == ["one", "three", "three"]


def test_an_index_whose_building_fails_is_not_kept(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("one")

    def fail(folder: Path) -> None:
        save(folder, part=np.zeros(1))
        raise ValueError("line 7")

    with pytest.raises(ValueError, match="line 7"):
        open_index("test-1", [source], fail)
    assert list((tmp_path / "cache").iterdir()) == []


def test_of_two_processes_that_build_at_once_both_see_a_whole_index(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("one")

    def build(folder: Path) -> None:
        save(folder, a=np.arange(1000))
        while len(list(folder.parent.iterdir())) < 2 and not (tmp_path / "both").exists():
            os.sched_yield()  # until the other has begun
        (tmp_path / "both").touch()
        save(folder, b=np.arange(1000))

    def child() -> int:
        index = open_index("test-1", [source], build)
        return 0 if index["a"].sum() == index["b"].sum() else 1

    assert [wait_for(child) for child in [in_child(child), in_child(child)]] == [0, 0]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="set VISIONLAB_CACHE"):
        open_index("test-1", [tmp_path / "file"], lambda folder: None)


def test_the_cache_follows_the_desktop_convention(tmp_path, monkeypatch):
    monkeypatch.delenv("VISIONLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "source").touch()
    index = open_index("test-1", [tmp_path / "source"], lambda folder: None)
    assert index.folder.parent == tmp_path / "xdg" / "visionlab"
