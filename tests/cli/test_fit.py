"""``visionlab fit`` on the command line: what it takes, and what it says about mistakes."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import RECIPE
from visionlab.cli import COMMANDS, main
from visionlab.data.twins.cifar import make_cifar10
from visionlab.data.twins.mnist import make_mnist
from visionlab.data.twins.python2 import pickle_python2
from visionlab.run import Run

SRC = Path(__file__).parents[2] / "src"


def fit(recipe, *overrides):
    return main(["fit", "--config", str(recipe), "--trainer.logger", "false", "--trainer.max_epochs", "1", *overrides])


def assert_mistake(capsys, status, *parts):
    """One or two lines on stderr that hold ``parts``, and nothing left behind."""
    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert 1 <= len(lines) <= 2
    assert lines[0].startswith("visionlab: ")
    for part in parts:
        assert part in "\n".join(lines)
    assert list(Path().glob("runs/*/*")) == []


IN_THE_RECIPE = [
    # what is replaced, by what, and what is said
    (
        "log_every_n_steps",
        "log_evry_n_steps",
        ["'trainer.log_evry_n_steps'", "did you mean trainer.log_every_n_steps?"],
    ),
    ("trainer:", "trainr:", ["trainr", "did you mean trainer"]),
    ("lr: 0.01", "lr: 0.01, weight_decy: 0.1", ["model.optimizer: ", "'weight_decy'", "did you mean weight_decay?"]),
    ("lr: 0.01", "learning_rate: 0.01", ["model.optimizer: torch.optim.AdamW", "'learning_rate'", "params, lr, betas"]),
    ("T_max", "Tmax", ["model.lr_schedulers.scheduler: ", "'Tmax'", "did you mean T_max?"]),
    (
        "stand_ins.TinyNet",
        "stand_ins.TinyNet, init_args: {in_chanels: 3}",
        ["model.net: ", "did you mean in_channels?"],
    ),
    ("stand_ins.FewDigits", "stand_ins.FewDigits, init_args: {batchsize: 3}", ["data: ", "did you mean batch_size?"]),
    ("    net:", "    nett:", ["model: ", "'nett'", "did you mean net?"]),
    ("    net:", "    label_smoothng: 0.1\n    net:", ["model: ", "did you mean label_smoothing?"]),
    ("init_args: {lr", "init_arg: {lr", ["model.optimizer: ", "'init_arg'", "did you mean init_args?"]),
    ("data: {class_path", "data: {class_pth", ["data: ", "'class_pth'", "did you mean class_path?"]),
    ("stand_ins.TinyNet", "stand_ins.TinyNt", ["model.net: ", "'TinyNt'", "did you mean stand_ins.TinyNet?"]),
    ("stand_ins.TinyNet", "stand_in.TinyNet", ["model.net: ", "'stand_in'", "did you mean stand_ins?"]),
    (
        "stand_ins.TinyNet",
        "visionlab.nets.lnet.LeNet5",
        ["'visionlab.nets.lnet'", "did you mean visionlab.nets.lenet?"],
    ),
    ("stand_ins.TinyNet", "visionlab.net.lenet.LeNet5", ["'visionlab.net'", "did you mean visionlab.nets?"]),
    ("stand_ins.TinyNet", "stand_ins.FewDigits", ["model.net: stand_ins.FewDigits is no Module"]),
    ("torch.optim.AdamW", "torch.optim.AdmW", ["model.optimizer: ", "did you mean torch.optim.AdamW?"]),
    ("torch.optim.AdamW", "torch.nn.Linear", ["model.optimizer: torch.nn.Linear is no Optimizer"]),
    ("CosineAnnealingLR", "CosineAnealingLR", ["did you mean torch.optim.lr_scheduler.CosineAnnealingLR?"]),
    (".Classification", ".Clasification", ["did you mean visionlab.tasks.classification.Classification?"]),
    ("stand_ins.FewDigits", "FewDigits2", ["data: 'FewDigits2' is no class path"]),
    ("stand_ins.TinyNet", "stand_ins.ExplodesAt", ["model.net: stand_ins.ExplodesAt needs step"]),
    ("init_args: {T_max: 72}", "init_args: {}", ["CosineAnnealingLR needs T_max"]),
    ("    net: {class_path: stand_ins.TinyNet}\n", "", ["Classification needs net"]),
    ("data: {class_path: stand_ins.FewDigits}\n", "", ["the recipe needs data"]),
    ("lr: 0.01", "lr: fast", ["model.optimizer.lr: expected float, not 'fast'"]),
    (
        "stand_ins.FewDigits",
        "stand_ins.FewDigits, init_args: {batch_size: many}",
        ["data.batch_size: expected int, not"],
    ),
    ("interval: step", "interval: steps", ["interval: expected 'epoch' or 'step', not 'steps'"]),
    ("max_epochs: 4", "precision: fp17", ["trainer.precision: expected", "'16-mixed'", "not 'fp17'"]),
    ("trainer:", "trainer: [", ["broken.yaml, line 12, column 14: this is no YAML"]),
    (RECIPE, "- 1\n", ["broken.yaml holds no recipe: expected the keys model, data and trainer"]),
    (RECIPE, "", ["broken.yaml holds no recipe"]),
]


@pytest.mark.parametrize(("right", "wrong", "parts"), IN_THE_RECIPE, ids=[wrong[-30:] for _, wrong, _ in IN_THE_RECIPE])
def test_a_mistake_in_the_recipe_is_named(capsys, right, wrong, parts):
    assert right in RECIPE
    recipe = Path("broken.yaml")
    recipe.write_text(RECIPE.replace(right, wrong))
    assert_mistake(capsys, main(["fit", "--config", str(recipe)]), *parts)


AFTER_THE_RECIPE = [
    (["--trainer.max_epoch", "3"], ["'trainer.max_epoch'", "did you mean trainer.max_epochs?"]),
    (["--modle.init_args.label_smoothing", "0"], ["did you mean model.init_args.label_smoothing?"]),
    (["--sed_everything", "3"], ["did you mean seed_everything?"]),
    (["--model.init_args.net.init_args.in_chanels", "3"], ["model.net: ", "did you mean in_channels?"]),
    (["--model.init_args.optimizer.init_args.weight_decy", "0"], ["model.optimizer: ", "did you mean weight_decay?"]),
    (["--model.optimizer.weight_decy", "0"], ["model.optimizer: ", "did you mean weight_decay?"]),
    (["--data.batchsize", "3"], ["data: ", "did you mean batch_size?"]),
    (["--data.init_args.batch_size", "many"], ["data.batch_size: expected int, not 'many'"]),
    (["--data.init_args.batch_size"], ["--data.init_args.batch_size needs a value"]),
    (["--data.init_args.batch_size", "0"], ["batch_size must be at least 1, not 0"]),
    (["--model.init_args.label_smoothing", "2"], ["label_smoothing must lie in [0, 1), not 2.0"]),
    (["--trainer.callbacks+", "visionlab.callbacks.freeze.Freze"], ["did you mean visionlab.callbacks.freeze.Freeze?"]),
    (["--trainer.gradient_clip_val", "abc"], ["trainer.gradient_clip_val: expected float or int, not 'abc'"]),
    (["--trainer.accelerator", "gpuu"], ["gpuu", "cpu"]),
    (["--trainer.devices", "zero"], ["trainer: ", "devices"]),
    (
        ["--data.init_args.batch_size", "500"],
        ["290 images, fewer than a batch of 500", "data.init_args.batch_size to 290"],
    ),
    (
        ["--model.init_args.net", "stand_ins.WrongOutput"],
        ["WrongOutput gave an output of shape (16, 11)", "10 classes"],
    ),
    (["--model.init_args.optimizer.init_args.lr", "-1"], ["Invalid learning rate: -1.0"]),
    (["--resume", "nothing"], ["there is nothing to resume at nothing"]),
    (["--resume", "empty"], ["empty is not a run folder"]),
    (["--resume", "http://127.0.0.1/last.ckpt"], ["http://127.0.0.1/last.ckpt is an address", "download it first"]),
    (["stray"], ["there is no argument 'stray'"]),
]


@pytest.mark.parametrize(("words", "parts"), AFTER_THE_RECIPE, ids=[" ".join(words) for words, _ in AFTER_THE_RECIPE])
def test_a_mistake_after_the_recipe_is_named(recipe, capsys, words, parts):
    Path("empty").mkdir()
    assert_mistake(capsys, fit(recipe, *words), *parts)


def test_a_missing_recipe_is_named_with_the_nearest_file(recipe, capsys):
    assert_mistake(capsys, fit("tinny.yaml"), "there is no file tinny.yaml; did you mean tiny.yaml?")
    assert_mistake(capsys, main(["fit"]), "which recipe? Give --config RECIPE.yaml")


def test_a_missing_command_is_named(capsys):
    assert_mistake(capsys, main(["fitt"]), "there is no command 'fitt'", "fit")


def test_a_run_folder_of_a_later_format_is_refused(recipe, capsys):
    folder = Path("later")
    folder.mkdir()
    (folder / "run.json").write_text('{"format": 99}')
    assert_mistake(capsys, fit(recipe, "--resume", "later"), "later has run folder format 99")


def on_cifar(root):
    text = RECIPE.replace(
        "stand_ins.FewDigits", f"visionlab.data.cifar.CIFAR10, init_args: {{root: {root}, batch_size: 8}}"
    )
    path = Path("cifar.yaml")
    path.write_text(text.replace("stand_ins.TinyNet", "stand_ins.TinyNet, init_args: {in_channels: 3}"))
    return path


def test_without_a_network_it_says_which_file_to_put_where(capsys, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    status = fit(on_cifar("absent"))
    assert_mistake(
        capsys,
        status,
        "absent/cifar-10-python.tar.gz",
        "Put the file there by hand",
        "md5 c58f30108f718f92721af3b95e74349a",
    )


def damaged(root, how):
    folder = root / "cifar-10-batches-py"
    batch = folder / "data_batch_3"
    if how == "half-extracted":
        batch.unlink()
    elif how == "cut":
        batch.write_bytes(batch.read_bytes()[:1000])
    elif how == "out of range":
        content = pickle.loads(batch.read_bytes(), encoding="bytes")
        content[b"labels"][2] = 11
        batch.write_bytes(pickle_python2(content))
    return batch


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("half-extracted", ["is missing", "visionlab data download cifar10"]),
        ("cut", []),
        ("out of range", ["row 2: label 11 is not in 0..9"]),
    ],
)
def test_a_data_folder_that_is_not_whole_is_named(capsys, tmp_path, how, parts):
    root = tmp_path / "twin"
    make_cifar10(root, 100, 0)
    batch = damaged(root, how)
    assert_mistake(capsys, fit(on_cifar(root)), str(batch), *parts)


def test_an_archive_with_a_wrong_checksum_is_not_unpacked(capsys, tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    archive = tmp_path / "root" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"not the publisher's")
    assert_mistake(capsys, fit(on_cifar(archive.parent)), str(archive), "md5 c58f30108f718f92721af3b95e74349a")
    assert not (archive.parent / "cifar-10-batches-py").exists()


def test_labels_out_of_range_are_named(capsys, tmp_path):
    make_mnist(tmp_path / "mnist", 40, 0)
    folder = tmp_path / "mnist" / "MNIST" / "raw"
    plain = folder / "train-labels-idx1-ubyte"
    subprocess.run(["gzip", "-d", str(plain) + ".gz"], check=True)
    content = plain.read_bytes()
    plain.write_bytes(content[:8] + bytes([10]) + content[9:])
    path = Path("mnist.yaml")
    data = f"visionlab.data.mnist.MNIST, init_args: {{root: {tmp_path / 'mnist'}, batch_size: 8}}"
    path.write_text(RECIPE.replace("stand_ins.FewDigits", data))
    assert_mistake(capsys, fit(path), str(plain), "row 0: label 10 is not in 0..9")


def test_a_failure_after_the_first_step_keeps_the_run(recipe, capsys):
    fails = "{class_path: stand_ins.FailsAt, init_args: {step: 3}}"
    assert fit(recipe, "--trainer.callbacks+", fails) == 2
    assert "a broken image" in capsys.readouterr().err
    run = Run.open("runs/tiny/0")
    assert run.info["state"] == "failed"
    assert "a broken image" in (run.folder / "error.txt").read_text()


def test_a_mistake_while_continuing_a_run_spares_it(recipe):
    assert fit(recipe) == 0
    before = (Path("runs/tiny/0/checkpoints/last.ckpt")).read_bytes()
    status = fit(recipe, "--resume", "runs/tiny/0", "--data.init_args.batch_size", "500", "--trainer.max_epochs", "2")
    assert status == 2
    assert Path("runs/tiny/0/checkpoints/last.ckpt").read_bytes() == before


def test_prints_the_resolved_configuration(recipe, capsys):
    with pytest.raises(SystemExit) as ended:
        fit(recipe, "--print_config", "--model.init_args.optimizer.init_args.lr", "0.5")
    assert not ended.value.code
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.5
    assert config["data"]["init_args"]["batch_size"] == 16  # a default
    assert not Path("runs").exists()


@pytest.mark.parametrize("words", [["KEY", "null"], ["KEY", "~"], ["KEY=null"]], ids=["null", "tilde", "equals"])
def test_null_arrives_at_the_keys_of_nets(recipe, words, capsys):
    inner = "{class_path: stand_ins.Backbone, init_args: {weights: some}}"
    net = ["--model.init_args.net", f"{{class_path: stand_ins.OverBackbone, init_args: {{backbone: {inner}}}}}"]
    keys = "--model.init_args.net.init_args.weights", "--model.init_args.net.init_args.backbone.init_args.weights"
    with pytest.raises(SystemExit):
        fit(recipe, "--print_config", *net, *(word.replace("KEY", key) for key in keys for word in words))
    shown = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["net"]["init_args"]
    assert shown["weights"] is None
    assert shown["backbone"]["init_args"]["weights"] is None


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS if command != "data")])
def test_help(capsys, words):
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: visionlab")
    assert max(map(len, out.splitlines())) <= 120


def test_help_of_data(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["data", "--help"])
    assert capsys.readouterr().out.startswith("usage: visionlab data")


def test_nothing_at_all_prints_the_help(capsys):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_overrides_come_after_the_recipe(recipe):
    assert fit(recipe, "--trainer.max_steps", "3", "--data.batch_size", "8", "--runs", "elsewhere") == 0
    config = Run.open("elsewhere/tiny/0").config
    assert (config["trainer"]["max_steps"], config["data"]["init_args"]["batch_size"]) == (3, 8)


def environment(folder):
    paths = [str(SRC), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
def test_as_a_process_of_its_own_it_says_what_is_wrong_in_two_lines(recipe, tmp_path):
    words = ["fit", "--config", str(recipe), "--trainer.max_epoch", "3"]
    result = subprocess.run(
        [sys.executable, "-m", "visionlab", *words],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr == "visionlab: there is no argument 'trainer.max_epoch'; did you mean trainer.max_epochs?\n"


@pytest.mark.slow
def test_a_recipe_runs_as_a_script(recipe, tmp_path):
    command = tmp_path / "bin" / "visionlab"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nimport visionlab.__main__\n")
    command.chmod(0o755)
    script = Path("script.yaml")
    script.write_text("#!/usr/bin/env -S visionlab fit --config" + RECIPE)
    script.chmod(0o755)
    result = subprocess.run(
        [str(script.absolute()), "--trainer.max_epochs", "1", "--trainer.logger", "false"],
        env=environment(command.parent),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "test/single_label/top1" in result.stdout
    assert Run.open("runs/script/0").info["state"] == "finished"
