"""An image that cannot be read stops a run, or is left out and counted, in any number of processes."""

import csv
from pathlib import Path

import pytest
import torch

from conftest import in_processes
from visionlab.cli import main
from visionlab.data.twins.folder import make

RECIPE = """
model:
  class_path: visionlab.tasks.classification.Classification
  init_args:
    net: {class_path: stand_ins.TinyNet, init_args: {in_channels: 3}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
data:
  class_path: visionlab.data.folder.ImageFolder
  init_args:
    root: images
    batch_size: 4
    num_workers: 0
    train_transform: {class_path: visionlab.data.presets.classification_train, init_args: {size: 32}}
    eval_transform: {class_path: visionlab.data.presets.classification_eval, init_args: {size: 32}}
trainer:
  max_epochs: 2
  accelerator: cpu
  devices: 1
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
"""


@pytest.fixture
def spoilt() -> list[Path]:
    """A folder of 40 training images, two of which are spoilt, and one of the 10 test images."""
    make(Path("images"), 40, 0)
    Path("skipping.yaml").write_text(RECIPE)
    files = [path for path in sorted(Path("images/train").rglob("*")) if path.suffix in (".png", ".bmp")][:2]
    files += [path for path in sorted(Path("images/test").rglob("*")) if path.is_file()][3:4]
    for path in files:
        path.write_bytes(path.read_bytes()[:100])
    return files


def test_it_stops_the_run_in_one_line(spoilt, capsys):
    assert main(["fit", "--config", "skipping.yaml"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("visionlab: images/train/")
    assert any(str(path) in error for path in spoilt)


def test_it_stops_the_run_in_one_line_from_a_loaders_process_too(spoilt, capsys):
    assert main(["fit", "--config", "skipping.yaml", "--data.init_args.num_workers", "1"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("visionlab: images/train/")


def rows(name):
    with Path("runs/skipping/0/metrics.csv").open(newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


@pytest.mark.filterwarnings("ignore:skipped", "ignore:.*left out")
@pytest.mark.parametrize("world", [1, 2])
def test_or_it_is_left_out_and_counted(spoilt, world):
    skip = ["--data.init_args.on_bad_sample", "skip", "--trainer.devices", str(world), "--trainer.strategy", "ddp"]

    def fit():
        return main(["fit", "--config", "skipping.yaml", *skip])

    assert in_processes(fit, world) == [0] * world
    assert rows("train/skipped") == [2.0, 2.0]
    assert rows("test/skipped") == [1.0]
    run = Path("runs/skipping/0")
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2 * 40 // (4 * world)
    with (run / "per_image" / "test.csv").open(newline="") as file:
        tested = {row["id"] for row in csv.DictReader(file)}
    assert len(tested) == 9
    assert not [name for name in tested if str(spoilt[2]).endswith(name)]


def test_too_many_stop_the_run(spoilt, capsys):
    limit = ["--data.init_args.on_bad_sample", "skip", "--data.init_args.max_skipped", "1"]
    with pytest.warns(UserWarning, match="skipped"):
        assert main(["fit", "--config", "skipping.yaml", *limit]) == 2
    assert "2 images could not be read, more than max_skipped = 1" in capsys.readouterr().err
