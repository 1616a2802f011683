import pickle
import shutil
import struct
import time
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer

from visionlab.data.presets import classification_eval, classification_train, dense_train, detection_train
from visionlab.data.sampling import Keys
from visionlab.data.voc import VOCClassification, VOCDetection, VOCInstances, VOCSegmentation


@pytest.fixture(scope="module")
def twin(twins):
    return twins("voc", 20)


@pytest.fixture
def root(twin):
    """A copy to change."""
    shutil.copytree(twin, "voc")
    return Path("voc")


def loaded(data):
    """The first two batches to train on, and all to validate on."""
    data.trainer = Trainer(logger=False, accelerator="cpu")
    data.prepare_data()
    data.setup("fit")
    return list(islice(data.train_dataloader(), 2)), list(data.val_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_classification(twin, workers):
    data = VOCClassification(
        str(twin),
        batch_size=4,
        num_workers=workers,
        train_transform=classification_train(32),
        eval_transform=classification_eval(32),
    )
    train, val = loaded(data)
    for batch in (*train, *val):
        count = len(batch["ids"])
        assert batch["images"].shape == (count, 3, 32, 32)
        assert batch["images"].dtype == torch.uint8
        assert batch["labels"].shape == (count, 20)
        assert batch["labels"].dtype == torch.float32
    labels = torch.cat([batch["labels"] for batch in val])
    assert set(labels[~labels.isnan()].tolist()) == {0, 1}
    assert (labels[labels == 0]).numel() > (labels == 1).sum()


def test_labels_are_unknown_where_all_objects_are_difficult(twin):
    labels = [VOCClassification(str(twin), 1).records("train").annotations(i)["labels"] for i in range(20)]
    assert 0 < np.isnan(labels).sum() < 20


def test_classification_is_scored_as_in_2007_and_since_2010(twin):
    transform = classification_eval(32)
    data = VOCClassification(
        str(twin), batch_size=4, num_workers=0, train_transform=transform, eval_transform=transform
    )
    _, val = loaded(data)
    perfect = {}
    for name, metric in data.metrics().items():
        for batch in val:
            logits = batch["labels"].nan_to_num(0) * 2 - 1
            metric.update({"logits": logits, "scores": logits.sigmoid()}, batch)
        perfect[f"{name}/mAP"] = metric.compute()["mAP"].item()
    assert perfect == pytest.approx({"voc07_11pt/mAP": 1, "voc10_area/mAP": 1})
    assert data.monitor in perfect


def scored(data, batches):
    """The metrics of the truth."""
    metrics = data.metrics()
    for batch in batches:
        predictions = [{**target, "scores": torch.ones(len(target["labels"]))} for target in batch["targets"]]
        for metric in metrics.values():
            metric.update(predictions, batch)
    return {name: metric.compute() for name, metric in metrics.items()}


def test_detection(twin):
    data = VOCDetection(str(twin), batch_size=4, num_workers=0, train_transform=detection_train())
    train, val = loaded(data)
    assert len(data.datasets["train"]) == 20 + 25
    counts = []
    for batch in (*train, *val):
        for image, target in zip(batch["images"], batch["targets"], strict=True):
            counts.append(len(target["labels"]))
            boxes = target["boxes"]
            assert {name: value.dtype for name, value in target.items()} == {
                "boxes": torch.float32,
                "labels": torch.int64,
                "difficult": torch.bool,
            }
            assert (boxes[:, 2] <= image.shape[2]).all()
            assert (boxes[:, 3] <= image.shape[1]).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert 0 in counts
    assert max(counts) > 1
    perfect = scored(data, val)
    assert perfect["voc07_11pt"]["mAP"] == perfect["voc10_area"]["mAP"] == 1
    assert data.monitor == "voc07_11pt/mAP"


def test_instances(twin):
    data = VOCInstances(str(twin), batch_size=4, num_workers=0)
    train, val = loaded(data)
    boxes = [target["boxes"] for batch in (*train, *val) for target in batch["targets"]]
    masks = [target["masks"] for batch in (*train, *val) for target in batch["targets"]]
    assert any(len(one) > 1 for one in masks)
    assert scored(data, val)["voc10_area"]["mAP"] == 1
    for box, mask in zip(torch.cat(boxes), [mask for of_image in masks for mask in of_image], strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        around = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert (around - box).abs().max() < 0.31  # boxes with fractions begin later


def test_segmentation(twin):
    data = VOCSegmentation(str(twin), batch_size=4, num_workers=0, train_transform=dense_train(48))
    train, val = loaded(data)
    for batch in train:
        assert batch["masks"].shape == (4, 48, 48)
        assert batch["masks"].dtype == torch.uint8
    values = set()
    for batch in val:
        for image, mask in zip(batch["images"], batch["masks"], strict=True):
            assert mask.shape == image.shape[1:]
            values |= set(mask.unique().tolist())
    assert {0, 255} < values <= {*range(21), 255}
    metrics = data.metrics()
    for batch in val:
        for metric in metrics.values():
            metric.update([{"mask": mask.where(mask != 255, 3)} for mask in batch["masks"]], batch)
    assert metrics["voc_seg"].compute()["mIoU"] == metrics["boundary"].compute()["F"] == 1
    assert data.monitor == "voc_seg/mIoU"
    assert data.classes[:2] == ("background", "aeroplane")
    assert data.num_classes == 21


def test_trainaug_takes_sbds_masks_and_vocs_where_there_are_none(root):
    folder = root / "VOCdevkit" / "VOC2012"
    shared = (folder / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[0]
    (folder / "SegmentationClassAug" / f"{shared}.png").unlink()
    records = VOCSegmentation(str(root), 1, train_sets=["2012/trainaug"]).records("train")
    names = [records.name(i) for i in range(len(records))]
    assert len(names) == 22
    masks = {name: records.annotations(i)["mask"] for i, name in enumerate(names)}
    voc = VOCSegmentation(str(root), 1).records("train")
    assert len(voc) < len(names)
    for i in range(len(voc)):
        np.testing.assert_array_equal(voc.annotations(i)["mask"], masks[voc.name(i)])


def test_ids_are_those_of_the_palette():
    boxes, pixels = VOCDetection("nowhere", 1).label_map, VOCSegmentation("nowhere", 1).label_map
    assert boxes[0] == {"id": 1, "index": 0, "name": "aeroplane"}
    assert boxes[-1] == {"id": 20, "index": 19, "name": "tvmonitor"}
    assert [one["id"] for one in pixels] == [one["index"] for one in pixels] == list(range(21))


@pytest.mark.parametrize("kind", [VOCDetection, VOCInstances, VOCSegmentation, VOCClassification])
def test_a_test_set_without_labels_is_read_only_when_it_is_asked_for(root, kind):
    data = kind(str(root), batch_size=3, num_workers=0, test_set="2012/test")
    assert not data.test_has_labels
    batch = data.dataset("test").__getitems__(Keys(0, np.array([0]), 0))
    assert len(batch["images"]) == 1
    assert not batch.keys() & {"targets", "masks", "labels"}
    for task in ("Main", "Segmentation"):
        (root / "VOCdevkit" / "VOC2012" / "ImageSets" / task / "test.txt").unlink()
    data.prepare_data()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"train_sets": "2007/train"}, "train_sets is a list of sets"),
        ({"train_sets": []}, "train_sets is a list of sets"),
        ({"train_sets": ["2012/test"]}, "2012/test was never published"),
        ({"val_set": "2012/test"}, "2012/test was never published"),
        ({"val_set": "train"}, "named like 2007/trainval"),
    ],
)
def test_sets_that_cannot_be_are_an_error_at_once(arguments, says):
    with pytest.raises(ValueError, match=says):
        VOCDetection("nowhere", batch_size=1, **arguments)


def test_an_image_that_cannot_be_read_stops_the_run_or_is_skipped(root):
    folder = root / "VOCdevkit" / "VOC2007"
    name = (folder / "ImageSets" / "Main" / "val.txt").read_text().split()[1]
    path = folder / "JPEGImages" / f"{name}.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=f"{name}.jpg"):
        loaded(VOCDetection(str(root), batch_size=2, num_workers=0))
    with pytest.warns(UserWarning, match=f"skipped {name}"):
        _, val = loaded(VOCDetection(str(root), batch_size=2, num_workers=0, on_bad_sample="skip"))
    assert [batch["skipped"].tolist() for batch in val] == [[1], [], []]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_bomb_for_a_mask_is_refused_without_harm(root):
    folder = root / "VOCdevkit" / "VOC2012"
    name = (folder / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[0]
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 3, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000_000), 9)
    bomb = chunk(b"IHDR", header) + chunk(b"PLTE", bytes(3)) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (folder / "SegmentationClass" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bomb)
    records = VOCSegmentation(str(root), 1).records("train")
    started = time.process_time()
    with pytest.raises(ValueError, match=f"{name}.png"):
        records.annotations(0)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("kind", [VOCClassification, VOCDetection, VOCInstances, VOCSegmentation])
def test_a_loaders_process_is_given_little(twin, kind):
    records = kind(str(twin), 1).records("train")
    same = pickle.loads(pickle.dumps(records))
    assert len(pickle.dumps(records)) < 1000
    assert [same.name(i) for i in range(len(same))] == [records.name(i) for i in range(len(records))]
