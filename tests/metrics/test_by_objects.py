"""Metrics of objects at any number of processes, and what is kept about each image."""

import pickle

import numpy as np
import pytest
import torch

from conftest import by_rank
from visionlab.batch import PADDING
from visionlab.metrics.coco import PCK, BoxAP, KeypointAP, MaskAP
from visionlab.metrics.openimages import OpenImagesAP
from visionlab.metrics.precision_recall import eleven_point_area
from visionlab.metrics.voc import VOCAP

CLASSES, IMAGES, SIDE = 3, 13, 32


def world():
    """Predictions and targets by image; the last has no object, and nothing is found in the first."""
    generator = torch.Generator().manual_seed(0)

    def whole(high, *shape):
        return torch.randint(high, shape, generator=generator)

    images = []
    for i in range(IMAGES):
        n, k = (0 if i == IMAGES - 1 else 4), (0 if i == 0 else 9)
        corners = whole(SIDE // 2, n, 2).float()
        boxes = torch.cat([corners, corners + 1 + whole(SIDE // 2, n, 2)], 1)
        target = {
            "boxes": boxes,
            "labels": whole(CLASSES, n),
            "iscrowd": whole(4, n) == 0,
            "difficult": whole(4, n) == 0,
        }
        which = whole(n, k) if n else torch.zeros(0, dtype=torch.int64)
        found = {
            "boxes": boxes[which] + torch.rand(len(which), 4, generator=generator),
            "labels": target["labels"][which],
            "scores": torch.rand(len(which), generator=generator),
        }
        for one in (target, found):
            one["masks"] = torch.zeros(len(one["labels"]), SIDE, SIDE, dtype=torch.uint8)
            for mask, (left, top, right, bottom) in zip(one["masks"], one["boxes"].int().tolist(), strict=True):
                mask[top:bottom, left:right] = 1
            one["keypoints"] = torch.cat([one["boxes"][:, :2], torch.ones(len(one["labels"]), 1)], 1)[:, None]
        labels = torch.full((CLASSES,), torch.nan)
        labels[i % CLASSES] = 1.0
        images.append((found, target, labels))
    return images


def new_metrics():
    ancestors = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    return {
        "box": BoxAP(CLASSES),
        "mask": MaskAP(CLASSES),
        "keypoint": KeypointAP(CLASSES, (0.1,)),
        "pck": PCK(CLASSES),
        "voc": VOCAP(CLASSES, eleven_point_area),
        "voc_masks": VOCAP(CLASSES, eleven_point_area, "masks"),
        "v2": OpenImagesAP(ancestors, "v2"),
        "challenge": OpenImagesAP(ancestors, "challenge", "masks"),
    }


def update(metrics, positions, size, padded=0):
    images = world()
    for start in range(0, len(positions), size):
        chosen = positions[start : start + size]
        ids = torch.tensor(chosen, dtype=torch.int64)
        if padded and start + size >= len(positions):
            ids[-padded:] = PADDING
        found, targets, labels = ([images[i][part] for i in chosen] for part in range(3))
        pictures = [torch.zeros(3, SIDE, SIDE)] * len(chosen)
        batch = {"images": pictures, "targets": targets, "labels": torch.stack(labels), "ids": ids}
        for metric in metrics.values():
            metric.update(found, batch)


def results(metrics):
    return {name: (metric.compute(), metric.records) for name, metric in metrics.items()}


def assert_same(ones, others):
    assert ones.keys() == others.keys()
    for name, pair in ones.items():
        for one, other in zip(pair, others[name], strict=True):
            assert one.keys() == other.keys()
            for key, value in one.items():
                assert value.dtype == other[key].dtype, (name, key)
                np.testing.assert_array_equal(value.numpy(), other[key].numpy(), err_msg=f"{name} {key}")


# positions, batch size, padding at the end; one process has an image in which nothing is found, another has none
SHARES = {
    1: [([*range(IMAGES)][::-1], 5, 0)],
    2: [([0], 1, 0), ([12, 3, 4, 1, 2, *range(5, 12), 0, 1], 3, 2)],
    3: [([*range(6, IMAGES)], 4, 0), ([], 1, 0), ([5, 4, 3, 2, 1, 0, 7], 7, 1)],
}


def share(rank, world):
    metrics = new_metrics()
    update(metrics, *SHARES[world][rank])
    return results(metrics)


@pytest.mark.parametrize("world", SHARES)
def test_any_number_of_processes_gives_the_same_bits(world):
    metrics = new_metrics()
    update(metrics, [*range(IMAGES)], 4)
    expected = results(metrics)
    assert 0 < expected["box"][0]["AP"] < 1
    for got in by_rank(lambda rank: share(rank, world), world):
        assert_same(got, expected)


def test_an_image_that_counts_twice_is_an_error():
    for metric in new_metrics().values():
        update({"one": metric}, [0, 1, 2, 1], 2)
        with pytest.raises(ValueError, match="image 1 was added more than once"):
            metric.compute()


def test_nothing_found_and_nothing_there():
    for name, metric in new_metrics().items():
        update({name: metric}, [0], 1)
        first = metric.compute()
        metric.reset()
        update({name: metric}, [IMAGES - 1], 1)
        second = metric.compute()
        for key in {"AP", "mAP", "PCK"} & first.keys():
            assert first[key] == 0, name
            assert second[key].isnan(), name
        for key, values in metric.records.items():
            assert len(values) == 1, key


def test_masks_are_kept_as_run_lengths():
    metric = MaskAP(CLASSES)
    update({"mask": metric}, [*range(IMAGES)], 4)
    dense = sum(one["masks"].numel() for images in world() for one in images[:2])
    assert len(pickle.dumps(metric.batches)) < dense / 4
    copy = pickle.loads(pickle.dumps(metric))
    assert copy.compute()["AP"] == metric.compute()["AP"]
