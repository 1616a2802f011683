import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionlab.data.images import read_image
from visionlab.data.layouts.voc import CLASSES, ImageSet, read_annotation, refuse
from visionlab.data.layouts.voc_check import check
from visionlab.data.layouts.voc_records import (
    open_boxes,
    open_instances,
    open_labels,
    open_masks,
)

OPEN = {"boxes": open_boxes, "labels": open_labels, "masks": open_masks, "instances": open_instances}
SETS = {"boxes": "2007/train", "labels": "2007/train", "masks": "2012/train", "instances": "2012/train"}


@pytest.fixture(scope="module")
def twin(twins):
    return twins("voc", 20)


@pytest.fixture
def root(twin):
    """A copy to change."""
    shutil.copytree(twin, "voc")
    return Path("voc")


def sets(*texts):
    return [ImageSet.parse(text) for text in texts]


def year(root, number=2007):
    return root / "VOCdevkit" / f"VOC{number}"


def read_all(opener, root, image_set):
    records = opener(root, sets(image_set))
    for i in range(len(records)):
        records.annotations(i)
        read_image(records.path(i), 3)


def annotated(folder):
    """An XML file of a training image with an object that is not difficult."""
    for name in (folder / "ImageSets" / "Main" / "train.txt").read_text().split():
        path = folder / "Annotations" / f"{name}.xml"
        if "<difficult>0" in path.read_text():
            return path
    raise AssertionError


def replaced(old, new, number=2007):
    """Replace the first match of a pattern in an XML file."""

    def change(root):
        path = annotated(year(root, number))
        text, count = re.subn(old, new, path.read_text(), count=1, flags=re.DOTALL)
        assert count == 1
        path.write_text(text)
        return path

    return change


def listed(name, change, kind="Main", number=2007):
    """Change the lines of a list."""

    def change_list(root):
        path = year(root, number) / "ImageSets" / kind / f"{name}.txt"
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
        return path

    return change_list


def mask(folder, change):
    """Change the first mask of the training set of 2012."""

    def change_mask(root):
        here = year(root, 2012)
        name = (here / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[0]
        path = here / folder / f"{name}.png"
        change(path)
        return path

    return change_mask


def image(change):
    """Change the first training image of 2007."""

    def change_image(root):
        folder = year(root)
        name = (folder / "ImageSets" / "Main" / "train.txt").read_text().split()[0]
        path = folder / "JPEGImages" / f"{name}.jpg"
        change(path)
        return path

    return change_image


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def paint(value):
    def change(path):
        picture = Image.open(path)
        pixels = np.array(picture)
        pixels[3, 5] = value
        changed = Image.fromarray(pixels)
        changed.putpalette(picture.getpalette())
        changed.save(path)

    return change


def remove_annotation(root):
    path = annotated(year(root))
    path.unlink()
    return path


def pipe(root):
    path = year(root) / "ImageSets" / "Main" / "train.txt"
    path.unlink()
    os.mkfifo(path)
    return path


def cropped(path):
    Image.open(path).crop((0, 0, 50, 40)).save(path)


WRONG = {  # what is changed, the finding, and what cannot be opened then
    "doctype": (replaced("^", "<!DOCTYPE annotation []>"), "malformed-file", "boxes"),
    "cut off annotation": (replaced("</annotation>.*", ""), "malformed-file", "boxes"),
    "unknown class": (replaced("<name>[^<]*", "<name>unicorn"), "unknown-category", "boxes"),
    "upper case": (replaced("<name>", "<name>D"), "unknown-category", "boxes"),
    "no name": (replaced("<name>[^<]*</name>", ""), "malformed-file", "boxes"),
    "NaN": (replaced("<ymin>[^<]*", "<ymin>nan"), "box-nan", "boxes"),
    "infinite": (replaced("<xmax>[^<]*", "<xmax>1e999"), "box-nan", "boxes"),
    "text for a number": (replaced("<xmax>[^<]*", "<xmax>left"), "box-nan", "boxes"),
    "inverted": (replaced("<xmin>[^<]*", "<xmin>500"), "box-inverted", "boxes"),
    "empty": (replaced("<ymax>[^<]*</ymax>", "<ymin/>"), "malformed-file", "boxes"),
    "no area": (replaced("<xmin>.*?</ymax>", "<xmin>9</xmin><ymin>9</ymin><xmax>8</xmax><ymax>20</ymax>"),
                "box-empty", "boxes"),
    "outside": (replaced("<xmin>.*?</ymax>", "<xmin>999</xmin><ymin>9</ymin><xmax>1000</xmax><ymax>20</ymax>"),
                "box-outside", "boxes"),
    "no box": (replaced("<bndbox>.*?</bndbox>", ""), "malformed-file", "boxes"),
    "two boxes": (replaced("(<bndbox>.*?</bndbox>)", r"\1\1"), "malformed-file", "boxes"),
    "difficult is no flag": (replaced("<difficult>0", "<difficult>maybe"), "malformed-file", "boxes"),
    "no size": (replaced("<size>.*?</size>", ""), "malformed-file", "boxes"),
    "no width": (replaced("<width>[^<]*", "<width>0"), "malformed-file", "boxes"),
    "another size": (replaced("<width>[^<]*", "<width>1000"), "wrong-size", "boxes"),
    "of another image": (replaced("<filename>[^<]*", "<filename>999999.jpg"), "unknown-image", "boxes"),
    "no annotation": (remove_annotation, "missing-annotation", "boxes"),
    "listed twice": (listed("train", lambda lines: [*lines, lines[0]]), "duplicate-id", "boxes"),
    "climbing name": (listed("train", lambda lines: [*lines, "../../secret"]), "path-outside-root", "boxes"),
    "absolute name": (listed("train", lambda lines: ["/etc/passwd", *lines]), "path-outside-root", "boxes"),
    "backslashes": (listed("train", lambda lines: [*lines, r"..\..\secret"]), "path-outside-root", "boxes"),
    "two columns": (listed("train", lambda lines: [f"{line} 1" for line in lines]), "malformed-file", "boxes"),
    "odd name": (listed("train", lambda lines: [*lines, "*?"]), "malformed-file", "boxes"),
    "no image": (listed("train", lambda lines: []), "malformed-file", "boxes"),
    "no such image": (listed("train", lambda lines: [*lines, "424242"]), "missing-image", "boxes"),
    "a pipe for a list": (pipe, "malformed-file", "boxes"),
    "label of 2": (listed("cat_train", lambda lines: [f"{lines[0][:-2]} 2", *lines[1:]]), "malformed-file", "labels"),
    "no label": (listed("cat_train", lambda lines: lines[1:]), "missing-annotation", "labels"),
    "label of nobody": (listed("cat_train", lambda lines: [*lines, "424242 1"]), "unknown-image", "labels"),
    "two labels": (listed("cat_train", lambda lines: [*lines, lines[0]]), "duplicate-id", "labels"),
    "climbing label": (listed("cat_train", lambda lines: [*lines, "../1 1"]), "path-outside-root", "labels"),
    "a class without a list": (
        lambda root: [path := year(root) / "ImageSets" / "Main" / "dog_train.txt", path.unlink()][0],
        "missing-file", "labels",
    ),
    "no mask": (mask("SegmentationClass", Path.unlink), "missing-mask", "masks"),
    "class 21": (mask("SegmentationClass", paint(21)), "palette-out-of-range", "masks"),
    "half a mask": (mask("SegmentationClass", half), "unreadable-mask", "masks"),
    "colours": (
        mask("SegmentationClass", lambda path: Image.open(path).convert("RGB").save(path)), "unreadable-mask", "masks",
    ),
    "no object mask": (mask("SegmentationObject", Path.unlink), "missing-mask", "instances"),
    "object 99": (mask("SegmentationObject", paint(99)), "palette-out-of-range", "instances"),
    "small object mask": (mask("SegmentationObject", cropped), "wrong-size", "instances"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_by_the_check_and_before_training(root, case):
    change, kind, task = WRONG[case]
    path = change(root)
    folder = next(parent for parent in path.parents if parent.name.startswith("VOC20"))
    found = [finding for finding in check(folder).errors if finding.kind == kind]
    assert found
    assert any(path.stem in finding.message or "424242" in finding.message for finding in found)
    assert all("\n" not in finding.message for finding in found)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        read_all(OPEN[task], folder, SETS[task])
    assert path.stem in str(error.value) or "424242" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("case", "change", "kind"),
    [
        ("gone", Path.unlink, "missing-image"),
        ("empty", lambda path: path.write_bytes(b""), "empty-image"),
        ("half", half, "truncated-image"),
        ("garbage", lambda path: path.write_bytes(b"garbage" * 100), "unreadable-image"),
        ("cropped", cropped, "wrong-size"),
    ],
)
def test_images_that_cannot_be_used_are_named(root, case, change, kind):
    path = image(change)(root)
    (found,) = [finding for finding in check(year(root)).errors if finding.kind == kind and finding.file == path]
    assert str(path) in found.message


def test_the_check_names_the_same_picture_in_two_sets(root):
    folder = year(root)
    lists = {name: (folder / "ImageSets" / "Main" / f"{name}.txt").read_text().split() for name in ("train", "val")}
    one, other = (folder / "JPEGImages" / f"{lists[name][0]}.jpg" for name in ("train", "val"))
    shutil.copy(one, other)
    assert "leaked-image" in {finding.kind for finding in check(root).errors}
    listed("val", lambda lines: [*lines, lists["train"][1]])(root)
    assert any("lists too" in finding.message for finding in check(root).errors)


def test_the_check_names_labels_that_the_objects_contradict(root):
    path = listed("cat_train", lambda lines: [f"{line[:-2]}{-int(line[-2:]):2d}" for line in lines])(root)
    found = [finding for finding in check(root).errors if finding.kind == "wrong-label"]
    assert found
    assert all(finding.file == path for finding in found)


def test_the_check_names_all_that_is_wrong(root):
    path = annotated(year(root))
    text = path.read_text()
    path.write_text(
        text.replace(
            "<object>",
            "<object><name>unicorn</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
            "<object><name>cat</name><bndbox><xmin>x</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
            "<object>",
            1,
        )
    )
    mask("SegmentationClass", paint(21))(root)
    kinds = {finding.kind for finding in check(root).errors}
    assert kinds >= {"unknown-category", "box-nan", "palette-out-of-range"}


def test_an_object_that_is_wrong_is_blamed_once(root):
    folder = year(root, 2012)
    name = (folder / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[0]
    path = folder / "Annotations" / f"{name}.xml"
    path.write_text(re.sub("<name>[^<]*", "<name>unicorn", path.read_text(), count=1))
    assert [(finding.kind, finding.file) for finding in check(root).errors] == [("unknown-category", path)]


def test_the_check_says_how_far_boxes_reach_out(root):
    little, much = (sorted((year(root) / "Annotations").glob("*.xml"))[i] for i in (0, 1))
    for path, xmin in ((little, 0), (much, -7)):
        if "<object>" not in path.read_text():
            continue
        path.write_text(re.sub("<xmin>[^<]*", f"<xmin>{xmin}", path.read_text(), count=1))
    findings = check(root)
    assert [(f.kind, f.file, f.line is not None) for f in findings.errors] == [("box-outside", much, True)]
    assert any("1 boxes reach up to a pixel out" in note for note in findings.notes)
    boxes = open_boxes(root, sets("2007/train", "2007/val", "2007/test"))
    least = min(boxes.annotations(i)["objects"]["boxes"].min(initial=0) for i in range(len(boxes)))
    assert least == -8


def test_nothing_there_is_said_with_how_to_get_it():
    with pytest.raises(FileNotFoundError, match="visionlab data download voc --root nowhere"):
        open_boxes(Path("nowhere"), sets("2007/train"))
    with pytest.raises(FileNotFoundError, match="get the archive of VOC2009"):
        open_boxes(Path("nowhere"), sets("2009/train"))
    assert [finding.kind for finding in check(Path("nowhere")).errors] == ["missing-file"]


def test_a_missing_list_is_named_with_how_to_get_it(root):
    with pytest.raises(FileNotFoundError, match=r"ImageSets/Main/night\.txt is missing: run `visionlab data download"):
        open_boxes(root, sets("2007/night"))


@pytest.mark.parametrize("text", ["2007", "trainval", "2006/train", "2013/train", "2007/../../x", "2007/", "/train"])
def test_a_set_that_is_none_is_an_error(text):
    with pytest.raises(ValueError, match="named like 2007/trainval"):
        ImageSet.parse(text)


@pytest.mark.parametrize("part", [".", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_the_root_may_be_any_of_the_folders(twin, part):
    boxes = open_boxes(twin / part, sets("2007/train"))
    assert len(boxes) == 20
    assert boxes.path(0).is_file()
    assert check(twin / part).errors == []


def test_one_year_does_not_pass_for_another(twin):
    with pytest.raises(FileNotFoundError, match="VOC2012 is missing"):
        open_boxes(twin / "VOCdevkit" / "VOC2007", sets("2012/train"))
    with pytest.raises(FileNotFoundError, match="there is 2007 and 2012: name its sets, such as 2007/val"):
        open_boxes(twin, sets("2008/train"))


def test_nor_does_it_through_a_link_or_from_inside(twin, monkeypatch):
    folder = twin / "VOCdevkit" / "VOC2012"
    Path("pascal").symlink_to(folder)
    Path("VOC2010").symlink_to(folder)
    findings = {name: check(Path(name)) for name in ("pascal", "VOC2010")}
    assert [next(iter(one.images))[:4] for one in findings.values()] == ["2012", "2010"]  # a link may be named, too
    assert findings["pascal"].errors == []
    assert open_boxes(Path("pascal"), sets("2012/train")).path(0).is_file()
    monkeypatch.chdir(folder)
    assert check(Path()).errors == []
    for root in (Path(), Path(folder, "..", "VOC2012")):
        assert len(open_boxes(root, sets("2012/train"))) == 20
        with pytest.raises(FileNotFoundError, match="VOC2007 is missing"):
            open_boxes(root, sets("2007/train"))


def test_sets_are_joined_in_their_order_and_must_not_overlap(twin):
    both = open_boxes(twin, sets("2007/val", "2012/train"))
    parts = [open_boxes(twin, sets(text)) for text in ("2007/val", "2012/train")]
    assert [both.name(i) for i in range(len(both))] == [part.name(i) for part in parts for i in range(len(part))]
    assert [both.path(i) for i in range(len(both))] == [part.path(i) for part in parts for i in range(len(part))]
    with pytest.raises(ValueError, match=r"train\.txt lists .* which is in 2007/trainval already"):
        open_boxes(twin, sets("2007/trainval", "2007/train"))


def test_parts_are_no_objects_and_many_tags_may_be_absent():
    path = Path("1.xml")
    path.write_text(
        "<annotation><size><height>40</height><width>50</width></size>"
        "<object><name>person</name><bndbox><xmin>1</xmin><ymax>40</ymax><ymin>2.5</ymin><xmax>50</xmax></bndbox>"
        "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part><part><name>dog</name></part></object>"
        "</annotation>"
    )
    annotation = read_annotation(path, refuse)
    (person,) = annotation.objects
    assert person.box == (0, 1.5, 50, 40)
    assert CLASSES[person.label] == "person"
    assert (person.difficult, person.truncated, person.occluded) == (False, False, False)


def test_an_index_is_built_anew_when_an_annotation_changes(root):
    before = open_boxes(root, sets("2007/train"))
    path = replaced("<xmin>[^<]*", "<xmin>1.125")(root)
    after = open_boxes(root, sets("2007/train"))
    index = next(i for i in range(len(after)) if after.name(i) == path.stem)
    assert after.annotations(index)["objects"]["boxes"][0, 0] == 0.125
    assert before.annotations(index)["objects"]["boxes"][0, 0] != 0.125


def test_labels_are_made_of_objects_where_no_class_has_a_list(root):
    official = open_labels(root, sets("2007/train"))
    for path in (year(root) / "ImageSets" / "Main").glob("*_train.txt"):
        path.unlink()
    made = open_labels(root, sets("2007/train"))
    for i in range(20):
        np.testing.assert_array_equal(official.annotations(i)["labels"], made.annotations(i)["labels"])
