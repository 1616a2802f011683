from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from visionlab.cli import main
from visionlab.data.layouts.pairs import check_collections, check_pairs, halves, open_folder
from visionlab.data.pairs import PairedImages, UnpairedImages
from visionlab.data.presets import localization_eval, translation_train
from visionlab.data.sampling import Keys


def write(path, *sizes, seed=0):
    """Noise of these widths and heights."""
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    for i, (width, height) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path / f"{i}.png")


def whole(data, split):
    dataset = data.dataset(split)
    return dataset.__getitems__(Keys(0, np.arange(len(dataset))))


def test_a_pair_is_cut_in_the_middle_and_taken_in_either_direction(tmp_path):
    write(tmp_path / "val", (24, 10), (24, 10))
    there, back = (PairedImages(str(tmp_path), 2, direction=d, num_workers=0) for d in ("AtoB", "BtoA"))
    batch, reverse = whole(there, "val"), whole(back, "val")
    stored = np.asarray(Image.open(tmp_path / "val" / "1.png"))
    assert batch["images"].shape == batch["target_images"].shape == (2, 3, 10, 12)
    assert np.array_equal(batch["images"][1].permute(1, 2, 0), stored[:, :12])
    assert np.array_equal(batch["target_images"][1].permute(1, 2, 0), stored[:, 12:])
    assert torch.equal(batch["images"], reverse["target_images"])
    assert torch.equal(batch["target_images"], reverse["images"])
    assert there.num_classes == 0
    assert (there.monitor, there.mode, set(there.metrics())) == ("paired/L1", "min", {"paired"})


def test_both_images_of_a_pair_are_transformed_alike(tmp_path):
    one = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    (tmp_path / "train").mkdir()
    for i in range(8):
        Image.fromarray(np.concatenate([one, 255 - one], axis=1)).save(tmp_path / "train" / f"{i}.png")
    data = PairedImages(str(tmp_path), 8, num_workers=0, train_transform=translation_train(24, 1.25))
    batch = whole(data, "train")
    assert batch["images"].shape == (8, 3, 24, 24)
    assert (batch["images"].int() + batch["target_images"].int() - 255).abs().max() <= 1  # resizing rounds
    assert len({image.numpy().tobytes() for image in batch["images"]}) > 4


def test_an_image_to_translate_is_one_not_a_pair(tmp_path):
    write(tmp_path / "some", (30, 20))
    data = PairedImages(str(tmp_path), 1, num_workers=0, eval_transform=localization_eval(16))
    assert data.read(tmp_path / "some" / "0.png").shape == (16, 16, 3)
    assert UnpairedImages(str(tmp_path), 1).read(tmp_path / "some" / "0.png").shape == (20, 30, 3)


def test_collections_are_shuffled_against_each_other_in_training_only(tmp_path):
    for folder, count in (("trainA", 9), ("trainB", 4), ("testA", 2), ("testB", 3)):
        write(tmp_path / folder, *[(8, 8)] * count, seed=len(folder) + count)
    data = UnpairedImages(str(tmp_path), 3, num_workers=0)
    train, val = data.dataset("train"), data.dataset("val")
    assert (len(train), len(val)) == (9, 3)
    of_b = {
        image.numpy().tobytes(): i for i, image in enumerate(train.others.__getitems__(Keys(0, np.arange(4)))["images"])
    }
    drawn = []
    for epoch in (0, 1, 0):
        batch = train.__getitems__(Keys(epoch, np.arange(9)))
        drawn.append([of_b[image.numpy().tobytes()] for image in batch["other_images"]])
        assert batch["ids"].tolist() == list(range(9))
    assert drawn[0] == drawn[2] != drawn[1]
    assert set(drawn[0] + drawn[1]) == {0, 1, 2, 3}
    batch = val.__getitems__(Keys(0, np.arange(3), padded=1))
    assert batch["ids"].tolist() == [0, 1, -1]
    assert torch.equal(batch["images"][2], batch["images"][0])
    assert not torch.equal(batch["other_images"][2], batch["other_images"][0])
    assert val.name(2) == "0.png"
    assert not data.test_has_labels
    assert data.metrics() == {}


def test_what_is_not_there_or_not_a_pair_is_told(tmp_path):
    write(tmp_path / "train", (25, 10))
    (tmp_path / "val").mkdir()
    data = PairedImages(str(tmp_path), 1, num_workers=0)
    with pytest.raises(ValueError, match=r"train/0\.png: a picture of 25 x 10 pixels is not two images side by side"):
        whole(data, "train")
    with pytest.raises(ValueError, match="val has no images"):
        data.dataset("val")
    with pytest.raises(
        FileNotFoundError, match="test is not a folder: expected train, val, test for pairs side by side"
    ):
        data.dataset("test")
    with pytest.raises(FileNotFoundError, match="trainA is not a folder"):
        UnpairedImages(str(tmp_path), 1).dataset("train")
    with pytest.raises(ValueError, match="direction must be AtoB or BtoA, not 'AB'"):
        PairedImages(str(tmp_path), 1, direction="AB")
    with pytest.raises(ValueError, match="enlarge must be at least 1"):
        translation_train(16, 0.5)
    kinds = {finding.kind: finding.message for finding in check_pairs(tmp_path).errors}
    assert kinds.keys() == {"wrong-size", "malformed-file", "missing-file"}
    assert "train/0.png: a picture of 25 x 10 pixels" in kinds["wrong-size"]
    assert {finding.kind for finding in check_collections(tmp_path).errors} == {"missing-file"}


def test_each_picture_that_is_no_pair_is_found(tmp_path):
    for split, sizes in (("train", [(24, 10), (25, 10), (26, 10), (9, 10)]), ("val", [(8, 8)]), ("test", [(8, 9)])):
        write(tmp_path / split, *sizes, seed=len(split) + len(sizes))
    files = [finding.file for finding in check_pairs(tmp_path).errors if finding.kind == "wrong-size"]
    assert files == [tmp_path / "train" / "1.png", tmp_path / "train" / "3.png"]


def test_a_picture_that_is_no_pair_is_skipped_and_counted(tmp_path):
    write(tmp_path / "train", (24, 10), (25, 10), (24, 10))
    (tmp_path / "train" / "2.png").write_bytes(b"no image")
    data = PairedImages(str(tmp_path), 3, num_workers=0, on_bad_sample="skip", max_skipped=1)
    with pytest.warns(UserWarning, match=r"skipped (1|2)\.png"):
        batch = whole(data, "train")
    assert batch["ids"].tolist() == [0, -1, -1]
    assert batch["skipped"].tolist() == [1, 2]
    assert torch.equal(batch["images"][1], batch["images"][0])
    data.trainer = SimpleNamespace(training=True, testing=False)
    with pytest.raises(ValueError, match="2 images could not be read, more than max_skipped = 1"):
        data.on_before_batch_transfer(batch, 0)


def test_bad_images_of_either_collection_are_skipped_and_counted(tmp_path):
    for folder in ("testA", "testB"):
        write(tmp_path / folder, (8, 8), (8, 8), (8, 8), seed=len(folder))
    for path in (tmp_path / "testA" / "1.png", tmp_path / "testB" / "2.png"):
        path.write_bytes(path.read_bytes()[:60])
    data = UnpairedImages(str(tmp_path), 3, num_workers=0, on_bad_sample="skip")
    with pytest.warns(UserWarning, match=r"skipped (1|2)\.png"):
        batch = whole(data, "val")
    assert batch["ids"].tolist() == [0, -1, 2]
    assert batch["skipped"].tolist() == [1, 3 + 2]
    data.trainer = SimpleNamespace(training=False, testing=False)
    assert "skipped" not in data.on_before_batch_transfer(batch, 0)
    assert data.skipped["val"] == {1, 5}


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_the_twin_is_whole_and_a_function_of_the_seed(tmp_path, name, capsys):
    for root, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(["data", "make", name, "--root", root, "--images", "8", "--seed", str(seed)]) == 0
    assert main(["data", "check", name, "--root", "a"]) == 0
    files = {
        root: sorted(p.relative_to(root) for p in (tmp_path / root).rglob("*.jpg"))
        for root in map(tmp_path.joinpath, "abc")
    }
    one, same, other = files.values()
    assert one == same
    assert len(one) == (16 if name == "pix2pix" else 8 + 9 + 4 + 4)
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in one)
    assert not any((tmp_path / "a" / f).read_bytes() == (tmp_path / "c" / f).read_bytes() for f in other)
    assert main(["data", "make", name, "--root", "a", "--images", "8"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_map_of_the_twin_says_what_its_picture_shows(twins):
    """The mean colour of the pixels of one class is alike in all pictures, and unlike that of the others."""
    records = open_folder(twins("pix2pix") / "train")
    pictures = [halves(np.asarray(Image.open(records.path(i)))) for i in range(len(records))]
    means = {}
    for picture, of_what in pictures:
        nearest = of_what.astype(int) // 64
        for colour in np.unique(nearest.reshape(-1, 3), axis=0):
            inside = (nearest == colour).all(2)
            if inside.sum() > 200:
                means.setdefault(tuple(colour.tolist()), []).append(picture[inside].mean(0))
    assert len(means) >= 4
    within = max(np.std(ones, axis=0).max() for ones in means.values() if len(ones) > 2)
    between = np.std([np.mean(ones, axis=0) for ones in means.values()], axis=0).max()
    assert between > 2 * within
