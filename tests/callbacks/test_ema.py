"""An average of weights beside those that train."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from visionlab.callbacks.ema import EMA, evaluated_weights
from visionlab.cli import main
from visionlab.load import load

AVERAGING = ["--trainer.callbacks+", "{class_path: visionlab.callbacks.ema.EMA, init_args: {decay: 0.99}}"]
QUIET = ["--trainer.logger", "false"]


def task_of(net):
    task = nn.Module()
    task.net, task.device = net, torch.device("cpu")
    return task


def test_the_average_is_that_of_every_update_and_whole_numbers_are_copied():
    task, ema = task_of(nn.BatchNorm1d(1)), EMA(decay=0.5, every_n_steps=2)
    trainer = SimpleNamespace(global_step=0, callbacks=[ema], strategy=None)
    ema.setup(trainer, task, "fit")
    ema.on_train_start(trainer, task)
    mean, expected = 1.0, 1.0  # BatchNorm's weight starts at 1
    for step in range(1, 9):
        trainer.global_step = step
        nn.init.constant_(task.net.weight, step)
        task.net.num_batches_tracked += 1
        for _ in range(2):  # a second batch whose gradients are added up takes no step
            ema.on_train_batch_end(trainer, task)
        if step % 2 == 0:
            decay = min(0.5, (1 + step // 2 - 1) / (10 + step // 2 - 1))
            expected = decay * expected + (1 - decay) * step
    assert ema.updates == 4
    raw = task.net
    with evaluated_weights(trainer, task):
        assert float(task.net.weight) == pytest.approx(expected)
        assert int(task.net.num_batches_tracked) == 8
        assert not task.net.training
    assert task.net is raw
    assert float(raw.weight) == 8 != mean
    ema.weights = "raw"
    with evaluated_weights(trainer, task):
        assert task.net is raw


@pytest.mark.parametrize(("arguments", "message"), [({"decay": 1.0}, "decay"), ({"every_n_steps": 0}, "at least 1")])
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        EMA(**arguments)


def test_any_task_is_evaluated_by_the_weights_that_are_named(recipe, capsys):
    words = ["--trainer.max_epochs", "2", *AVERAGING, *QUIET]
    assert main(["fit", "--config", str(recipe), *words]) == 0
    folder = Path("runs/tiny/0")
    best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    averaged = best["averaged"]["weights"]
    raw = {name.removeprefix("net."): value for name, value in best["state_dict"].items()}
    assert averaged.keys() == raw.keys()
    assert not torch.equal(averaged["head.2.weight"], raw["head.2.weight"])
    assert best["averaged"]["updates"] == best["global_step"]

    def loss(*words):
        assert main(["test", str(folder), *words, *QUIET]) == 0
        return json.loads((folder / "results/test.json").read_text())["test/loss"]

    after_training = json.loads((folder / "results/test.json").read_text())["test/loss"]
    assert loss() == after_training != loss("--weights", "raw")
    assert torch.equal(load(folder).task.net.head[2].weight, averaged["head.2.weight"])
    assert torch.equal(load(folder, weights="raw").task.net.head[2].weight, raw["head.2.weight"])


def test_an_average_that_begins_later_begins_with_the_weights_that_are_there(finished, recipe):
    checkpoint = shutil.copy(finished / "checkpoints/last.ckpt", "two_epochs.ckpt")
    words = ["--resume", checkpoint, "--trainer.max_steps", "37", *AVERAGING, *QUIET]
    with pytest.warns(UserWarning, match="no averaged weights"):
        assert main(["fit", "--config", str(recipe), *words]) == 0
    saved = torch.load("runs/tiny/0/checkpoints/last.ckpt", weights_only=True)
    before = torch.load(checkpoint, weights_only=True)["state_dict"]["net.head.2.weight"]
    after, averaged = saved["state_dict"]["net.head.2.weight"], saved["averaged"]["weights"]["head.2.weight"]
    assert saved["averaged"]["updates"] == 1
    torch.testing.assert_close(averaged, 0.1 * before + 0.9 * after)
