import json
import pkgutil
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from visionlab.cli import main
from visionlab.cli.data import names, read_card
from visionlab.data.base import DataModule

README = Path(__file__).parents[2] / "data" / "README.md"
IN_MEMORY = ["cifar10", "cifar100", "fashionmnist", "mnist"]


def run(capsys, *words: object) -> tuple[int, str, str]:
    status = main(["data", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_lists_every_card(capsys):
    status, out, _ = run(capsys, "list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == names()
    assert set(names()) >= {"cifar10", "cifar100", "digits", "fashionmnist", "mnist"}


@pytest.mark.parametrize("name", names())
def test_tells_what_a_data_set_is(capsys, name):
    status, out, _ = run(capsys, "info", name)
    card = read_card(name)
    assert status == 0
    for part in (card.title, card.authors, card.licence, *card.data, card.layout.splitlines()[0], str(card.year)):
        assert part in out


@pytest.mark.parametrize("name", names())
def test_a_card_is_true_to_the_code(name):
    card = read_card(name)
    parser = ArgumentParser()
    parser.add_subclass_arguments(DataModule, "data")
    init_args = {"batch_size": 4} | ({} if name == "digits" else {"root": "none"})
    for class_path in card.data:
        parsed = parser.parse_object({"data": {"class_path": class_path, "init_args": init_args}})
        data = parser.instantiate(parsed).data
        if name in (*IN_MEMORY, "digits"):  # others may read their classes from the root
            assert data.num_classes == card.classes
    for path in (card.check, card.make, card.download):
        assert path is None or callable(pkgutil.resolve_name(path))


@pytest.mark.parametrize("name", IN_MEMORY)
def test_makes_twins_that_check_finds_good(capsys, tmp_path, name):
    root = tmp_path / "deep" / name
    classes = read_card(name).classes
    status, out, _ = run(capsys, "make", name, "--root", root, "--images", 3 * classes, "--seed", 1)
    assert status == 0
    assert str(root) in out
    status, out, _ = run(capsys, "check", name, "--root", root)
    assert status == 0
    lines = out.splitlines()
    assert lines[-1] == "ok"
    assert f"train: {3 * classes} images, 3 to 3 a class" in lines
    assert any(line.startswith("note: ") and "not the official bytes" in line for line in lines)


@pytest.mark.parametrize("name", IN_MEMORY)
def test_the_root_has_a_default(capsys, name):
    assert run(capsys, "make", name, "--images", 200)[0] == 0
    assert Path("data", name).is_dir()
    assert run(capsys, "check", name)[0] == 0


@pytest.mark.parametrize("name", IN_MEMORY)
def test_names_each_wrong_file(capsys, tmp_path, name):
    run(capsys, "make", name, "--root", tmp_path, "--images", 200)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    files[0].unlink()
    files[-1].write_bytes(files[-1].read_bytes()[:-50])
    status, out, _ = run(capsys, "check", name, "--root", tmp_path)
    lines = out.splitlines()
    assert status == 2
    assert [line for line in lines if str(files[0]) in line and "missing" in line and "visionlab data " in line]
    assert [line for line in lines if str(files[-1]) in line and "missing" not in line and not line.startswith("note")]
    assert lines[-1] == "2 wrong: missing-file 1, damaged-file 1"


def test_checks_the_digits_which_have_no_files(capsys):
    status, out, _ = run(capsys, "check", "digits")
    assert status == 0
    assert "all: 1,797 images, 174 to 183 a class" in out


@pytest.mark.parametrize("command", ["make", "download"])
def test_the_digits_need_nothing(capsys, command):
    status, _, err = run(capsys, command, "digits")
    assert status == 2
    assert f"digits has nothing to {command}: it ships inside scikit-learn" in err


def test_checks_real_files(capsys, shared_data):
    status, out, _ = run(capsys, "check", "cifar10", "--root", shared_data / "cifar10")
    assert status == 0
    assert "train: 3,660 images, 339 to 395 a class" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "cifr10"), "there is no data set 'cifr10'; did you mean 'cifar10'?"),
        (("info", "MNIST"), "did you mean 'mnist'?"),
        (("check", "fashion-mnist"), "did you mean 'fashionmnist'?"),
        (("make", "cifar10", "--images", "5"), "5 training images are too few for 10 classes: give at least 20"),
    ],
)
def test_mistakes_are_one_line(capsys, words, message):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_replaces_no_data(capsys, tmp_path):
    assert run(capsys, "make", "mnist", "--root", tmp_path)[0] == 0
    status, _, err = run(capsys, "make", "mnist", "--root", tmp_path, "--seed", 1)
    assert status == 2
    assert "is there already" in err


@pytest.mark.parametrize(
    "words", [["list"], ["info", "cifar10"], ["make", "mnist", "--images", "20"], ["check", "mnist"]]
)
def test_starts_at_once_without_torch(words, tmp_path):
    program = (
        "import json, sys\n"
        "from visionlab.cli import main\n"
        f"status = main(['data', *{words!r}])\n"
        "print(json.dumps([status, [m for m in ('torch', 'lightning', 'albumentations') if m in sys.modules]]))\n"
    )
    if words[0] == "check":
        main(["data", "make", "mnist", "--images", "20"])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(result.stdout.splitlines()[-1]) == [0, []]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < (0.5 if words[0] in ("list", "info") else 1)  # 0.1 and 0.4 where this was written


def test_the_page_on_data_agrees_with_the_cards():
    rows = re.findall(r"^\| `(\w+)` \| (.+?)(?:, [^|]+)? \| [^|]+ \| (\d+|any) \| ([^|]+) \|", README.read_text(), re.M)
    assert [row[0] for row in rows] == names()
    for name, title, classes, download in rows:
        card = read_card(name)
        assert (title, classes) == (card.title, "any" if card.classes is None else str(card.classes))
        assert not card.size or f"{card.size:,} bytes" in download


def test_the_page_on_data_names_every_data_module():
    page = README.read_text()
    modules = {path.rpartition(".")[2] for name in names() for path in read_card(name).data}
    assert [name for name in sorted(modules) if f"`{name}`" not in page and f".{name}`" not in page] == []
