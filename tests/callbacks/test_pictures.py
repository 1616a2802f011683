import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stand_ins import FewDigits
from visionlab.callbacks import pictures
from visionlab.cli import main
from visionlab.pictures.confusion import confusion
from visionlab.pictures.grids import grid


@pytest.fixture
def sheets(monkeypatch):
    """Every sheet that is drawn: its images, its captions and the colours of its frames."""
    drawn = []

    def note(images, *, captions, colours=None):
        drawn.append((images, captions, colours))
        return grid(images, captions=captions, colours=colours)

    monkeypatch.setattr(pictures, "grid", note)
    return drawn


def fit(recipe, *overrides):
    words = ["--trainer.logger", "false", "--trainer.max_epochs", "1", *overrides]
    return main(["fit", "--config", str(recipe), *words])


def names():
    return sorted(path.stem for path in Path("runs/tiny/0/pictures").iterdir())


def test_training_images_are_drawn_as_they_were_fed_to_the_net(recipe, sheets):
    assert (
        fit(recipe, *["--trainer.callbacks+", "{class_path: stand_ins.KeepFirstBatch, init_args: {path: first.pt}}"])
        == 0
    )
    images, captions, _ = sheets[0]
    batch = torch.load("first.pt")
    assert len(images) == 16
    for image, fed, caption, label in zip(images, batch["images"], captions, batch["labels"], strict=True):
        np.testing.assert_array_equal(image[..., 0], (fed[0] * 255).round())
        assert caption == str(int(label))


@pytest.mark.parametrize(("stage", "sheet"), [("val", 1), ("test", 2)])
def test_the_worst_mistakes_come_first_with_truth_and_prediction(recipe, sheets, stage, sheet):
    assert fit(recipe) == 0
    with Path(f"runs/tiny/0/per_image/{stage}.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -float(row["loss"]))[:32]
    images, captions, colours = sheets[sheet]
    split = FewDigits().dataset(stage)
    by_name = {split.name(i): split.image(i) for i in range(len(split))}
    for row, image, caption, colour in zip(rows, images, captions, colours, strict=True):
        np.testing.assert_array_equal(image, by_name[row["id"]])
        assert caption == f"{row['label']}\n→ {row['prediction']} {float(row['confidence']):.0%}"
        assert (colour == pictures.RIGHT) == (row["label"] == row["prediction"])


def test_the_confusion_matrix_is_that_of_the_results(recipe):
    assert fit(recipe) == 0
    with Path("runs/tiny/0/results/test_confusion.csv").open(newline="") as file:
        matrix = np.array([[float(row[c]) for c in "0123456789"] for row in csv.DictReader(file)])
    expected = np.asarray(confusion(matrix, tuple("0123456789")))
    np.testing.assert_array_equal(np.asarray(Image.open("runs/tiny/0/pictures/test_confusion.png")), expected)


def test_validation_is_drawn_at_the_end_and_after_each_while(recipe, sheets, monkeypatch):
    assert fit(recipe, "--trainer.max_epochs", "3") == 0
    assert len(sheets) == 3  # samples, validation, test
    monkeypatch.setattr(pictures, "SECONDS_BETWEEN", 0)
    assert fit(recipe, "--trainer.max_epochs", "3") == 0
    assert len(sheets) == 3 + 2 + 4  # validation after each epoch too
    assert names() == ["curves", "test_confusion", "test_worst", "train_samples", "val_confusion", "val_worst"]


def test_a_continued_run_keeps_the_samples_that_it_began_with(recipe):
    assert fit(recipe) == 0
    samples = Path("runs/tiny/0/pictures/train_samples.png")
    before = samples.read_bytes()
    samples.write_bytes(b"kept")
    assert fit(recipe, "--trainer.max_epochs", "2", "--resume", "runs/tiny/0") == 0
    assert samples.read_bytes() == b"kept" != before
