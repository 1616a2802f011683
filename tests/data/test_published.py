import gzip
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from jsonargparse import ArgumentParser
from PIL import Image

from visionlab.data.augmentation import CropFlip
from visionlab.data.base import DataModule
from visionlab.data.cifar import CIFAR10, CIFAR100
from visionlab.data.layouts import cifar, mnist
from visionlab.data.mnist import MNIST, FashionMNIST
from visionlab.data.twins.cifar import make_cifar10, make_cifar100
from visionlab.data.twins.mnist import make_fashion_mnist, make_mnist

FAMILIES = [
    (CIFAR10, make_cifar10, cifar.CIFAR10),
    (CIFAR100, make_cifar100, cifar.CIFAR100),
    (MNIST, make_mnist, mnist.MNIST),
    (FashionMNIST, make_fashion_mnist, mnist.FASHION_MNIST),
]
families = pytest.mark.parametrize(("family", "make", "layout"), FAMILIES, ids=[layout.name for *_, layout in FAMILIES])


@families
def test_serves_what_the_files_hold(tmp_path, family, make, layout):
    make(tmp_path, 300, 0)
    data = family(root=str(tmp_path), batch_size=32, val_fraction=0.2)
    assert data.classes == layout.classes  # known before the files are read
    assert data.num_classes == len(layout.classes)
    data.prepare_data()
    train, val, test = (data.dataset(split) for split in ("train", "val", "test"))
    images, labels = layout.read(tmp_path, "train")
    assert len(train) + len(val) == 300
    for dataset in (train, val):
        np.testing.assert_array_equal(dataset.images, images[dataset.numbers])
        np.testing.assert_array_equal(dataset.labels, labels[dataset.numbers])
    np.testing.assert_array_equal(test.images, layout.read(tmp_path, "test")[0])
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["images"].shape == (32, *np.roll(data.image_shape, 1))
    assert list(data.metrics()) == ["single_label"]


def test_superclasses_of_cifar100(tmp_path):
    make_cifar100(tmp_path, 200, 0)
    data = CIFAR100(root=str(tmp_path), batch_size=32, superclasses=True)
    assert data.num_classes == 20
    assert data.classes[1] == "fish"
    np.testing.assert_array_equal(data.dataset("test").labels, cifar.CIFAR100_COARSE.read(tmp_path, "test")[1])


RECIPES = """
- class_path: visionlab.data.cifar.CIFAR10
  init_args: &common
    root: data/x
    batch_size: 8
    eval_batch_size: 16
    num_workers: 0
    val_fraction: 0.2
    augmentation: {class_path: visionlab.data.augmentation.CropFlip, init_args: {padding: 2, flip: false}}
- class_path: visionlab.data.cifar.CIFAR100
  init_args: {<<: *common, superclasses: true}
- class_path: visionlab.data.mnist.MNIST
  init_args: {<<: *common, image_size: 32}
- class_path: visionlab.data.mnist.FashionMNIST
  init_args: {<<: *common, image_size: 32}
"""


@pytest.mark.parametrize("recipe", yaml.safe_load(RECIPES), ids=lambda recipe: recipe["class_path"])
def test_recipes_can_say_everything(recipe):
    parser = ArgumentParser()
    parser.add_subclass_arguments(DataModule, "data")
    data = parser.instantiate(parser.parse_object({"data": recipe})).data
    assert (str(data.root), data.batch_size, data.eval_batch_size, data.val_fraction) == ("data/x", 8, 16, 0.2)
    assert isinstance(data.augmentation, CropFlip)
    assert (data.augmentation.padding, data.augmentation.flip) == (2, False)
    assert (data.num_classes, data.padding) in {(10, 0), (20, 0), (10, 2)}


@pytest.mark.parametrize("size", [28, 30, 32])
def test_mnist_is_padded_with_zeros(tmp_path, size):
    make_mnist(tmp_path, 20, 0)
    plain, padded = (MNIST(root=str(tmp_path), batch_size=4, image_size=s) for s in (28, size))
    images, wide = plain.dataset("test").images, padded.dataset("test").images
    assert wide.shape[1:] == (size, size, 1)
    border = (size - 28) // 2
    np.testing.assert_array_equal(wide[:, border : border + 28, border : border + 28], images)
    assert wide.sum() == images.sum()
    Image.fromarray(images[2, ..., 0]).save(tmp_path / "two.png")
    np.testing.assert_array_equal(padded.read(tmp_path / "two.png"), wide[2])


@pytest.mark.parametrize("size", [27, 26, 31, 0])
def test_mnist_is_neither_cropped_nor_off_centre(size):
    with pytest.raises(ValueError, match=f"even number from 28 up, not {size}"):
        MNIST(root="none", batch_size=4, image_size=size)


def test_serves_the_true_files(shared_data):
    data = CIFAR10(root=str(shared_data / "cifar10"), batch_size=128)
    data.prepare_data()
    data.setup("fit")
    assert (len(data.datasets["train"]), len(data.datasets["val"])) == (3292, 368)
    batch = next(iter(data.train_dataloader()))
    assert batch["images"].float().mean().item() == pytest.approx(121, abs=8)  # CIFAR-10: 0.473 of 255


@families
def test_a_broken_test_file_stops_a_run_before_it_starts(tmp_path, family, make, layout):
    make(tmp_path, 200, 0)
    files = sorted(path for path in (tmp_path / layout.folder).iterdir() if path.name.startswith(("test", "t10k")))
    files[0].write_bytes(files[0].read_bytes()[:-100])
    data = family(root=str(tmp_path), batch_size=4)
    with pytest.raises(ValueError, match=files[0].name):
        data.prepare_data()
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match=rf"{files[0].name} is missing.*visionlab data download {layout.name}"):
        data.prepare_data()


@families
def test_one_process_downloads_what_is_absent(tmp_path, monkeypatch, family, make, layout):
    downloads = []
    monkeypatch.setattr(type(layout), "download", lambda self, root: downloads.append(root) or make(root, 200, 0))
    data = family(root=str(tmp_path), batch_size=4)
    data.prepare_data()
    data.prepare_data()
    assert downloads == [tmp_path]
    assert len(data.dataset("test")) >= 50


@families
def test_several_processes_do_not_download_and_say_who_does(tmp_path, monkeypatch, family, make, layout):
    monkeypatch.setattr(type(layout), "download", lambda self, root: pytest.fail("downloads"))
    data = family(root=str(tmp_path), batch_size=4)
    data.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(FileNotFoundError, match=rf"run `visionlab data download {layout.name} --root {tmp_path}`"):
        data.prepare_data()


def test_a_label_out_of_range_is_named_with_its_file_and_row(tmp_path):
    make_mnist(tmp_path, 20, 0)
    path = tmp_path / "MNIST/raw/train-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[8 + 5] = 10
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz, row 5: label 10 is not in 0\.\.9"):
        MNIST(root=str(tmp_path), batch_size=4).prepare_data()
