"""Attacks on the families whose annotations are XML, JSON and CSV."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile_files import (
    NO_FILES,
    SIDE,
    Attack,
    Attacks,
    Place,
    appended,
    in_place_of,
    named,
    no_files,
    no_images,
    planted,
    png,
    sparse,
)

LAUGHS = "<!DOCTYPE a [<!ENTITY e0 'ha'>{}]><annotation><filename>&e9;</filename></annotation>".format(
    "".join(f"<!ENTITY e{i + 1} '{f'&e{i};' * 10}'>" for i in range(9))
)
QUADRATIC = f"<!DOCTYPE a [<!ENTITY e '{'x' * 100_000}'>]><annotation>{'&e;' * 100_000}</annotation>"
SIZE = "<size><width>{0}</width><height>{0}</height><depth>3</depth></size>"
BOX = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
XML = (
    LAUGHS,
    QUADRATIC,
    "<!DOCTYPE a [<!ENTITY e SYSTEM 'file://OUTSIDE/secret'>]><annotation><filename>&e;</filename></annotation>",
    "<!DOCTYPE a [<!ENTITY % e SYSTEM 'file://OUTSIDE/secret.xml'>%e;]><annotation/>",
    "<!DOCTYPE a PUBLIC 'x' 'http://127.0.0.1:9/x.dtd'><annotation/>",
    "<annotation>" + "<object>" * 50_000 + "</object>" * 50_000 + "</annotation>",
    "<annotation>" + "9" * 5_000_000 + "</annotation>",
    f"<annotation>{SIZE.format('9' * 5000)}</annotation>",
    f"<annotation>{SIZE.format('1e999')}</annotation>",
    f"<annotation><filename>../../outside/secret.jpg</filename>{SIZE.format(100)}</annotation>",
)
ELSEWHERE = f"<annotation>{SIZE.format(100)}{BOX.format('../../../outside/secret', 1)}</annotation>"


def changed(name: str, change: Callable[[Any], None]) -> Attack:
    """Another value in COCO's instances."""

    def attack(place: Place) -> list[Path]:
        path = place.root / "annotations" / "instances_train2017.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content).replace("OUTSIDE", str(place.outside)))
        return [path]

    return named(f"coco {name}", attack)


def first_image(**values: object) -> Callable[[Any], None]:
    return lambda content: content["images"][0].update(values)


def first_object(**values: object) -> Callable[[Any], None]:
    return lambda content: content["annotations"][0].update(values)


def giant(content: Any) -> None:
    """A picture of 10^12 pixels, and a crowd that fills it."""
    crowd = content["annotations"][0]
    image = next(image for image in content["images"] if image["id"] == crowd["image_id"])
    image.update(height=10**6, width=10**6)
    crowd.update(iscrowd=1, segmentation={"size": [10**6, 10**6], "counts": [0, 10**12]})


def looped_folder(pattern: str, followed: bool) -> Attack:
    """A folder in which lies a link to a folder above it."""

    def attack(place: Place) -> list[Path]:
        folder = sorted(path for path in place.root.glob(pattern) if path.is_dir())[0]
        (folder / "again").symlink_to(folder.parent)
        return [folder / "again"] if followed else []

    return named(f"loop of folders {pattern}", attack)


def matlab(kind: int, content: bytes, length: int | None = None) -> bytes:
    """A file of MATLAB with one element."""
    head = b"MATLAB 5.0".ljust(124) + b"\0\1IM"
    return head + struct.pack("<II", kind, len(content) if length is None else length) + content


def of_the_devkit(name: str, content: bytes) -> Attack:
    """ImageNet's table of classes, where Kaggle's lists are not."""

    def attack(place: Place) -> list[Path]:
        (place.root / "LOC_synset_mapping.txt").unlink()
        (place.root / "LOC_val_solution.csv").unlink()
        path = place.root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
        path.write_bytes(content)
        return [path]

    return named(f"matlab {name}", attack)


VOC, ILSVRC = "VOCdevkit/VOC2007", "ILSVRC"
INSTANCES = "annotations/instances_train2017.json"
SEGMENTS = "annotations/train-annotations-object-segmentation.csv"
LISTS = ("LOC_synset_mapping.txt", "LOC_val_solution.csv", f"{ILSVRC}/ImageSets/CLS-LOC/train_cls.txt")
CLASSES = "annotations/oidv7-class-descriptions-boxable.csv"
HIERARCHY = "annotations/bbox_labels_600_hierarchy.json"
BOXES = "annotations/oidv6-train-annotations-bbox.csv"

ATTACKS: Attacks = [
    ("voc", no_images(f"{VOC}/JPEGImages/*.jpg")),
    ("voc", planted("xml", f"{VOC}/Annotations/*.xml", *XML, ELSEWHERE)),
    ("voc", no_files(f"{VOC}/Annotations/*.xml")),
    ("voc", no_files(*(f"{VOC}/ImageSets/{name}.txt" for name in ("Main/train", "Main/val", "Segmentation/val")))),
    *(("voc", in_place_of(f"{VOC}/ImageSets/Main/dog_train.txt", spoil)) for spoil in NO_FILES),
    ("voc", appended("upwards", f"{VOC}/ImageSets/Main/train.txt", "../../../../outside/secret")),
    ("voc", appended("absolute", f"{VOC}/ImageSets/Segmentation/train.txt", "OUTSIDE/secret")),
    ("voc", planted("bomb", f"{VOC}/SegmentationClass/*.png", png(SIDE, SIDE, 3, bytes(1_000_000)))),
    ("imagenet", no_images(f"{ILSVRC}/Data/CLS-LOC/train/*/*.JPEG")),
    ("imagenet", planted("xml", f"{ILSVRC}/Annotations/CLS-LOC/train/*/*.xml", *XML)),
    ("imagenet", no_files(f"{ILSVRC}/Annotations/CLS-LOC/train/*/*.xml")),
    *(("imagenet", in_place_of(name, sparse)) for name in LISTS),
    ("imagenet", of_the_devkit("bomb", matlab(15, zlib.compress(bytes(1 << 28), 9)))),
    ("imagenet", of_the_devkit("length", matlab(14, bytes(100), length=0xFFFFFFF0))),
    ("imagenet", of_the_devkit("nest", matlab(14, b"\x0e\0\0\0\xff\xff\0\0" * 100_000))),
    ("imagenet", appended("upwards", "LOC_synset_mapping.txt", "../../outside secret")),
    ("imagenet", appended("upwards", "LOC_val_solution.csv", "../../../outside/secret,n01440764 1 1 9 9")),
    ("imagenet", looped_folder(f"{ILSVRC}/Data/CLS-LOC/train/*", followed=False)),
    ("openimages", no_images("train/*.jpg")),
    *(("openimages", in_place_of(name, sparse)) for name in (BOXES, SEGMENTS, CLASSES, HIERARCHY)),
    ("openimages", appended("upwards", BOXES, "../../outside/secret,xclick,/m/014j1m,1,0,1,0,1" + ",0" * 13)),
    ("openimages", appended("null", BOXES, "\0,xclick,/m/014j1m,1,0,1,0,1" + ",0" * 13)),
    ("openimages", appended("huge", BOXES, f"002cde1a2aefa42b,xclick,/m/014j1m,1,{'9' * 5000},1,0,1" + ",0" * 13)),
    ("openimages", appended("long", BOXES, "a" * 50_000_000)),
    (
        "openimages",
        appended("upwards", SEGMENTS, "../../outside/secret.png,002cde1a2aefa42b,/m/014j1m,ab,0,1,0,1,1,0 0 1"),
    ),
    ("openimages", planted("bomb", "masks/train/*.png", png(SIDE, SIDE, 0, bytes(1_000_000)))),
    ("openimages", planted("deep", "annotations/bbox_labels_600_hierarchy.json", '{"Subcategory":[' * 200_000)),
    ("coco", no_images("train2017/*.jpg")),
    *(("coco", in_place_of(INSTANCES, spoil)) for spoil in NO_FILES),
    *(("coco_format", in_place_of("annotations/train.json", spoil)) for spoil in NO_FILES),
    ("coco", planted("deep", INSTANCES, '{"images":' + "[" * 5_000_000)),
    ("coco", planted("huge", INSTANCES, '{"images":[{"id":' + "9" * 5_000_000 + "}]}")),
    ("coco", changed("upwards", first_image(file_name="../../outside/secret.jpg"))),
    ("coco", changed("absolute", first_image(file_name="OUTSIDE/secret.jpg"))),
    ("coco", changed("null", first_image(file_name="a\0.jpg"))),
    ("coco", changed("negative", first_image(height=-(10**9)))),
    ("coco", changed("large id", first_image(id=10**30))),
    ("coco", changed("infinite", first_object(bbox=[float("inf"), 0, float("nan"), 1]))),
    ("coco", changed("far", first_object(segmentation=[[0, 0, 1e308, 0, 1e308, 1e308]]))),
    ("coco", changed("giant", giant)),
    ("coco", changed("runs", first_object(iscrowd=1, segmentation={"size": [9, 9], "counts": [0, 2**40] * 1000}))),
    ("coco", changed("coded", first_object(iscrowd=1, segmentation={"size": [9, 9], "counts": "o" * 1_000_000}))),
    ("folder", no_images("train/**/0*")),
    ("folder", looped_folder("train/*", followed=True)),
]
