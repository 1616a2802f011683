import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import torch
from pycocotools import coco
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, KeypointRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights

from visionlab.data.coco import COCODetection, COCOImages, COCOInstances, COCOKeypoints, COCOSegmentation
from visionlab.data.coco_format import COCOFormatDetection
from visionlab.data.presets import classification_eval, dense_train, detection_train

# of pycocotools' C code, with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def root(twins):
    return twins("coco", 12)


def batches(data, split):
    data.setup("fit" if split == "train" else "test")
    return list(data.train_dataloader() if split == "train" else data.test_dataloader())


def test_nothing_is_read_before_it_is_needed():
    for module in (COCODetection, COCOInstances, COCOKeypoints, COCOSegmentation, COCOImages):
        data = module("nowhere", batch_size=2)
        assert data.num_classes in (80, 1, 81, 0)
        assert [entry["name"] for entry in data.label_map] == list(data.classes)
        assert data.monitor == "loss" or data.monitor.split("/")[0] in data.metrics()
        with pytest.raises(FileNotFoundError, match=r"nowhere/annotations/\w+_train2017\.json is missing"):
            data.prepare_data()
    with pytest.raises(ValueError, match="year must be 2014 or 2017, not 2015"):
        COCODetection("nowhere", batch_size=2, year=2015)


def test_classes_are_those_of_torchvisions_weights():
    background, *names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert background == "__background__"
    detection, all91 = COCODetection("x", 1), COCODetection("x", 1, coco91=True)
    assert all91.classes == tuple(names)
    assert detection.classes == tuple(name for name in names if name != "N/A")
    assert [names[entry["id"] - 1] for entry in detection.label_map] == list(detection.classes)
    assert [entry["id"] for entry in all91.label_map] == list(range(1, 91))
    assert COCOSegmentation("x", 1, voc_classes=True).classes[1:] == tuple(
        FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"][1:]
    )
    assert COCOKeypoints.keypoints == tuple(KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta["keypoint_names"])
    assert COCOKeypoints.flip_pairs == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))


@pytest.mark.parametrize("split", ["train", "test"])
def test_detection_in_both_numberings(root, split):
    ours = batches(COCODetection(str(root), 2, num_workers=0), split)
    raw = batches(COCODetection(str(root), 2, coco91=True, num_workers=0), split)
    assert len(ours) == {"train": 6, "test": 2}[split]
    ids = [entry["id"] for entry in COCODetection("x", 1).label_map]
    counts = []
    for one, other in zip(ours, raw, strict=True):
        assert one["ids"].tolist() == other["ids"].tolist()
        for image, mine, theirs in zip(one["images"], one["targets"], other["targets"], strict=True):
            assert (image.dtype, image.shape[0]) == (torch.uint8, 3)
            assert mine["boxes"].dtype == torch.float32
            assert mine["boxes"].shape == (len(mine["labels"]), 4)
            assert [ids[label] for label in mine["labels"]] == (theirs["labels"] + 1).tolist()
            assert set(mine) == {"boxes", "labels", "iscrowd", "area", "ids", "xywh"}
            counts.append(len(mine["labels"]))
    assert min(counts) == 0


def test_instances_have_masks_in_every_process(root):
    inside = [batches(COCOInstances(str(root), 2, num_workers=workers), "test") for workers in (0, 2)]
    for one, other in zip(*inside, strict=True):
        for image, mine, theirs in zip(one["images"], one["targets"], other["targets"], strict=True):
            assert mine["masks"].shape == (len(mine["labels"]), *image.shape[1:])
            assert mine["masks"].dtype == torch.uint8
            assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert any(target["iscrowd"].any() for batch in inside[0] for target in batch["targets"])


def test_keypoints_flip_with_the_image(root):
    flipped = detection_train(flip=1.0, flip_pairs=list(COCOKeypoints.flip_pairs))
    data = COCOKeypoints(str(root), 2, num_workers=0, train_transform=flipped)
    plain = data.records("train")
    for batch in batches(data, "train"):
        for id, image, target in zip(batch["ids"].tolist(), batch["images"], batch["targets"], strict=True):
            truth = plain.annotations(id)["objects"]["keypoints"]
            assert target["keypoints"].shape == (len(truth), 17, 3)
            left, right = target["keypoints"][:, 5], truth[:, 6]
            seen = right[:, 2] > 0
            assert np.allclose(left[seen, 0], image.shape[2] - right[seen, 0])
            assert set(target["labels"].tolist()) <= {0}


def test_images_without_objects_may_be_left_out_of_training_alone(root):
    truth = json.loads((root / "annotations" / "instances_train2017.json").read_text())
    annotated = {row["image_id"] for row in truth["annotations"]}
    data = COCODetection(str(root), 2, keep_empty=False)
    assert [int(data.records("train").name(i)) for i in range(len(data.records("train")))] == sorted(annotated)
    assert len(annotated) < len(COCODetection(str(root), 2).records("train")) == 12
    assert len(data.records("val")) == 4
    people = json.loads((root / "annotations" / "person_keypoints_train2017.json").read_text())["annotations"]
    usable = {
        id for id in annotated if sum(row["num_keypoints"] for row in people if row["image_id"] == id) >= 10
    }  # fmt: skip
    records = COCOKeypoints(str(root), 2).records("train")
    assert {int(records.name(i)) for i in range(len(records))} == usable
    assert len(COCOKeypoints(str(root), 2, keep_empty=True).records("train")) == 12


@pytest.mark.parametrize("voc", [False, True])
@pytest.mark.parametrize("sample", ["twin", "real"])
def test_segmentation_equals_a_slow_loop(request, root, sample, voc):
    root = root if sample == "twin" else request.getfixturevalue("shared_data") / "coco"
    data = COCOSegmentation(str(root), 2, voc_classes=voc)
    label_of = {entry["id"]: entry["index"] for entry in data.label_map}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(root / "annotations" / "instances_val2017.json")
    records = data.records("val")
    void = 0
    for i in range(len(records)):
        image = truth.imgs[int(records.name(i))]
        expected = np.zeros((image["height"], image["width"]), np.uint8)
        rows = [row for row in truth.imgToAnns[image["id"]] if row["category_id"] in label_of]
        for row in rows:
            expected[(truth.annToMask(row) == 1) & (row["iscrowd"] == 1)] = 255
        for row in sorted(rows, key=lambda row: -row["area"]):
            if not row["iscrowd"]:
                expected[truth.annToMask(row) == 1] = label_of[row["category_id"]]
        np.testing.assert_array_equal(records.annotations(i)["mask"], expected)
        void += (expected == 255).sum()
    assert void > 0


def test_segmentation_trains_on_crops_and_is_evaluated_whole(root):
    data = COCOSegmentation(str(root), 2, num_workers=0, train_transform=dense_train(64))
    (batch, *_), (whole, *_) = batches(data, "train"), batches(data, "test")
    assert batch["images"].shape == (2, 3, 64, 64)
    assert batch["masks"].shape == (2, 64, 64)
    assert [mask.shape for mask in whole["masks"]] == [image.shape[1:] for image in whole["images"]]


def test_images_alone(root):
    data = COCOImages(str(root), 4, num_workers=0, train_transform=classification_eval(32))
    batch = batches(data, "train")[0]
    assert set(batch) == {"images", "ids"}
    assert batch["images"].shape == (4, 3, 32, 32)


def test_an_unreadable_image_stops_the_run_or_is_skipped(root, tmp_path):
    broken = shutil.copytree(root, tmp_path / "broken")
    victim = min(broken.glob("val2017/*.jpg"))
    victim.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=victim.name):
        batches(COCODetection(str(broken), 2, num_workers=0), "test")
    with pytest.warns(UserWarning, match=victim.name):
        skipped = batches(COCODetection(str(broken), 2, num_workers=0, on_bad_sample="skip"), "test")
    assert [len(batch["images"]) for batch in skipped] == [2, 2]
    assert sum(len(batch["skipped"]) for batch in skipped) == 1


def test_any_images_with_boxes_in_cocos_format(root):
    places = {
        "train_images": "train2017",
        "train_annotations": "annotations/instances_train2017.json",
        "val_images": "val2017",
        "val_annotations": "annotations/instances_val2017.json",
    }
    data, same = COCOFormatDetection(str(root), 2, num_workers=0, **places), COCODetection(str(root), 2, num_workers=0)
    assert data.classes == same.classes
    assert data.label_map == same.label_map
    data.prepare_data()
    for split in ("train", "test"):
        for one, other in zip(batches(data, split), batches(same, split), strict=True):
            assert one["ids"].tolist() == other["ids"].tolist()
            for mine, theirs in zip(one["targets"], other["targets"], strict=True):
                assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_its_splits_must_agree_on_the_categories(root):
    data = COCOFormatDetection(
        str(root),
        batch_size=2,
        train_images="train2017",
        train_annotations="annotations/instances_train2017.json",
        val_images="val2017",
        val_annotations="annotations/person_keypoints_val2017.json",
    )
    with pytest.raises(ValueError, match=r"person_keypoints_val2017\.json has 1 categories, not the same as the 80"):
        data.prepare_data()
    with pytest.raises(FileNotFoundError, match=r"train\.json is missing: expected annotations in COCO's format"):
        assert COCOFormatDetection(str(root), 2).classes
    with pytest.raises(ValueError, match="test_images and test_annotations belong together"):
        COCOFormatDetection("x", 2, test_images="test")


@pytest.mark.parametrize("module", [COCODetection, COCOInstances, COCOKeypoints])
def test_the_truth_has_the_highest_score(twins, module):
    data = module(str(twins("coco")), batch_size=4, num_workers=0)
    metrics = data.metrics()
    for batch in batches(data, "test"):
        real = [{name: rows[~target["iscrowd"]] for name, rows in target.items()} for target in batch["targets"]]
        predictions = [{**target, "scores": torch.ones(len(target["labels"]))} for target in real]
        for metric in metrics.values():
            metric.update(predictions, batch)
    for name, metric in metrics.items():
        values = metric.compute()
        assert values["PCK" if name == "pck" else "AP"] == pytest.approx(1)
    protocol, name = data.monitor.split("/")
    assert protocol in metrics
    assert data.mode == "max"


@pytest.mark.parametrize("voc_classes", [False, True])
def test_the_truth_has_the_highest_score_of_masks(twins, voc_classes):
    data = COCOSegmentation(str(twins("coco")), batch_size=4, num_workers=0, voc_classes=voc_classes)
    metrics = data.metrics()
    for batch in batches(data, "test"):
        for metric in metrics.values():
            metric.update([{"mask": mask.where(mask != 255, 0)} for mask in batch["masks"]], batch)
    values = metrics["coco_seg"].compute()
    assert values["mIoU"] == metrics["boundary"].compute()["F"] == 1
    assert values["absent_classes"] == data.num_classes - values["iou_per_class"].nansum()
    assert data.monitor == "coco_seg/mIoU"
