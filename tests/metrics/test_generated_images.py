import numpy as np
import pytest
import torch
from torch import nn

from conftest import in_processes
from visionlab.metrics.frechet import frechet_distance, mean_and_covariance
from visionlab.metrics.generated_images import (
    BLOCK,
    Extractor,
    Features,
    GeneratedImages,
    Memory,
    Reference,
    extract,
    to_bytes,
)
from visionlab.metrics.generation import inception_score, kernel_distance, nearest, radii, within

CLASSES = ("zero", "one", "two", "three")
SAMPLES = 61


class SmallExtractor(Extractor):
    """A net whose bits depend on the size of a batch, as those of most nets do."""

    name = "small"
    classes = CLASSES

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(1, 12, 5), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 144, 24), nn.ReLU())
            self.head = nn.Linear(24, 4)

    def open(self):
        pass

    def forward(self, images):
        assert len(images) == BLOCK
        assert images.dtype == torch.float32
        features = self.body(images)
        return Features(features, self.head(features))


def images_of(seed, count=SAMPLES):
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) ** (1 + seed)


def new_metric(samples=SAMPLES, classes=CLASSES):
    extractor = SmallExtractor()
    real, held_out = (extract(extractor, to_bytes(images_of(seed, 80))).features.numpy() for seed in (1, 2))
    reference = Reference(real, *mean_and_covariance(real), radii(real))
    return GeneratedImages(extractor, reference, Memory(real, nearest(held_out, real)[1]), samples, classes)


def update(metric, at, batch_size, seed=0):
    images = images_of(seed)
    for ids in torch.tensor(list(at), dtype=torch.int64).split(batch_size) if len(at) else ():
        metric.update({"images": images[ids]}, {"ids": ids})


def results_of(at=range(SAMPLES), batch_size=SAMPLES, **arguments):
    metric = new_metric(**arguments)
    update(metric, at, batch_size)
    return metric.compute(), metric.neighbours


def test_scores_are_those_of_the_features_of_bytes():
    results, neighbours = results_of()
    metric = new_metric()
    real = metric.reference.features
    pixels = torch.from_numpy((images_of(0).numpy() * np.float32(255)).round().astype(np.uint8))
    features, logits = (found.numpy() for found in extract(metric.extractor, pixels))
    one_by_one = torch.cat([extract(metric.extractor, pixel[None]).features for pixel in pixels])
    assert np.array_equal(one_by_one, features)
    assert results["fid"] == frechet_distance(*mean_and_covariance(features), *mean_and_covariance(real))
    assert (results["kid"], results["kid_std"]) == kernel_distance(features, real)
    assert (results["inception_score"], results["inception_score_std"]) == inception_score(logits)
    assert results["precision"] == within(features, real, radii(real)).mean()
    assert results["recall"] == within(real, features, radii(features)).mean()
    rows, distances = nearest(features, real)
    assert neighbours["nearest"].tolist() == rows.tolist()
    assert results["nearer_than_held_out"] == (distances < np.median(metric.memory.held_out)).mean()
    assert neighbours["label"].tolist() == logits.argmax(1).tolist()
    counts = [neighbours["label"].tolist().count(label) for label in range(4)]
    assert (results["share_per_class"] * SAMPLES).round().tolist() == counts
    assert results["least_class_share"] == results["share_per_class"].min()
    assert all(value.dtype == torch.float64 for value in results.values())


SHARES = {
    2: [(range(0, SAMPLES, 2), 7), (range(1, SAMPLES, 2), 5)],
    3: [(range(40, SAMPLES), 33), ([], 1), (range(40), 3)],
}


@pytest.mark.parametrize("world", SHARES)
def test_any_number_of_processes_gives_the_same_bits(world, tmp_path):
    def one_process():
        torch.distributed.init_process_group("gloo")
        at, batch_size = SHARES[world][torch.distributed.get_rank()]
        results, _ = results_of(at, batch_size)
        torch.save(results, tmp_path / f"{torch.distributed.get_rank()}.pt")
        torch.distributed.destroy_process_group()
        return 0

    assert in_processes(one_process, world) == [0] * world
    expected, _ = results_of()
    for rank in range(world):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_copies_of_training_images_are_noticed():
    metric = new_metric()
    metric.update({"images": images_of(1, 80)[:SAMPLES]}, {"ids": torch.arange(SAMPLES)})
    results = metric.compute()
    assert results["nearer_than_held_out"] == 1
    assert metric.neighbours["nearest"].tolist() == list(range(SAMPLES))
    assert not metric.neighbours["distance"].any()
    assert results["precision"] == 1


def test_one_image_again_and_again():
    metric = new_metric()
    metric.update({"images": torch.full((SAMPLES, 1, 16, 16), 0.3)}, {"ids": torch.arange(SAMPLES)})
    results = metric.compute()
    assert all(value.isfinite().all() for value in results.values())
    assert results["inception_score"] == pytest.approx(1)
    assert results["recall"] == 0
    assert results["least_class_share"] == 0
    assert results["share_per_class"].max() == 1


def test_precision_of_training_does_not_matter():
    expected, _ = results_of()
    metric = new_metric()
    with torch.autocast("cpu", torch.bfloat16):
        update(metric, range(SAMPLES), 8)
    assert metric.compute()["fid"] == expected["fid"]


def test_another_number_of_images_has_no_score():
    results, neighbours = results_of(range(3), samples=SAMPLES)
    assert results.keys() == {*results_of()[0]} - {"share_per_class", "least_class_share"}
    assert all(value.isnan() for value in results.values())
    assert len(neighbours["nearest"]) == 3


def test_classes_of_another_data_set_are_not_counted():
    assert "share_per_class" not in results_of(classes=("cat", "dog", "hat", "log"))[0]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (torch.nan, FloatingPointError, "image 2 has pixels that are not finite; 1 images have"),
        (torch.inf, FloatingPointError, "image 2 has pixels that are not finite"),
        (-0.5, ValueError, r"image 2 has pixels outside \[0, 1\]"),
        (1.01, ValueError, "sigmoid"),
    ],
)
def test_pixels_that_are_none_are_an_error(value, error, message):
    metric = new_metric()
    images = images_of(0)
    images[2, 0, 3, 3] = value
    metric.update({"images": images}, {"ids": torch.arange(SAMPLES)})
    with pytest.raises(error, match=message):
        metric.compute()


def test_images_are_rounded_as_files_are():
    values = torch.tensor([0.0, 1.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 128 / 255])
    assert to_bytes(values).tolist() == [0, 255, 0, 1, 254, 128]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(every.float() / 255), every)
