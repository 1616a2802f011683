"""Compares every box, label and pixel of a class with torchvision's readers."""

import numpy as np
import pytest
from torchvision.datasets import VOCDetection, VOCSegmentation

from visionlab.data.layouts.voc import CLASSES, ImageSet
from visionlab.data.layouts.voc_check import check
from visionlab.data.layouts.voc_records import open_boxes, open_labels, open_masks


@pytest.fixture(scope="module")
def twin(twins):
    return twins("voc", 20)


def same_as_torchvision(root, number, image_set):
    """Compare a set, box for box and pixel for pixel, with torchvision's readers."""
    theirs = VOCDetection(root, year=str(number), image_set=image_set)
    ours, labels = (opener(root, [ImageSet(number, image_set)]) for opener in (open_boxes, open_labels))
    assert len(ours) == len(labels) == len(theirs)
    count = 0
    for i, (picture, target) in enumerate(theirs):
        annotation = target["annotation"]
        objects = ours.annotations(i)["objects"]
        assert str(ours.path(i)) == theirs.images[i]
        assert f"{ours.name(i)}.jpg" == annotation["filename"]
        expected = annotation.get("object", [])
        assert [CLASSES[label] for label in objects["labels"]] == [one["name"] for one in expected]
        for box, difficult, one in zip(objects["boxes"], objects["difficult"], expected, strict=True):
            edges = [float(one["bndbox"][tag]) for tag in ("xmin", "ymin", "xmax", "ymax")]
            assert (box + np.array([1, 1, 0, 0])).tolist() == pytest.approx(edges, abs=1e-12)
            assert difficult == (one["difficult"] == "1")
            assert 0 <= box[0] < box[2] <= picture.width
            assert 0 <= box[1] < box[3] <= picture.height
        present = {one["name"] for one in expected}
        easy = {one["name"] for one in expected if one["difficult"] == "0"}
        for name, label in zip(CLASSES, labels.annotations(i)["labels"], strict=True):
            assert label == 1 if name in easy else np.isnan(label) if name in present else label == 0
        count += len(expected)
    segmentation = VOCSegmentation(root, year=str(number), image_set=image_set)
    masks = open_masks(root, [ImageSet(number, image_set)])
    assert len(masks) == len(segmentation)
    for i, (_, mask_image) in enumerate(segmentation):
        np.testing.assert_array_equal(masks.annotations(i)["mask"], np.array(mask_image))
    return len(ours), count, len(masks)


@pytest.mark.parametrize(("number", "image_set"), [(2007, "train"), (2007, "test"), (2012, "trainval")])
def test_the_twin_is_what_torchvision_reads(twin, number, image_set):
    images, objects, _ = same_as_torchvision(twin, number, image_set)
    assert images >= 5
    assert objects >= images


def test_the_real_sample_is_what_torchvision_reads(shared_data):
    root = shared_data / "voc"
    assert same_as_torchvision(root, 2012, "trainval") == (74, 202, 71)
    assert same_as_torchvision(root, 2012, "train")[0] + same_as_torchvision(root, 2012, "val")[0] == 74


def test_the_real_sample_is_whole(shared_data):
    findings = check(shared_data / "voc")
    assert findings.errors == []
    assert findings.images["2012/train"] + findings.images["2012/val"] == 74
    assert findings.images["2012/segmentation/train"] + findings.images["2012/segmentation/val"] == 71
    labels = np.concatenate([findings.labels["2012/train"], findings.labels["2012/val"]])
    assert len(labels) == 202
    assert set(labels.tolist()) == set(range(20))
    assert any("202 objects, 32 difficult, 107 truncated, 0 occluded" in note for note in findings.notes)
