"""``visionlab validate`` and ``visionlab test``: the numbers that fit ended with, again."""

import json
import shutil
from pathlib import Path

import pytest

from visionlab.cli import main


@pytest.fixture
def run(finished):
    shutil.copytree(finished, "copy/tiny/0")
    return Path("copy/tiny/0")


def results(run, stage):
    return json.loads((Path(run) / "results" / f"{stage}.json").read_text())


def evaluate(command, *words):
    return main([command, *map(str, words), "--trainer.logger", "false"])


@pytest.mark.parametrize(("command", "stage"), [("test", "test"), ("validate", "val")])
def test_a_run_gives_the_numbers_of_its_fit(run, finished, capsys, command, stage):
    before = {path.name: path.read_text() for path in (run / "per_image").iterdir()}
    shutil.rmtree(run / "results")
    assert evaluate(command, run) == 0
    # of the best weights, which after validation was drawn last are the last ones or an epoch older
    assert [path.name for path in (run / "results").glob("*.json")] == [f"{stage}.json"]
    if stage == "test":
        assert results(run, stage) == results(finished, stage)
        assert {path.name: path.read_text() for path in (run / "per_image").iterdir()} == before
    else:
        best = max(float(row.split(",")[3]) for row in table(run) if ",val/single_label/top1," in row)
        assert results(run, "val")["val/single_label/top1"] == best
    out = capsys.readouterr().out
    for name, value in results(run, stage).items():
        assert any(line.startswith(name) and line.endswith(f"{value:.4f}") for line in out.splitlines()), name
    assert f"run folder: {run}" in out


def table(run):
    return (run / "metrics.csv").read_text().splitlines()


@pytest.mark.parametrize("command", ["test", "validate"])
def test_evaluating_changes_nothing_that_was_trained(run, command):
    kept = ["metrics.csv", "config.yaml", "run.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"]
    before = [(run / name).read_bytes() for name in kept]
    assert evaluate(command, run) == 0
    assert [(run / name).read_bytes() for name in kept] == before


def test_a_recipe_and_a_checkpoint_make_a_run_of_their_own(recipe, finished, capsys):
    best = finished / "checkpoints" / "best.ckpt"
    assert evaluate("test", "--config", recipe, "--ckpt_path", best) == 0
    assert results("runs/tiny/0", "test") == results(finished, "test")
    info = json.loads(Path("runs/tiny/0/run.json").read_text())
    assert info["state"] == "finished"
    assert not Path("runs/tiny/0/checkpoints").exists()
    assert "run folder: runs/tiny/0" in capsys.readouterr().out


def test_another_checkpoint_of_a_run_is_evaluated(run, finished):
    assert evaluate("test", run, "--ckpt_path", run / "checkpoints" / "previous.ckpt") == 0
    assert results(run, "test") != results(finished, "test")


def test_the_batch_size_of_evaluation_does_not_matter(run, finished):
    assert evaluate("test", run, "--data.init_args.eval_batch_size", 7) == 0
    again = results(run, "test")
    assert again["test/single_label/top1"] == results(finished, "test")["test/single_label/top1"]
    assert again["test/loss"] == pytest.approx(results(finished, "test")["test/loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere is not a run folder"),
        (["--config", "tiny.yaml"], "which weights? Give a run folder, or --ckpt_path FILE"),
        (["--config", "tiny.yaml", "--ckpt_path", "no.ckpt"], "there is no checkpoint no.ckpt"),
        (["--config", "tiny.yaml", "--ckpt_path", "http://127.0.0.1/x.ckpt"], "http://127.0.0.1/x.ckpt is an address"),
        (["--config", "tinny.yaml", "--ckpt_path", "no.ckpt"], "did you mean tiny.yaml?"),
        (["--ckpt_path", "no.ckpt"], "which recipe?"),
        (["copy/tiny/0", "--data.init_args.batchsize", "3"], "did you mean batch_size?"),
    ],
)
def test_mistakes_are_named(recipe, run, capsys, words, message):
    assert evaluate("test", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not Path("runs").exists()


def test_weights_of_another_net_leave_no_run_folder(recipe, finished, capsys):
    words = ["--config", recipe, "--ckpt_path", finished / "checkpoints/best.ckpt"]
    assert evaluate("test", *words, "--model.init_args.net", "stand_ins.PlainNet") == 2
    assert "the weights do not fit the net PlainNet: Missing key(s)" in capsys.readouterr().err
    assert list(Path().glob("runs/*/*")) == []


def test_without_labels_of_the_test_split_validation_is_reported(recipe, capsys):
    unlabelled = ["--data", "stand_ins.UnlabelledTest", "--trainer.max_epochs", "1", "--trainer.logger", "false"]
    assert main(["fit", "--config", str(recipe), *unlabelled]) == 0
    out = capsys.readouterr().out
    assert "tiny, val (the test split has no labels)" in out
    assert not Path("runs/tiny/0/results/test.json").exists()
    assert evaluate("test", "runs/tiny/0") == 2
    assert "the test split of UnlabelledTest has no labels; use visionlab validate" in capsys.readouterr().err
