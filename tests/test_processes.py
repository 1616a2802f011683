"""The same numbers at any number of processes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import in_child, in_processes, wait_for
from visionlab.cli import main


def command(*words):
    return main([*words, "--trainer.logger", "false"])


def results(run):
    return json.loads((Path(run) / "results" / "test.json").read_text())


def table(run):
    """What is known about each image."""
    return np.genfromtxt(Path(run) / "per_image" / "test.csv", delimiter=",", names=True)


# 80 images are 27, 27 and 26; with 7 in a batch, the last one is of a size of its own and padded on one process; of two
# images the third process has none
@pytest.mark.parametrize(
    ("data", "size"), [pytest.param("FewDigits", 80, marks=pytest.mark.slow), ("TwoTestImages", 2)]
)
def test_a_test_split_scores_the_same_in_one_two_and_three_processes(recipe, data, size):
    """Metrics are equal to the bit given the same outputs, but on some processors a net's own last bits depend on what
    is in a batch with an image."""
    assert wait_for(in_child(lambda: command("fit", "--config", str(recipe), "--trainer.max_epochs", "1"))) == 0
    best = str(Path("runs/tiny/0/checkpoints/best.ckpt").absolute())

    def test(world):
        parallel = ["--trainer.devices", str(world), "--trainer.strategy", "ddp"]
        odd = ["--data", f"stand_ins.{data}", "--data.init_args.eval_batch_size", "7"]
        return command("test", "--config", str(recipe), "--ckpt_path", best, "--runs", f"world{world}", *parallel, *odd)

    for world in (1, 2, 3):
        assert in_processes(lambda: test(world), world) == [0] * world  # noqa: B023
    one, *others = (results(f"world{world}/tiny/0") for world in (1, 2, 3))
    for other in others:
        assert other == pytest.approx(one, rel=0, abs=1e-6)
    one, *others = (table(f"world{world}/tiny/0") for world in (1, 2, 3))
    assert len(one) == size
    for other in others:
        assert other.dtype.names == one.dtype.names
        for column in one.dtype.names:
            np.testing.assert_allclose(other[column], one[column], rtol=0, atol=1e-6)


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_two_processes_train_like_one_with_twice_the_batch(recipe, accumulate):
    # without BatchNorm and Dropout, whose results depend on the share of the batch
    common = [
        "fit",
        "--config",
        str(recipe),
        "--model.init_args.net",
        "stand_ins.PlainNet",
        "--trainer.max_epochs",
        "2",
    ]
    common += ["--trainer.accumulate_grad_batches", str(accumulate)]
    halves = [
        "--trainer.devices",
        "2",
        "--trainer.strategy",
        "ddp",
        "--data.init_args.batch_size",
        "8",
        "--runs",
        "two",
    ]
    assert wait_for(in_child(lambda: command(*common, "--runs", "one"))) == 0
    assert in_processes(lambda: command(*common, *halves), 2) == [0, 0]
    one, two = (
        torch.load(f"{runs}/tiny/0/checkpoints/last.ckpt", weights_only=True)["state_dict"] for runs in ("one", "two")
    )
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5), name
    assert results("one/tiny/0")["test/single_label/top1"] == results("two/tiny/0")["test/single_label/top1"]


def test_a_loss_that_is_not_finite_on_one_process_stops_all(recipe):
    halves = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.init_args.batch_size", "8"]
    net = [
        "--model.init_args.net",
        "stand_ins.ExplodesAt",
        "--model.init_args.net.step",
        "8",
        "--model.init_args.net.rank",
        "1",
    ]
    assert in_processes(lambda: command("fit", "--config", str(recipe), *halves, *net), 2) == [1, 1]
