"""``visionlab attack`` on a finished run."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from visionlab.cli import main


@pytest.fixture
def run(finished):
    shutil.copytree(finished, "copy/tiny/0")
    return Path("copy/tiny/0")


def attack(run, *words):
    return main(["attack", str(run), *words])


def test_clean_and_robust_metrics_stand_side_by_side(run, capsys):
    words = ["--attack", "pgd", "--eps", "16/255", "--steps", "3", "--audited", "10"]
    assert attack(run, *words, "--curve", "0,8/255,16/255") == 0
    out = capsys.readouterr().out
    folder = run / "attacks" / "0"
    left = json.loads((folder / "results.json").read_text())
    tested = json.loads((run / "results" / "test.json").read_text())
    clean, robust = left["clean"], left["pgd"]
    assert clean["single_label/top1"] == tested["test/single_label/top1"]
    assert robust["single_label/top1"] < clean["single_label/top1"]
    assert 15.9 / 255 < robust["linf"] < 16.1 / 255
    (line,) = (one for one in out.splitlines() if one.startswith("single_label/top1"))
    assert line.split()[1:] == [f"{clean['single_label/top1']:.4f}", f"{robust['single_label/top1']:.4f}"]
    assert "audit of PGD" in out
    assert (folder / "audit.txt").read_text() in out
    with (folder / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    top1 = [float(row["single_label/top1"]) for row in rows]
    assert [row["eps"] for row in rows] == ["0", "8/255", "16/255"]
    assert top1[0] == clean["single_label/top1"]
    assert top1[2] == robust["single_label/top1"]
    assert top1 == sorted(top1, reverse=True)
    with (folder / "per_image.csv").open(newline="") as file:
        images = list(csv.DictReader(file))
    assert len(images) == 80
    right = [row["correct_under_pgd"] == "True" for row in images]
    assert sum(right) / 80 == robust["single_label/top1"]
    for name in ("attacked", "curve"):
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 200


def test_a_few_images_a_name_and_another_loss(run):
    words = ["--attack", "visionlab.attacks.fgsm.FGSM", "--eps", "8/255", "--images", "5", "--audited", "2"]
    assert attack(run, *words, "--loss", "margin", "--name", "few", "--split", "val") == 0
    assert attack(run, *words) == 0
    assert sorted(path.name for path in (run / "attacks").iterdir()) == ["0", "few"]
    assert (run / "attacks" / "few" / "per_image.csv").read_text().count("\n") == 6
    assert json.loads((run / "attacks" / "few" / "results.json").read_text())["split"] == "val"


def test_the_weights_are_left_as_they_were(run):
    before = (run / "checkpoints" / "best.ckpt").read_bytes(), (run / "metrics.csv").read_bytes()
    assert attack(run, "--attack", "square", "--eps", "8/255", "--queries", "3", "--images", "4", "--audited", "2") == 0
    assert ((run / "checkpoints" / "best.ckpt").read_bytes(), (run / "metrics.csv").read_bytes()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--eps", "8"], "is 8/255 meant"),
        (["--eps", "eight"], "eps must be a number such as 0.03 or 8/255, not 'eight'"),
        (["--attack", "pdg", "--eps", "8/255"], "there is no attack 'pdg'; there are fgsm"),
        (["--attack", "visionlab.attacks.pgd.Nothing"], "there is no attack visionlab.attacks.pgd.Nothing"),
        (["--attack", "visionlab.batch.Step"], "visionlab.batch.Step is no attack"),
        (["--eps", "8/255", "--step", "3"], "PGD takes no step; it takes eps, steps"),
        ([], "PGD needs --eps"),
        (["--eps"], "expected --KEY VALUE, arguments of the attack, not '--eps'"),
        (["--eps", "8/255", "--images", "0"], "--images must be at least 1, not 0"),
        (["--eps", "8/255", "--name", "../x"], "--name must be the name of a folder, not '../x'"),
        (["--eps", "8/255", "--curve", "0,8"], "is 8/255 meant"),
        (["--attack", "patch", "--curve", "0"], "Patch has no budget to draw a curve over"),
        (["--eps", "8/255", "--loss", "vanish", "--images", "2"], "only objects can vanish"),
        (["--eps", "8/255", "--ckpt_path", "nowhere.ckpt"], "there is no checkpoint nowhere.ckpt"),
    ],
)
def test_mistakes_are_named(run, capsys, words, message):
    assert attack(run, *words) == 2
    assert message in capsys.readouterr().err
    assert not (run / "attacks").exists()


def test_a_folder_that_is_no_run_is_named(capsys):
    assert attack("nowhere", "--eps", "8/255") == 2
    assert "nowhere is not a run folder" in capsys.readouterr().err


def test_a_run_that_is_in_wandb_is_told_there(run, monkeypatch):
    told = []

    class Tracker:
        def log_metrics(self, metrics):
            told.append(metrics)

        def end(self, exit_code):
            told.append(exit_code)

    (run / "wandb").mkdir(exist_ok=True)
    monkeypatch.setattr("visionlab.cli.attack_run.open_wandb", lambda folder, run_id, name, config: Tracker())
    assert attack(run, "--attack", "fgsm", "--eps", "8/255", "--images", "4", "--audited", "2", "--name", "a") == 0
    metrics, status = told
    left = json.loads((run / "attacks" / "a" / "results.json").read_text())
    assert metrics["attacks/a/single_label/top1"] == left["fgsm"]["single_label/top1"]
    assert type(metrics["attacks/a/attacked"]).__name__ == "Image"
    assert status == 0
