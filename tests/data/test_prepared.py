import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional as F

from visionlab.cli import main
from visionlab.data import collate
from visionlab.data.disk import DiskDataset
from visionlab.data.imagenet import ImageNet
from visionlab.data.prepared import Prepared, prepare
from visionlab.data.sampling import Keys

SIZES = [(60, 80), (81, 60), (30, 200), (1, 5), (40, 40), (100, 41)]


class Folder:
    """The simplest records: numbered files."""

    def __init__(self, root, names):
        self.root, self.names = root, names

    def __len__(self):
        return len(self.names)

    def path(self, index):
        return self.root / f"{self.names[index]}.png"

    def name(self, index):
        return self.names[index]

    def annotations(self, index):
        raise AssertionError("annotations are none of its business")


class Plain(Folder):
    def annotations(self, index):
        return {}


def resized(sample, seed):
    return {"image": np.resize(sample["image"], (4, 4, 3))}


@pytest.fixture
def records(tmp_path):
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return Folder(tmp_path, [str(number) for number in range(len(SIZES))])


def test_gives_the_images_back_resized(records, tmp_path):
    """As torchvision's Resize does, which antialiases the same way; it alone enlarges, too."""
    prepare(records, tmp_path / "small" / "train", 40)
    prepared = Prepared(tmp_path / "small" / "train", records)
    assert len(prepared) == len(SIZES)
    for index in (5, 0, 1, 2, 3, 4):
        image = prepared.image(index)
        assert image.dtype == np.uint8
        original = Image.open(records.path(index))
        if min(original.size) <= 40:
            np.testing.assert_array_equal(image, np.asarray(original))
        else:
            short = 40 / min(original.size)
            width, height = (round(short * side) for side in original.size)
            expected = F.resize(original, [height, width])
            np.testing.assert_array_equal(image, np.asarray(expected))
            assert min(image.shape[:2]) == 40
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["train"]


def test_many_images_stay_in_order(tmp_path):
    """More than are kept ahead."""
    for number in range(200):
        Image.new("RGB", (1 + number % 7, 2), (number, 0, 0)).save(tmp_path / f"{number}.png")
    records = Folder(tmp_path, [str(number) for number in range(200)])
    prepare(records, tmp_path / "prepared", 8)
    prepared = Prepared(tmp_path / "prepared", records)
    assert [(int(prepared.image(n)[0, 0, 0]), prepared.image(n).shape[1]) for n in range(200)] == [
        (number, 1 + number % 7) for number in range(200)
    ]


def test_is_cheap_to_send_and_shares_its_pixels(records, tmp_path):
    prepare(records, tmp_path / "prepared", 40)
    prepared = Prepared(tmp_path / "prepared", records)
    first = prepared.image(0)
    sent = pickle.dumps(prepared)
    assert len(sent) < 500
    np.testing.assert_array_equal(pickle.loads(sent).image(0), first)
    assert not first.flags.owndata
    assert not first.flags.writeable


def test_a_folder_that_is_there_is_kept(records, tmp_path):
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "mine").touch()
    with pytest.raises(FileExistsError, match="is there already"):
        prepare(records, tmp_path / "prepared", 40)
    assert (tmp_path / "prepared" / "mine").exists()


def test_images_that_cannot_be_read_are_named_and_the_others_prepared(records, tmp_path):
    whole = [np.asarray(Image.open(records.path(index))) for index in (2, 4)]
    records.path(3).write_bytes(records.path(3).read_bytes()[:-1])
    records.path(5).unlink()
    first, second = prepare(records, tmp_path / "prepared", 40)
    assert "3.png is not a whole image" in first
    assert "5.png" in second
    prepared = pickle.loads(pickle.dumps(Prepared(tmp_path / "prepared", records)))
    np.testing.assert_array_equal(prepared.image(2), whole[0])
    np.testing.assert_array_equal(prepared.image(4), whole[1])
    for index in (3, 5):
        with pytest.raises(ValueError, match=rf"{index}\.png could not be read when .* was prepared"):
            prepared.image(index)
    dataset = DiskDataset(Plain(records.root, records.names), collate.images_only, resized, 0, "skip", prepared)
    with pytest.warns(UserWarning, match=r"skipped 3: .*3\.png could not be read"):
        batch = dataset.__getitems__(Keys(0, np.arange(2, 4)))
    assert batch["skipped"].tolist() == [3]


def test_nothing_is_left_where_no_image_can_be_read(records, tmp_path):
    for index in range(len(SIZES)):
        records.path(index).unlink()
    with pytest.raises(ValueError, match=r"none of the 6 images can be read; the first: .*0\.png"):
        prepare(records, tmp_path / "to" / "prepared", 40)
    assert list((tmp_path / "to").iterdir()) == []


def test_the_command_names_them_and_prepares_the_same_images_once(twins, tmp_path, capsys):
    root = shutil.copytree(twins("imagenet", 30), tmp_path / "imagenet")
    bad = sorted((root / "ILSVRC/Data/CLS-LOC/val").iterdir())[2]
    bad.write_bytes(b"")
    command = ["data", "prepare", "imagenet", "--root", str(root), "--output", "small", "--short_side", "16"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"{bad} is not a whole image" in said
    assert "1 images could not be read: mend them" in said
    assert Path("small/test").is_symlink()
    assert Path("small/test/pixels").samefile("small/val/pixels")
    assert not Path("small/val").is_symlink()
    data = ImageNet(str(root), 2, num_workers=0, prepared="small", on_bad_sample="skip")
    np.testing.assert_array_equal(data.dataset("test").image(0), data.dataset("val").image(0))
    assert main(command) == 0  # all is there


@pytest.mark.parametrize(("short_side", "names"), [(0, ["0"]), (40, [])])
def test_there_must_be_pixels(tmp_path, short_side, names):
    with pytest.raises(ValueError, match=r"short_side must be at least 1|there are no images"):
        prepare(Folder(tmp_path, names), tmp_path / "prepared", short_side)


def test_other_images_are_refused(records, tmp_path):
    with pytest.raises(FileNotFoundError, match="there are no prepared images"):
        Prepared(tmp_path / "prepared", records)
    prepare(records, tmp_path / "prepared", 40)
    with pytest.raises(ValueError, match="was prepared from 6 images, and the data set has 5"):
        Prepared(tmp_path / "prepared", Folder(records.root, records.names[:5]))
    other = Folder(records.root, ["0", "1", "3", "2", "4", "5"])
    with pytest.raises(ValueError, match=r"number 2 is not '3' there"):
        Prepared(tmp_path / "prepared", other)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def forge(path: Path) -> None:
    np.save(path, np.array([[10**9, 10**9]] * 6))


def as_floats(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float64))


def plant(path: Path) -> None:
    np.save(path, np.array([print] * 6, dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("pixels", shorten, "bytes, and its images need"),
        ("sizes.npy", forge, "is damaged"),
        ("sizes.npy", as_floats, "holds float64, not int64"),
        ("names.npy", plant, "names.npy is damaged"),
        ("offsets.npy", shorten, "offsets.npy is damaged"),
    ],
)
def test_damage_is_found_when_it_is_opened(records, tmp_path, file, damage, message):
    prepare(records, tmp_path / "prepared", 40)
    damage(tmp_path / "prepared" / file)
    with pytest.raises(ValueError, match=message):
        Prepared(tmp_path / "prepared", records)
