import errno
import fcntl
import os
import pickle
import signal
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import in_child, wait_for
from visionlab.cli import main
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


def test_an_array_that_was_cleaned_away_is_told_with_what_to_do(tmp_path):
    save(tmp_path, numbers=np.arange(3))
    (tmp_path / "numbers.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"numbers\.npy is gone: remove .*, and it is built anew"):
        Arrays(tmp_path)["numbers"]


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


def test_of_two_processes_that_want_an_index_at_once_one_builds_it(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("one")

    def build(folder: Path) -> None:
        with (tmp_path / "built").open("a") as file:
            file.write("once\n")
        while len(list(tmp_path.glob("began*"))) < 2:
            os.sched_yield()
        time.sleep(0.3)  # time enough for the other to come
        save(folder, a=np.arange(1000))

    def child() -> int:
        (tmp_path / f"began{os.getpid()}").touch()
        return 0 if open_index("test-1", [source], build)["a"].sum() == 499_500 else 1

    assert [wait_for(child) for child in [in_child(child), in_child(child)]] == [0, 0]
    assert (tmp_path / "built").read_text() == "once\n"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_without_locks_two_processes_build_at_once_and_both_see_a_whole_index(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    source = tmp_path / "source.txt"
    source.write_text("one")

    def build(folder: Path) -> None:
        save(folder, a=np.arange(1000))
        (tmp_path / f"began{os.getpid()}").touch()
        while len(list(tmp_path.glob("began*"))) < 2:
            os.sched_yield()
        save(folder, b=np.arange(1000))

    def child() -> int:
        index = open_index("test-1", [source], build)
        return 0 if index["a"].sum() == index["b"].sum() else 1

    assert [wait_for(child) for child in [in_child(child), in_child(child)]] == [0, 0]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_builder_that_is_killed_blocks_nobody_and_its_remains_go(tmp_path):
    source, cache = tmp_path / "source.txt", tmp_path / "cache"
    source.write_text("one")

    def killed() -> int:
        open_index("test-1", [source], lambda folder: os.kill(os.getpid(), signal.SIGKILL))
        return 0

    assert wait_for(in_child(killed)) == -signal.SIGKILL
    remains = list(cache.iterdir())
    assert len(remains) == 2  # what it was building, and its lock
    for path in remains:
        os.utime(path, (0, time.time() - 25 * 60 * 60))
    fresh = cache / ".building-by-another-process"
    fresh.mkdir()
    index = open_index("test-1", [source], lambda folder: save(folder, a=np.arange(3)))
    assert sorted(cache.iterdir()) == [fresh, index.folder]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o077, 0o700)])
def test_an_index_is_open_to_whom_the_umask_says(tmp_path, mask, mode):
    (tmp_path / "source").touch()
    before = os.umask(mask)
    try:
        index = open_index("test-1", [tmp_path / "source"], lambda folder: save(folder, a=np.arange(3)))
    finally:
        os.umask(before)
    assert stat.S_IMODE(index.folder.stat().st_mode) == mode


def test_an_index_that_another_user_keeps_closed_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    def closed(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(np, "load", closed)  # root may read all files
    with pytest.raises(PermissionError, match=r"a\.npy may not be read.*set VISIONLAB_CACHE to a folder of your own"):
        Arrays(tmp_path)["a"]


def test_a_user_without_a_home_is_told_what_to_set(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("VISIONLAB_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    (tmp_path / "data" / "camvid").mkdir(parents=True)
    assert main(["data", "make", "camvid", "--images", "4"]) == 0
    assert main(["data", "show", "camvid"]) == 2
    err = capsys.readouterr().err
    assert "this user has no home to keep indices in: set VISIONLAB_CACHE to a folder" in err
    assert len(err.splitlines()) == 1


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
