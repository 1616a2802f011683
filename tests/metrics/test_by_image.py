import copy
import pickle

import pytest
import torch

from conftest import by_rank
from visionlab.batch import PADDING
from visionlab.metrics.by_image import ByImage
from visionlab.metrics.classification import MultiLabel, SingleLabel

CLASSES = 7
IMAGES = 101


@pytest.fixture
def restored_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def everything():
    """Logits, labels and ids of a whole split, in an order other than that of the ids."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(IMAGES, CLASSES, generator=generator) * 3
    labels = torch.randint(CLASSES, (IMAGES,), generator=generator)
    return logits, labels, torch.randperm(IMAGES, generator=generator)


def multi_hot(labels):
    rows = torch.nn.functional.one_hot(labels, CLASSES).float()
    rows[::3, 2] = torch.nan
    return rows


def new_metrics():
    return {"single": SingleLabel(CLASSES), "multi": MultiLabel(CLASSES)}


def update(metrics, positions, batch_size, padded=0):
    """Add the images at these positions, the last ``padded`` of them as padding."""
    logits, labels, ids = everything()
    rows = multi_hot(labels)
    ids = ids.clone()
    at = list(positions)
    for start in range(0, len(at), batch_size):
        chosen = at[start : start + batch_size]
        batch_ids = ids[chosen]
        if start + batch_size >= len(at) and padded:
            batch_ids[-padded:] = PADDING
        predictions = {"logits": logits[chosen], "scores": logits[chosen].softmax(1)}
        for name, metric in metrics.items():
            targets = rows[chosen] if name == "multi" else labels[chosen]
            metric.update(predictions, {"images": torch.zeros(0), "labels": targets, "ids": batch_ids})


def results(metrics):
    return {name: (metric.compute(), metric.records) for name, metric in metrics.items()}


def alone():
    metrics = new_metrics()
    update(metrics, range(IMAGES), 16)
    return results(metrics)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype
        expected = other[name]
        if value.is_sparse:
            value, expected = value.coalesce(), expected.coalesce()
            assert torch.equal(value.indices(), expected.indices()), name
            value, expected = value.values(), expected.values()
        assert torch.equal(value.nan_to_num(-1), expected.nan_to_num(-1)), name


# unequal shares and batch sizes; (positions, batch size, padding at the end)
SHARES = {
    1: [(range(IMAGES), 10, 0)],
    2: [([*range(70), 3, 4], 9, 2), (range(70, IMAGES), 4, 0)],
    3: [(range(50, IMAGES), 7, 0), ([], 1, 0), ([*range(50), 60], 5, 1)],
}


def share(rank, world):
    metrics = new_metrics()
    update(metrics, *SHARES[world][rank])
    return results(metrics)


@pytest.mark.parametrize("world", SHARES)
def test_any_number_of_processes_gives_the_same_bits(world):
    expected = alone()
    for got in by_rank(lambda rank: share(rank, world), world):
        for name, (metrics, records) in expected.items():
            assert_equal(got[name][0], metrics)
            assert_equal(got[name][1], records)


@pytest.mark.parametrize("seed", range(4))
def test_batch_size_order_and_threads_do_not_matter(seed, restored_threads):
    many = 70_001  # torch adds up more than 32,768 floats in several threads
    generator = torch.Generator().manual_seed(seed)
    # losses of such different sizes that their sum is rounded: that of a sane net's float32 losses is exact in float64
    logits = torch.randn(many, 3, generator=generator) * 10 ** (9 * torch.rand(many, 1, generator=generator))
    labels = torch.randint(3, (many,), generator=generator)

    def computed(order, batch_size, threads):
        metric = SingleLabel(3)
        for at in order.split(batch_size):
            metric.update({"logits": logits[at], "scores": logits[at]}, {"images": at, "labels": labels[at], "ids": at})
        torch.set_num_threads(threads)
        return metric.compute()

    one = computed(torch.arange(many), 10_000, 1)
    assert_equal(computed(torch.arange(many), 4095, 2), one)
    assert_equal(computed(torch.randperm(many, generator=generator), 4096, 3), one)


def test_records_are_in_the_order_of_ids_without_padding():
    metric = SingleLabel(CLASSES)
    update({"single": metric}, [*range(IMAGES), 5, 6, 7], 10, padded=3)
    metric.compute()
    logits, labels, ids = everything()
    assert metric.records["ids"].tolist() == list(range(IMAGES))
    assert torch.equal(metric.records["label"], labels[ids.argsort()])
    assert torch.equal(metric.records["prediction"], logits[ids.argsort()].argmax(1))


@pytest.mark.parametrize("positions", [[], [3, 4]])
def test_no_image_is_an_error(positions):
    metric = SingleLabel(CLASSES)
    update({"single": metric}, positions, 2, padded=len(positions))
    with pytest.raises(ValueError, match="no image"):
        metric.compute()


def test_an_image_that_counts_twice_is_an_error():
    metric = SingleLabel(CLASSES)
    update({"single": metric}, [0, 1, 2, 1], 2)
    with pytest.raises(ValueError, match=f"image {int(everything()[2][1])} was added more than once"):
        metric.compute()


def test_reset_forgets():
    metric = SingleLabel(CLASSES)
    update({"single": metric}, range(50), 10)
    first = metric.compute()
    metric.reset()
    update({"single": metric}, range(50, IMAGES), 10)
    second = metric.compute()
    assert not torch.equal(first["nll"], second["nll"])
    metric.reset()
    update({"single": metric}, range(50), 7)
    assert_equal(metric.compute(), first)


def test_update_after_compute_counts():
    metric = SingleLabel(CLASSES)
    update({"single": metric}, range(50), 10)
    metric.compute()
    update({"single": metric}, range(50, IMAGES), 10)
    assert_equal(metric.compute(), alone()["single"][0])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, SingleLabel.clone, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_go_their_own_way(duplicate):
    metric = SingleLabel(CLASSES)
    update({"single": metric}, range(50), 10)
    other = duplicate(metric)
    update({"single": other}, range(50, IMAGES), 10)
    assert_equal(other.compute(), alone()["single"][0])
    assert int(metric.compute()["confusion"].sum()) == 50


def test_moving_and_saving_leave_the_images_alone():
    metric = SingleLabel(CLASSES)
    update({"single": metric}, range(50), 10)
    metric.to("cpu").half()
    update({"single": metric}, range(50, IMAGES), 10)
    assert_equal(metric.compute(), alone()["single"][0])
    assert metric.state_dict() == {}


def test_forward_is_refused_and_loses_nothing():
    metric = SingleLabel(CLASSES)
    update({"single": metric}, range(IMAGES), 10)
    with pytest.raises(TypeError, match="update"):
        metric({}, {})
    assert_equal(metric.compute(), alone()["single"][0])


def test_gradients_are_not_kept():
    class Logits(ByImage):
        def record(self, predictions, batch):
            return {"logits": predictions["logits"] * 2}

        def evaluate(self, records):
            return {"sum": records["logits"].sum()}

    metric = Logits()
    logits = torch.ones(2, 3, requires_grad=True)
    metric.update({"logits": logits}, {"ids": torch.arange(2)})
    assert metric.compute()["sum"] == 12
    assert not metric.records["logits"].requires_grad
