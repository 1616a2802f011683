import hashlib
import pickle

import numpy as np
import pytest
import torchvision
from sklearn.ensemble import ExtraTreesClassifier

from visionlab.data.layouts.cifar import CIFAR10, CIFAR100
from visionlab.data.layouts.mnist import FASHION_MNIST, MNIST
from visionlab.data.twins.cifar import make_cifar10, make_cifar100
from visionlab.data.twins.drawing import TEXTURES, natural_noise
from visionlab.data.twins.mnist import make_fashion_mnist, make_mnist
from visionlab.data.twins.python2 import pickle_python2

TWINS = [(CIFAR10, make_cifar10), (CIFAR100, make_cifar100), (MNIST, make_mnist), (FASHION_MNIST, make_fashion_mnist)]
twins = pytest.mark.parametrize(("layout", "make"), TWINS, ids=[layout.name for layout, _ in TWINS])


def bytes_below(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@twins
def test_holds_as_many_images_as_asked_for_of_every_class(tmp_path, layout, make):
    make(tmp_path, 230, 0)
    classes = len(layout.classes)
    for split, size in (("train", 230), ("test", max(57, classes))):
        images, labels = layout.read(tmp_path, split)
        assert len(images) == len(labels) == size
        counts = np.bincount(labels, minlength=classes)
        assert counts.min() >= 1
        assert counts.max() - counts.min() <= 1
    assert layout.check(tmp_path).errors == []


@twins
def test_is_a_function_of_the_seed(tmp_path, layout, make):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make(tmp_path / name, 200, seed)
    assert bytes_below(tmp_path / "a") == bytes_below(tmp_path / "b")
    first, other = layout.read(tmp_path / "a", "train")[0], layout.read(tmp_path / "c", "train")[0]
    assert not (first == other).all()
    assert len({image.tobytes() for image in np.concatenate([first, layout.read(tmp_path / "a", "test")[0]])}) >= 250


@twins
def test_replaces_nothing(tmp_path, layout, make):
    make(tmp_path, 200, 0)
    before = bytes_below(tmp_path)
    with pytest.raises(FileExistsError, match="is there already"):
        make(tmp_path, 200, 1)
    assert bytes_below(tmp_path) == before


@twins
def test_too_few_images_are_an_error(tmp_path, layout, make):
    least = 2 * len(layout.classes)
    with pytest.raises(ValueError, match=f"{least - 1} training images are too few.*at least {least}"):
        make(tmp_path, least - 1, 0)
    assert bytes_below(tmp_path) == {}


def checksums(root, layout, files):
    return [[file, hashlib.md5((root / layout.folder / file).read_bytes()).hexdigest()] for file in files]


@pytest.mark.parametrize(("layout", "make"), TWINS[:2], ids=["cifar10", "cifar100"])
def test_torchvision_opens_the_pickles(tmp_path, layout, make):
    make(tmp_path, 200, 0)
    original = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[layout.name]

    lists = {f"{split}_list": checksums(tmp_path, layout, layout.splits[split]) for split in ("train", "test")}
    meta = {**original.meta, "md5": checksums(tmp_path, layout, [layout.meta])[0][1]}
    opens = type("Twin", (original,), {**lists, "meta": meta})
    for split in ("train", "test"):
        images, labels = layout.read(tmp_path, split)
        twin = opens(tmp_path, train=split == "train")
        np.testing.assert_array_equal(twin.data, images)
        assert twin.targets == labels.tolist()
        assert tuple(twin.classes) == layout.classes


@pytest.mark.parametrize(("layout", "make"), TWINS[2:], ids=["mnist", "fashionmnist"])
def test_torchvision_opens_the_idx_files(tmp_path, layout, make):
    make(tmp_path, 200, 0)
    original = {"mnist": torchvision.datasets.MNIST, "fashionmnist": torchvision.datasets.FashionMNIST}[layout.name]
    for path in (tmp_path / layout.folder).iterdir():
        torchvision.datasets.utils.extract_archive(str(path), str(path.parent))
    for split in ("train", "test"):
        images, labels = layout.read(tmp_path, split)
        twin = original(tmp_path, train=split == "train")
        np.testing.assert_array_equal(twin.data.numpy(), images[..., 0])
        assert twin.targets.tolist() == labels.tolist()


def colours(images):
    """Of each channel the mean, the spread and a histogram: all that colour and brightness tell."""
    pixels = images.reshape(len(images), -1, images.shape[-1])
    histograms = [
        np.stack([np.histogram(pixels[i, :, channel], 8, (0, 256))[0] for i in range(len(pixels))])
        for channel in range(images.shape[-1])
    ]
    return np.concatenate([pixels.mean(1), pixels.std(1), *histograms], axis=1)


def spectra(images):
    """The amplitudes of spatial frequencies, wherever the object is."""
    grey = images.mean(-1)
    grey -= grey.mean((1, 2), keepdims=True)
    window = np.hanning(grey.shape[1])
    return np.log1p(np.abs(np.fft.rfft2(grey * window[:, None] * window))).reshape(len(grey), -1)


@pytest.mark.parametrize(
    ("layout", "make", "by_colour", "by_shape"),
    [(*twin, *bounds) for twin, bounds in zip(TWINS, [(0.4, 0.8), (0.05, 0.15), (0.5, 0.8), (0.75, 0.9)], strict=True)],
    ids=[layout.name for layout, _ in TWINS],
)
def test_can_be_learned_but_not_by_colour(tmp_path, layout, make, by_colour, by_shape):
    make(tmp_path, 800, 0)
    (images, labels), (test_images, test_labels) = (layout.read(tmp_path, split) for split in ("train", "test"))

    def accuracy(features):
        forest = ExtraTreesClassifier(50, random_state=0).fit(features(images), labels)
        return forest.score(features(test_images), test_labels)

    assert accuracy(colours) < by_colour
    assert accuracy(spectra) > by_shape


def test_noise_has_the_spectrum_of_photographs():
    """Power falls as one over the frequency squared: a slope of -2 in the logarithms."""
    rng = np.random.default_rng(0)
    noise = np.stack([natural_noise(rng, 32, 32, 1)[..., 0] for _ in range(200)])
    assert np.abs(noise.mean((1, 2))).max() < 1e-12
    np.testing.assert_allclose(noise.std((1, 2)), 1)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(0)[0, 1:12]  # along one axis
    slope = np.polyfit(np.log(np.arange(1, 12)), np.log(power), 1)[0]
    assert abs(slope + 2) < 0.2


def test_no_texture_is_another_s_mirror_image():
    """Training flips; a mirror image must not be another class. Phases differ, so spectra are compared."""
    y, x = np.mgrid[:32, :32].astype(float)
    spectrum = [np.abs(np.fft.fft2(texture(x, y))) for texture in TEXTURES]
    mirrored = [np.abs(np.fft.fft2(texture(x, y)[:, ::-1])) for texture in TEXTURES]
    for i in range(len(TEXTURES)):
        for j in range(len(TEXTURES)):
            if i != j:
                assert np.abs(spectrum[i] - mirrored[j]).max() > 50


def test_pickles_as_python_2_did(shared_data):
    """The official file, written again, means the same in both of the encodings in use."""
    official = (shared_data / "cifar10" / "cifar-10-batches-py" / "batches.meta").read_bytes()
    again = pickle_python2(pickle.loads(official, encoding="bytes"))
    for encoding in ("bytes", "latin1"):
        assert pickle.loads(again, encoding=encoding) == pickle.loads(official, encoding=encoding)


def test_pickles_arrays_as_python_2_did():
    content = {b"data": np.arange(512, dtype=np.int64).astype(np.uint8).reshape(2, 256), b"labels": [0, 2**31 - 1]}
    again = pickle.loads(pickle_python2(content), encoding="latin1")
    assert again["labels"] == content[b"labels"]
    assert again["data"].dtype == np.uint8
    np.testing.assert_array_equal(again["data"], content[b"data"])
