"""``visionlab predict``: pictures in, what the net says about them out."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from stand_ins import TinyNet
from visionlab.cli import main
from visionlab.load import load


@pytest.fixture
def run(finished):
    shutil.copytree(finished, "copy/tiny/0")
    return Path("copy/tiny/0")


@pytest.fixture
def images():
    """Twelve pictures of test digits, in a folder and one below it."""
    pixels = (load_digits().images[320:332] * 255 / 16).round().astype(np.uint8)
    folder = Path("images/more")
    folder.mkdir(parents=True)
    paths = [(folder if i % 3 == 0 else folder.parent) / f"digit{i:02}.png" for i in range(12)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return dict(zip(map(str, paths), pixels, strict=True))


def rows(folder):
    with (Path(folder) / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def own_scores(run, pixels):
    """The net's, by torch alone."""
    net = TinyNet(10)
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    net.load_state_dict({name.removeprefix("net."): value for name, value in state.items()})
    with torch.no_grad():
        return net.eval()(torch.from_numpy(pixels)[None, None].float() / 255).softmax(1)[0]


def test_writes_the_five_best_scores_of_the_net_itself(run, images, capsys):
    assert main(["predict", str(run), "images"]) == 0
    assert f"12 of 12 images predicted into {run / 'predictions'}" in capsys.readouterr().out
    table = rows(run / "predictions")
    assert len(table) == 60
    for at, path in enumerate(sorted(images)):
        best = own_scores(run, images[path]).topk(5)
        five = table[5 * at : 5 * at + 5]
        assert [row["image"] for row in five] == [path] * 5
        assert [row["rank"] for row in five] == list("12345")
        assert [row["class"] for row in five] == [str(i) for i in best.indices.tolist()]
        assert [float(row["score"]) for row in five] == pytest.approx(best.values.tolist(), abs=2e-6)


def test_keeps_the_order_in_which_files_are_named(run, images):
    named = sorted(images, reverse=True)[:4]
    assert main(["predict", str(run), *named, "images/more", "--output", "out"]) == 0
    order = [row["image"] for row in rows("out")][::5]
    assert order == [*named, *sorted(path for path in images if "more" in path)]
    assert not (run / "predictions").exists()


def test_a_bad_file_is_reported_after_the_others_were_predicted(run, images, capsys):
    Path("images/digit00b.png").write_bytes(b"no picture")
    whole = Path("images/digit01.png").read_bytes()
    Path("images/digit01b.png").write_bytes(whole[: len(whole) // 2])
    assert main(["predict", str(run), "images"]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("visionlab: ")]
    assert ["digit00b.png" in lines[0], "digit01b.png" in lines[1], len(lines)] == [True, True, 2]
    assert "12 of 14 images predicted" in captured.out
    assert [row["image"] for row in rows(run / "predictions")][::5] == sorted(images)


def test_only_bad_files_leave_an_empty_table(run, capsys):
    Path("bad.png").write_bytes(b"no picture")
    assert main(["predict", str(run), "bad.png"]) == 2
    assert rows(run / "predictions") == []
    assert "bad.png" in capsys.readouterr().err


def test_classes_have_the_names_that_the_weights_were_trained_with(run, images):
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    for entry in content["label_map"]:
        entry["name"] = f"digit {entry['index']}"
    torch.save(content, path)
    assert main(["predict", str(run), "images"]) == 0
    assert {row["class"] for row in rows(run / "predictions")} <= {f"digit {i}" for i in range(10)}
    assert load(run).class_names[3] == "digit 3"


def test_draws_every_image_with_its_prediction(run, images):
    many = [path for path in images for _ in range(6)]  # 72: two sheets
    assert main(["predict", str(run), *many]) == 0
    sheets = sorted((run / "predictions").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["predictions_0.png", "predictions_1.png"]
    first, second = (np.asarray(Image.open(sheet).convert("L")) for sheet in sheets)
    assert first.size > 4 * second.size  # 64 images and 8
    assert first.std() > 20
    assert len(rows(run / "predictions")) == 5 * 72


def test_colour_and_large_pictures_are_brought_to_the_form_of_the_data(run, images):
    pixels = images["images/digit01.png"]
    wide = np.repeat(np.repeat(pixels, 40, 0), 40, 1)
    Image.fromarray(np.stack([wide] * 3, 2)).save("wide.png")
    assert main(["predict", str(run), "wide.png", "images/digit01.png"]) == 0
    table = rows(run / "predictions")
    assert table[0]["class"] == table[5]["class"]
    assert float(table[0]["score"]) == pytest.approx(float(table[5]["score"]), abs=0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "images"], "nowhere is not a run folder: it has no run.json"),
        (["copy/tiny/0", "absent.png"], "there is no image absent.png"),
        (["copy/tiny/0", "copy/tiny/0/results"], "there are no images in copy/tiny/0/results"),
        (["copy/tiny/0", "images", "--ckpt_path", "no.ckpt"], "there is no checkpoint no.ckpt"),
        (["copy/tiny/0", "images", "--ckpt_path", "https://127.0.0.1/x.ckpt"], "x.ckpt is an address"),
    ],
)
def test_mistakes_are_named(run, images, capsys, words, message):
    assert main(["predict", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (run / "predictions").exists()


def test_a_run_of_a_later_format_is_refused(run, images, capsys):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "format": 2}))
    assert main(["predict", str(run), "images"]) == 2
    assert "has run folder format 2; this visionlab reads up to 1" in capsys.readouterr().err


def test_a_net_that_generates_nothing_wants_images(finished, capsys):
    assert main(["predict", str(finished)]) == 2
    assert "which images?" in capsys.readouterr().err.splitlines()[-1]
    assert main(["predict", str(finished), "image.png", "--samples", "3"]) == 2
