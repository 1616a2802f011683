import numpy as np
import pytest
import torch
from PIL import Image

from visionlab.batch import PADDING
from visionlab.data.augmentation import Augmentation
from visionlab.data.memory import MemoryDataModule, MemoryDataset, stratified_split
from visionlab.data.sampling import Keys, sample_seeds


class AddSeed(Augmentation):
    def __call__(self, images, seeds):
        return images + (seeds % np.uint64(7)).astype(np.uint8)[:, None, None, None]


class Numbered(MemoryDataModule):
    """30 images of 4 x 6 pixels, each filled with its own number, in three classes."""

    classes = ("a", "b", "c")
    image_shape = (4, 6, 3)

    def arrays(self, split):
        n = 30 if split == "train" else 9
        numbers = np.arange(n, dtype=np.uint8)[:, None, None, None] + (0 if split == "train" else 100)
        return np.broadcast_to(numbers, (n, 4, 6, 3)), np.arange(n) % 3


class PaddedNumbered(Numbered):
    padding = 2


def test_a_batch_is_as_the_contract_says():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (10, 4, 6, 3), dtype=np.uint8), rng.integers(0, 5, 10)
    dataset = MemoryDataset(images, labels, np.arange(10) * 2, None, seed=0)
    indices = np.array([7, 0, 7])
    batch = dataset.__getitems__(Keys(0, indices))
    assert list(batch) == ["images", "labels", "ids"]
    assert batch["images"].dtype == torch.uint8
    assert batch["images"].shape == (3, 3, 4, 6)
    assert batch["images"].is_contiguous()
    for i, index in enumerate(indices):
        for channel in range(3):
            np.testing.assert_array_equal(batch["images"][i, channel].numpy(), images[index, :, :, channel])
    assert batch["labels"].dtype == batch["ids"].dtype == torch.int64
    assert batch["labels"].tolist() == labels[indices].tolist()
    assert batch["ids"].tolist() == [7, 0, 7]
    assert dataset.name(7) == "14"
    np.testing.assert_array_equal(dataset.image(7), images[7])


def test_repeated_images_are_marked_as_padding():
    dataset = MemoryDataset(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int64), np.arange(4), None, seed=0)
    keys = Keys(0, np.array([2, 3, 0]), padded=1)
    assert dataset.__getitems__(keys)["ids"].tolist() == [2, 3, PADDING]
    assert keys.indices.tolist() == [2, 3, 0]
    assert dataset.__getitems__(Keys(0, np.array([2, 3]), padded=0))["ids"].tolist() == [2, 3]


def test_augmentation_is_seeded_by_seed_epoch_and_index():
    dataset = MemoryDataset(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int64), np.arange(4), AddSeed(), seed=9)
    keys = Keys(3, np.array([1, 3]))
    expected = sample_seeds(9, keys) % np.uint64(7)
    assert dataset.__getitems__(keys)["images"][:, 0, 0, 0].tolist() == expected.tolist()
    assert dataset.images.max() == 0  # what is stored stays


def test_splits_are_disjoint_and_only_training_is_augmented():
    data = Numbered(batch_size=4, val_fraction=0.3, augmentation=AddSeed())
    train, val, test = (data.dataset(split) for split in ("train", "val", "test"))
    assert sorted([*train.numbers, *val.numbers]) == list(range(30))
    assert np.bincount(val.labels).tolist() == [3, 3, 3]
    assert (train.augmentation is data.augmentation, val.augmentation, test.augmentation) == (True, None, None)
    for dataset, offset in ((train, 0), (val, 0), (test, 100)):
        assert [image[0, 0, 0] for image in dataset.images] == [number + offset for number in dataset.numbers]
        assert dataset.labels.tolist() == [number % 3 for number in dataset.numbers]


def test_the_validation_split_does_not_depend_on_the_run(monkeypatch):
    first = Numbered(batch_size=4).dataset("val").numbers.tolist()
    monkeypatch.setenv("PL_GLOBAL_SEED", "123")
    assert Numbered(batch_size=8, augmentation=AddSeed()).dataset("val").numbers.tolist() == first


def test_loaders_give_every_image_once():
    data = Numbered(batch_size=4, eval_batch_size=5)
    for stage in ("fit", "test"):
        data.setup(stage)
    ids = {
        name: sorted(torch.cat([batch["ids"] for batch in loader]).tolist())
        for name, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader()))
    }
    assert ids == {"val": [0, 1, 2], "test": list(range(9))}
    train = torch.cat([batch["ids"] for batch in data.train_dataloader()]).tolist()
    assert len(train) == len(set(train)) == 24  # of 27, in whole batches


def test_padding_surrounds_every_image(tmp_path):
    plain, padded = Numbered(batch_size=4).dataset("test"), PaddedNumbered(batch_size=4).dataset("test")
    assert padded.images.shape == (9, 8, 10, 3)
    np.testing.assert_array_equal(padded.images[:, 2:-2, 2:-2], plain.images)
    assert padded.images.sum() == plain.images.sum()
    Image.fromarray(plain.images[3]).save(tmp_path / "three.png")
    np.testing.assert_array_equal(PaddedNumbered(batch_size=4).read(tmp_path / "three.png"), padded.images[3])


def test_reads_a_picture_of_any_size_and_mode(tmp_path):
    Image.new("L", (60, 40), 77).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(Numbered(batch_size=4).read(tmp_path / "grey.png"), np.full((4, 6, 3), 77))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_fraction_outside_0_and_1_is_an_error(fraction):
    with pytest.raises(ValueError, match=f"val_fraction must lie between 0 and 1, not {fraction}"):
        Numbered(batch_size=4, val_fraction=fraction)


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size"])
def test_an_empty_batch_is_an_error(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        Numbered(**{"batch_size": 4, name: 0})


def test_a_split_is_the_same_everywhere():
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 0, 0])
    stay, held = stratified_split(labels, 0.25)
    assert held.tolist() == [0, 10, 11, 15]
    assert stay.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14]


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.2, 0.5])
def test_a_split_is_stratified(fraction):
    labels = np.random.default_rng(0).choice(4, 1000, p=[0.5, 0.3, 0.19, 0.01])
    stay, held = stratified_split(labels, fraction)
    assert sorted([*stay, *held]) == list(range(1000))
    assert stay.tolist() == sorted(stay)
    assert held.tolist() == sorted(held)
    for count, chosen in zip(np.bincount(labels), np.bincount(labels[held], minlength=4), strict=True):
        assert chosen == max(1, round(count * fraction))


def test_a_split_has_no_order():
    """The share that is held out is the same all over the file."""
    _, held = stratified_split(np.zeros(10_000, dtype=np.int64), 0.2)
    tenths = np.bincount(held // 1000)
    assert tenths.min() > 150
    assert tenths.max() < 250


def test_a_sample_is_the_image_without_augmentation_and_its_label():
    data = PaddedNumbered(4, augmentation=AddSeed())
    train = data.dataset("train")
    for index in (0, len(train) - 1):
        sample = train.sample(index)
        assert set(sample) == {"image", "label"}
        assert (sample["image"] == train.image(index)).all()
        assert sample["image"].shape == (8, 10, 3)
        assert sample["label"] == int(train.name(index)) % 3
