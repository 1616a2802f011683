"""The examples of CONTRIBUTING.md work as they stand there, and nothing else needs an edit."""

import re
from pathlib import Path

import pytest
import yaml

import visionlab.data
import visionlab.nets
import visionlab.tasks
from visionlab.cli import data as data_command
from visionlab.cli import main

ROOT = Path(__file__).parents[1]
QUICK = ["--trainer.logger", "false", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """The files of the examples, in packages that extend ours."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = re.findall(r"`((?:src|experiments)/[\w/]+\.(?:py|yaml))`", text)
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", text, re.DOTALL)
    assert len(names) == len(blocks) == 6
    for name, block in zip(names, blocks, strict=True):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
    for package in (visionlab.data, visionlab.nets, visionlab.tasks):
        ours = tmp_path / "src" / Path(*package.__name__.split("."))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(ours)])
    return tmp_path


def fit(*words):
    return main(["fit", *words, *QUICK])


def test_a_net(examples):
    quickstart = str(ROOT / "experiments" / "quickstart.yaml")
    assert fit("--config", quickstart, "--model.init_args.net", "visionlab.nets.perceptron.Perceptron") == 0
    from visionlab.nets.perceptron import Perceptron

    card = yaml.safe_load((examples / "src/visionlab/nets/cards/perceptron.yaml").read_text())["nets"][0]
    assert sum(p.numel() for p in Perceptron(card["num_classes"]).parameters()) == card["parameters"]


def test_a_task(examples):
    assert fit("--config", "experiments/classification/digits_focal.yaml") == 0
    assert Path("runs/digits_focal/0/results/test.json").is_file()


def test_a_data_set(examples, monkeypatch, capsys):
    monkeypatch.setattr(data_command, "CARDS", examples / "src/visionlab/data/cards")
    assert main(["data", "make", "shapes"]) == 0
    assert main(["data", "check", "shapes"]) == 0
    assert "train: 500 images, 250 to 250 a class" in capsys.readouterr().out
    quickstart = str(ROOT / "experiments" / "quickstart.yaml")
    shapes = ["--data", "visionlab.data.shapes.Shapes", "--data.init_args.root", "data/shapes"]
    assert fit("--config", quickstart, *shapes) == 0
    assert fit("--config", quickstart, *shapes[:3], "nowhere") == 2
    assert "nowhere/train.npz is missing" in capsys.readouterr().err
