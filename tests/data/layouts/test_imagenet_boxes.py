"""ImageNet's boxes as the official files have them: what is cured, and what an image of another size means."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionlab.data.images import read_image
from visionlab.data.layouts.imagenet_boxes import open_boxes
from visionlab.data.layouts.imagenet_check import check

IMAGES, XML = Path("ILSVRC/Data/CLS-LOC"), Path("ILSVRC/Annotations/CLS-LOC")
TENCH = "n01440764"


@pytest.fixture
def root(twins, tmp_path):
    return Path(shutil.copytree(twins("imagenet", 30), tmp_path / "imagenet"))


def an_xml(root):
    return sorted((root / XML / "train" / TENCH).glob("*.xml"))[0]


def boxes_of(root, path):
    """The boxes of an image by the name of its XML file; None if it is left out."""
    records = open_boxes(root, "train")
    stems = [records.path(i).stem for i in range(len(records))]
    assert records.problems == []
    if path.stem not in stems:
        return None
    return records.annotations(stems.index(path.stem))["objects"]["boxes"].tolist()


def test_boxes_that_leave_the_image_are_kept(root):
    path = an_xml(root)
    one_object(path, 0, 0, 5000, 20)
    found = check(root)
    assert found.errors == []
    assert any("leave the image a little" in note and str(path) in note for note in found.notes)
    assert boxes_of(root, path)[0][2] == 5001


def one_object(path, *corners):
    """Make an XML file one of a single object."""
    text = path.read_text()
    start, end = text.index("\t<object>"), text.rindex("</object>") + len("</object>")
    box = "".join(
        f"<{name}>{value}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    path.write_text(f"{text[:start]}<object><name>{TENCH}</name><bndbox>{box}</bndbox></object>{text[end:]}")


def test_corners_of_training_images_in_the_wrong_order_are_turned(root):
    """As TensorFlow's process_bounding_boxes.py does, for some of the official files have such."""
    path = an_xml(root)
    one_object(path, 30, 20, 10, 5)
    assert boxes_of(root, path) == [[10, 5, 31, 21]]
    found = check(root)
    assert found.errors == []
    assert any(f"1 files of train have corners in the wrong order, turned, e.g. {path}" in n for n in found.notes)


def test_training_images_whose_boxes_are_all_outside_are_left_out(root):
    path = an_xml(root)
    one_object(path, 4000, 5, 4010, 20)
    assert boxes_of(root, path) is None
    assert len(open_boxes(root, "train")) == 19  # of 20
    found = check(root)
    assert found.errors == []
    assert any("1 boxes of train are outside of their image" in note for note in found.notes)
    assert any(note.startswith("localization omits 1 images of train") and str(path) in note for note in found.notes)


def resize(path, width, height):
    with Image.open(path) as image:
        image.convert("RGB").resize((width, height)).save(path, "JPEG")


def test_boxes_of_a_smaller_copy_are_scaled_and_those_of_a_cropped_one_refused(root):
    """Corners are relative to the size that the XML says, that of the image as its annotator saw it."""
    path = an_xml(root)
    before = np.array(boxes_of(root, path))
    image = root / IMAGES / "train" / TENCH / f"{path.stem}.JPEG"
    height, width = read_image(image, 3).shape[:2]
    resize(image, width // 2, height // 2)
    scale = np.array([(width // 2) / width, (height // 2) / height] * 2)
    np.testing.assert_array_equal(boxes_of(root, path), before * scale)
    found = check(root)
    assert found.errors == []
    assert any("train: 1 images are of another size than their annotations" in note for note in found.notes)
    resize(image, 64, 90)
    with pytest.raises(ValueError, match=rf"has 64 x 90 pixels; its boxes are of {width} x {height}") as raised:
        boxes_of(root, path)
    assert str(image) in str(raised.value)
    assert [(error.kind, error.file) for error in check(root).errors] == [("wrong-size", image)]
