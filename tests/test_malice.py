"""No checkpoint runs code, whatever it is called and wherever it lies; no recipe eats the machine before it is read."""

import http.server
import pickle
import resource
import shutil
import threading
from pathlib import Path

import pytest
import torch
import yaml

from conftest import RECIPE, in_child, wait_for
from visionlab.cli import main
from visionlab.load import load

GIGABYTE = 2**30


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refused(*words):
    """Whether a command ends with status 2, within 5 s of CPU and a gigabyte more memory than before."""

    def child():
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + GIGABYTE, size + GIGABYTE))
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        return main(list(words))

    status = wait_for(in_child(child))
    assert status in (0, 1, 2), status
    return status == 2


def write_archive(path, content):
    torch.save(content, path)


def write_old_archive(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(content))


@pytest.fixture
def stranger(finished):
    """A run folder from elsewhere."""
    shutil.copytree(finished, "stranger/tiny/0")
    return Path("stranger/tiny/0")


WRITERS = [write_archive, write_old_archive, write_pickle]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "command",
    [
        "fit --config tiny.yaml --resume evil.ckpt",
        "test --config tiny.yaml --ckpt_path evil.ckpt",
        "validate --config tiny.yaml --ckpt_path evil.ckpt",
    ],
)
def test_a_pickle_that_is_named_runs_nothing(recipe, capfd, write, command):
    ran = Path("ran").absolute()
    write(Path("evil.ckpt"), {"state_dict": {}, "evil": Touch(ran)})
    assert refused(*command.split())
    assert "evil.ckpt" in capfd.readouterr().err.splitlines()[-1]
    assert not ran.exists()


@pytest.mark.parametrize("write", WRITERS)
def test_a_pickle_in_a_run_folder_runs_nothing(stranger, write, capfd):
    ran = Path("ran").absolute()
    for name in ("best", "last", "previous"):
        path = stranger / "checkpoints" / f"{name}.ckpt"
        path.unlink()
        write(path, {"label_map": Touch(ran), "state_dict": {}})
    images = Path("image.png")
    images.touch()
    assert refused("test", str(stranger))
    assert refused("predict", str(stranger), str(images))
    with pytest.raises(ValueError, match=r"best\.ckpt"):
        load(stranger)
    words = ["fit", "--config", str(stranger / "config.yaml"), "--resume", str(stranger)]
    assert wait_for(in_child(lambda: main(words))) == 0  # from the start, for no checkpoint is whole
    assert capfd.readouterr().err.count("is damaged; looking for the one before") == 3
    assert not ran.exists()


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "gs", "hf", "file", "memory"])
def test_checkpoints_come_from_no_address(recipe, capfd, scheme):
    assert refused("fit", "--config", "tiny.yaml", "--resume", f"{scheme}://127.0.0.1:1/evil.ckpt")
    assert "is an address; checkpoints are loaded from local files only" in capfd.readouterr().err


def test_a_checkpoint_that_a_server_offers_is_not_even_asked_for(recipe):
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/evil.ckpt"
        assert refused("fit", "--config", "tiny.yaml", "--resume", address)
        assert refused("test", "--config", "tiny.yaml", "--ckpt_path", address)
        server.shutdown()
    assert asked == []


def bomb():
    """Nine aliases of nine aliases, nine levels deep: four hundred million strings in 305 bytes."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join(lines) + "\n"


def flow_bomb():
    """The same as a value."""
    value = "&a [x,x,x,x,x,x,x,x,x]"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True):
        value = f"&{b} [{value},{','.join([f'*{a}'] * 8)}]"
    return value


ATTACKS = {
    "aliases": (bomb() + RECIPE, "line 5: the aliases repeat more than"),
    "aliases in a value": (RECIPE + f"threads: {flow_bomb()}\n", "the aliases repeat more than"),
    "aliases in a string": (RECIPE + f"threads: '{flow_bomb()}'\n", "the aliases repeat more than"),
    "aliases in a block of text": (
        RECIPE + "threads: |\n" + "".join(f"  {line}\n" for line in bomb().splitlines()),
        "the aliases repeat more than",
    ),
    "aliases in another file": (RECIPE.replace("{class_path: stand_ins.FewDigits}", "bomb.yaml"), "bomb.yaml, line 5"),
    "an alias of itself": (RECIPE + "threads: &a [*a]\n", "stands for nothing before it, or for itself"),
    "nested lists": (RECIPE + f"threads: {'[' * 100_000}\n", "more than 100 lists and mappings"),
    "nested mappings": (RECIPE + f"threads: {'{a: ' * 20_000}\n", "more than 100 lists and mappings"),
    "nested blocks": (
        RECIPE + "threads:\n" + "".join(f"{' ' * (i + 1)}k:\n" for i in range(500)),
        "more than 100 lists and mappings",
    ),
    "a large file": (RECIPE + "# " + "x" * 300_000, "bytes, a recipe at most"),
    "a key twice": (RECIPE + "data: {class_path: stand_ins.FewDigits}\n", "line 18: the key 'data' was written before"),
    "a key twice, deep": (RECIPE.replace("devices: 1", "devices: 1\n  max_epochs: 5"), "the key 'max_epochs'"),
    "a tag of Python's": (
        RECIPE + "threads: !!python/object/apply:os.mkdir [ran]\n",
        "could not determine",
    ),
    "a tag of Python's, with a name": (
        RECIPE + "threads: !!python/name:os.system\n",
        "could not determine",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_malicious_recipe_is_refused_before_it_is_read(capfd, attack):
    text, message = ATTACKS[attack]
    Path("bomb.yaml").write_text(bomb())
    Path("evil.yaml").write_text(text)
    assert refused("fit", "--config", "evil.yaml")
    assert message in capfd.readouterr().err
    assert not Path("ran").exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize("word", ["--data=bomb.yaml", f"--threads={flow_bomb()}"])
def test_a_malicious_value_on_the_command_line_is_refused(recipe, capfd, word):
    Path("bomb.yaml").write_text(bomb())
    assert refused("fit", "--config", "tiny.yaml", word)
    assert "the aliases repeat more than" in capfd.readouterr().err


@pytest.mark.parametrize("attack", ["aliases", "nested lists", "a tag of Python's"])
def test_a_malicious_run_folder_is_refused(stranger, capfd, attack):
    text, message = ATTACKS[attack]
    (stranger / "config.yaml").write_text(text)
    image = Path("image.png")
    image.touch()
    for words in (["test", str(stranger)], ["predict", str(stranger), str(image)]):
        assert refused(*words)
        assert message in capfd.readouterr().err
    with pytest.raises(ValueError, match=r"aliases|lists and mappings|constructor"):
        load(stranger)
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", ["[" * 100_000, "{}", "[]", '{"format": "x"}', "", '{"format": null}'])
def test_a_malicious_run_json_is_refused(stranger, capfd, content):
    (stranger / "run.json").write_text(content)
    assert refused("test", str(stranger))
    assert "run.json is damaged" in capfd.readouterr().err


def test_a_configuration_imports_what_it_names_and_nothing_else(stranger):
    """A config names classes, so it is code: this is what may run, and no more."""
    Path("named.py").write_text("from pathlib import Path\nfrom stand_ins import FewDigits\nPath('named').touch()\n")
    config = yaml.safe_load((stranger / "config.yaml").read_text())
    config["note"] = "named.FewDigits"
    (stranger / "config.yaml").write_text(yaml.safe_dump(config))
    assert refused("test", str(stranger))
    assert not Path("named").exists()
