"""Data sets from someone who means harm: whatever their files hold, no code runs, nothing outside the root is read or
written, and each takes 5 seconds and a gigabyte at most.
"""

import json
import os
import pkgutil
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import in_child, wait_for
from hostile_families import ATTACKS as FAMILY_ATTACKS
from hostile_files import ARCHIVES, ARRAYS, ATTACKS, Place
from visionlab.cli.data import read_card
from visionlab.data.download import extract
from visionlab.data.layouts.camvid import open_split

SECONDS = 5
KILOBYTES = 1_000_000

RUNS_CODE = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn"}
CALLS_OUT = {"socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request"}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    place = Place(tmp_path / "data", tmp_path / "outside", tmp_path / "cache")
    place.outside.mkdir()
    for name in ("secret", "secret.txt", "secret.xml", "secret.png", "secret.jpg"):
        (place.outside / name).write_text(place.secret)
    monkeypatch.setenv("VISIONLAB_CACHE", str(place.cache))
    return place


def survive(place: Place, use: Callable[[], list[str]]) -> list[str]:
    """Use hostile data in a child, make sure that no harm is done, and return what is said."""
    report = place.cache.with_name("report.json")
    before = snapshot(place.outside)

    def child() -> int:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        harm = watch(place)
        said = use()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report.write_text(
            json.dumps(
                {
                    "said": said,
                    "harm": harm,
                    "seconds": usage.ru_utime + usage.ru_stime,
                    "kilobytes": usage.ru_maxrss - peak,
                }
            )
        )
        return 0

    assert wait_for(in_child(child), 30) == 0
    told = json.loads(report.read_text())
    assert told["harm"] == []
    assert told["seconds"] < SECONDS
    assert told["kilobytes"] < KILOBYTES
    assert snapshot(place.outside) == before
    assert not place.canary.exists()
    for line in told["said"]:
        assert place.secret not in line
        assert "\n" not in line
        assert len(line) < 2000
    return told["said"]


def watch(place: Place) -> list[str]:
    """From now on, gather what this process must not do."""
    harm: list[str] = []

    def hook(event: str, arguments: tuple) -> None:
        if event in RUNS_CODE | CALLS_OUT:
            harm.append(f"{event} {arguments}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, mode, flags = arguments
            real = os.path.realpath(os.fsdecode(path))
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "r") & set("wax+")
            allowed = (str(place.cache), str(place.root), str(place.cache.with_name("report.json")), os.devnull)
            if real.startswith((str(place.outside), "/etc/passwd", "/dev/zero")) or (
                writes and not real.startswith(allowed)
            ):
                harm.append(f"open {real} {mode}")

    sys.addaudithook(hook)
    return harm


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_and_read(name: str, root: Path) -> list[str]:
    """Whatever the doctor says of a data set, and whatever is said when all its images are opened to train on."""
    card = read_card(name)
    said = [error.message for error in pkgutil.resolve_name(card.check)(root).errors]
    for class_path in card.data:
        data = pkgutil.resolve_name(class_path)(root=str(root), batch_size=2)
        for split in ("train", "val", "test"):
            try:
                dataset = data.dataset(split)
            except (ValueError, OSError) as error:
                said.append(str(error))
                continue
            for index in range(len(dataset)):
                try:
                    said += [str(value)[:1000].replace("\n", " ") for value in dataset.sample(index).values()]
                except (ValueError, OSError) as error:
                    said.append(str(error))
    return said


@pytest.mark.parametrize(
    "harm",
    [
        lambda place: os.system("true"),
        lambda place: (place.outside / "secret").read_bytes(),
        lambda place: (place.outside / "new").touch(),
        lambda place: place.root.with_name("beside").write_bytes(b""),
        lambda place: b"x" * (1 << 30),
    ],
    ids=["runs", "reads", "makes", "writes", "fills"],
)
def test_harm_is_noticed(place, harm):
    with pytest.raises(AssertionError):
        survive(place, lambda: [str(type(harm(place)))])


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_does_no_harm(place, name):
    place.root.mkdir()
    path = place.root / name
    ARCHIVES[name](path, place)

    def use() -> list[str]:
        try:
            extract(path, place.root)
        except ValueError as error:
            return [str(error)]
        return []

    (said,) = survive(place, use)
    assert str(path) in said
    assert list(place.root.iterdir()) == [path]


@pytest.mark.parametrize("name", ARRAYS)
def test_a_hostile_index_does_no_harm(place, twins, name):
    """An index is this user's own, but on a disk that is full, or shared, it can be anything."""
    shutil.copytree(twins("camvid"), place.root)
    open_split(place.root, "train")
    (index,) = place.cache.iterdir()
    (index / "images_offsets.npy").write_bytes(ARRAYS[name](place))

    def use() -> list[str]:
        said = []
        for read in (len, lambda records: records.path(0)):
            try:
                read(open_split(place.root, "train"))
            except (ValueError, OSError) as error:
                said.append(" ".join(str(error).split()))
        return said

    assert survive(place, use) != []


@pytest.mark.parametrize(
    ("name", "attack"), [*ATTACKS, *FAMILY_ATTACKS], ids=lambda value: getattr(value, "__name__", value)
)
def test_a_hostile_data_set_does_no_harm(place, twins, name, attack):
    shutil.copytree(twins(name), place.root)
    spoiled = attack(place)
    said = survive(place, lambda: check_and_read(name, place.root))
    assert [path for path in spoiled if not any(str(path) in line for line in said)] == []
