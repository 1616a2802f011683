from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from visionlab.cli import data as data_command
from visionlab.cli import main
from visionlab.data.disk import DiskDataModule
from visionlab.data.sample import VOID
from visionlab.pictures.grids import fit, grid
from visionlab.pictures.masks import semantic
from visionlab.pictures.objects import objects
from visionlab.pictures.palette import class_colour

BOXES = np.array([[4.0, 6.0, 20.0, 24.0], [30.0, 2.0, 58.0, 40.0]])


MASK = np.repeat(np.array([0, 1, 2, VOID], np.uint8), 15)[None].repeat(45, axis=0)
KNOWN = {
    "FarmClassification": {"label": 2},
    "FarmMultiLabel": {"labels": np.array([np.nan, 1, 1], np.float32)},
    "FarmDetection": {
        "objects": {
            "boxes": BOXES,
            "labels": np.array([1, 2]),
            "crowd": np.array([False, True]),
            "difficult": np.array([True, False]),
        }
    },
    "FarmKeypoints": {
        "objects": {
            "boxes": BOXES,
            "labels": np.array([1, 1]),
            "masks": np.stack([np.eye(45, 60, dtype=np.uint8), np.eye(45, 60, 9, dtype=np.uint8)]),
            "keypoints": np.arange(2 * 17 * 3).reshape(2, 17, 3) % 50.0,
        }
    },
    "FarmSegmentation": {"mask": MASK},
}


class FarmRecords:
    """Five images of 60 x 45 pixels, of which the first three are to train on."""

    def __init__(self, root, split, known):
        self.root, self.known = root, known
        self.numbers = {"train": [0, 1, 2], "val": [3, 4], "test": []}[split]

    def __len__(self):
        return len(self.numbers)

    def path(self, index):
        return self.root / f"{self.numbers[index]}.png"

    def name(self, index):
        return f"farm/{self.numbers[index]}"

    def annotations(self, index):
        return self.known


class Farm(DiskDataModule):
    classes = ("background", "cow", "pig")
    train_collate = eval_collate = staticmethod(list)

    def metrics(self):
        return {}

    def records(self, split):
        return FarmRecords(self.root, split, KNOWN[type(self).__name__])


class FarmClassification(Farm):
    pass


class FarmMultiLabel(Farm):
    pass


class FarmDetection(Farm):
    pass


class FarmKeypoints(Farm):
    pass


class FarmSegmentation(Farm):
    pass


@pytest.fixture
def farm(tmp_path, monkeypatch):
    """A data set of all tasks; gives its root."""
    card = yaml.safe_load((data_command.CARDS / "mnist.yaml").read_text())
    card["data"] = [f"{__name__}.{module}" for module in KNOWN]
    cards = tmp_path / "cards"
    cards.mkdir()
    (cards / "farm.yaml").write_text(yaml.safe_dump(card))
    monkeypatch.setattr(data_command, "CARDS", cards)
    root = tmp_path / "animals"
    root.mkdir()
    for number in range(5):
        Image.fromarray(image(number)).save(root / f"{number}.png")
    return root


def image(number):
    return np.random.default_rng(number).integers(0, 256, (45, 60, 3), dtype=np.uint8)


def show(capsys, *words):
    status = main(["data", "show", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out.strip(), captured.err


def pixels(path):
    return np.asarray(Image.open(path))


def sheet(pictures, captions, title):
    """What a sheet of these pictures looks like."""
    pictures = [np.asarray(picture) for picture in pictures]
    return np.asarray(grid(pictures, captions, columns=4, cell=max(max(p.shape) for p in pictures), title=title))


def test_draws_labels(capsys, farm):
    assert show(capsys, "farm", "--root", farm) == (0, "farm_val.png", "")
    expected = sheet([fit(image(n), 160) for n in (3, 4)], ["farm/3\npig", "farm/4\npig"], "farm, val")
    assert (pixels("farm_val.png") == expected).all()
    assert show(capsys, "farm", "--root", farm, "--as", "multilabel", "--images", 1)[0] == 0
    expected = sheet([fit(image(3), 160)], ["farm/3\ncow, pig"], "farm, val")
    assert (pixels("farm_val.png") == expected).all()


@pytest.mark.parametrize(("ending", "module"), [("detection", "FarmDetection"), ("keypoints", "FarmKeypoints")])
def test_draws_objects(capsys, farm, ending, module):
    words = ("farm", "--root", farm, "--as", ending, "--split", "train", "--output", "deep/a.PNG")
    assert show(capsys, *words) == (0, "deep/a.PNG", "")
    known = KNOWN[module]["objects"]
    drawn = [
        objects(
            image(n),
            BOXES,
            captions=[Farm.classes[label] for label in known["labels"]],
            colours=[class_colour(label) for label in known["labels"].tolist()],
            masks=known.get("masks"),
            keypoints=known.get("keypoints"),
            dashed=known.get("crowd"),
            thin=known.get("difficult"),
            side=480,
        )
        for n in range(3)
    ]
    expected = sheet(drawn, ["farm/0", "farm/1", "farm/2"], "farm, train")
    assert (pixels("deep/a.PNG") == expected).all()


def test_draws_masks_with_the_background_as_it_is(capsys, farm):
    assert show(capsys, "farm", "--root", farm, "--as", "Segmentation")[0] == 0
    colours = [None, class_colour(1), class_colour(2)]
    drawn = [semantic(image(n), MASK, Farm.classes, colours, VOID, side=480) for n in (3, 4)]
    assert (pixels("farm_val.png") == sheet(drawn, ["farm/3", "farm/4"], "farm, val")).all()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashionmnist", "mnist"])
def test_shows_twins(capsys, name):
    assert main(["data", "make", name, "--images", "200"]) == 0
    capsys.readouterr()
    assert show(capsys, name, "--images", 8) == (0, f"{name}_val.png", "")
    height, width, _ = pixels(f"{name}_val.png").shape
    assert width == pytest.approx(4 * 176, abs=60)
    assert height == pytest.approx(2 * 210, abs=60)


def test_images_are_evenly_spaced_over_the_split(capsys):
    assert show(capsys, "digits", "--split", "test", "--images", 3)[0] == 0
    from visionlab.data.digits import Digits

    digits = Digits(batch_size=1).dataset("test")
    assert len(digits) == 359
    samples = [digits.sample(index) for index in (0, 179, 358)]
    captions = [f"{n}\n{sample['label']}" for n, sample in zip((0, 179, 358), samples, strict=True)]
    expected = sheet([fit(sample["image"], 160) for sample in samples], captions, "digits, test")
    assert (pixels("digits_test.png") == expected).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--as", "pose"), "--as pose must be the end of just one of FarmClassification, FarmMultiLabel, FarmDet"),
        (("--split", "test"), "the test split of farm in animals has no images"),
        (("--images", "0"), "--images must be at least 1, not 0"),
        (("--output", "a.tif"), "--output must be a file that ends in .png, not a.tif"),
        (("--root", "nowhere"), "nowhere/3.png"),
    ],
)
def test_mistakes_are_one_line(capsys, farm, words, message):
    status, out, err = show(capsys, "farm", "--root", "animals", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(Path().glob("*.png"))


def test_shows_real_images(capsys, shared_data):
    assert show(capsys, "cifar10", "--root", shared_data / "cifar10", "--split", "test")[0] == 0
    assert Path("cifar10_test.png").is_file()
