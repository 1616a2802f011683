"""A twin of ImageNet: ten of its classes, drawn, in Kaggle's folders, with the development kit beside them."""

import io
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import scipy.io  # type: ignore[import-untyped]

from visionlab.data.twins.files import write_cmyk_jpeg, write_jpeg, write_png
from visionlab.data.twins.plan import refuse_to_overwrite
from visionlab.data.twins.scenes import Scene, draw_object, draw_scene

CLASSES = {  # with its first synonyms, as LOC_synset_mapping.txt has them
    "n01440764": "tench, Tinca tinca",
    "n01739381": "vine snake",
    "n02102040": "English springer, English springer spaniel",
    "n02105855": "Shetland sheepdog, Shetland sheep dog, Shetland",
    "n02979186": "cassette player",
    "n03000684": "chain saw, chainsaw",
    "n03028079": "church, church building",
    "n03394916": "French horn, horn",
    "n03417042": "garbage truck, dustcart",
    "n03888257": "parachute, chute",
}

ODDITIES = {
    "n01739381": "n01739381_1309",  # CMYK in ImageNet, with 21 others
    "n02105855": "n02105855_2933",  # a PNG in ImageNet
}

ILSVRC_IDS = (7, 3, 10, 1, 5, 2, 9, 4, 8, 6)
"""The development kit's own numbers, which are not in the order of the WordNet ids."""

KINDS = ("plain", "grey", "progressive", "turned", "exif")
"""What kinds of files the others are, in turn."""


def make(root: Path, images: int, seed: int) -> None:
    """Write the twin. Two of three training images have boxes, and all others do; some have two objects.

    Args:
        root: the folder in which ``ILSVRC``, ``ILSVRC2012_devkit_t12`` and the two tables appear.
        images: for training; a quarter as many for validation, and for the test, whose classes nobody knows.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a file is there already.
        ValueError: if there are fewer than two training images for each class.
    """
    if images < 2 * len(CLASSES):
        raise ValueError(
            f"{images} training images are too few for {len(CLASSES)} classes: give at least {2 * len(CLASSES)}"
        )
    devkit = root / "ILSVRC2012_devkit_t12" / "data"
    refuse_to_overwrite(
        [root / "ILSVRC", devkit, root / "LOC_synset_mapping.txt", *(root / f"LOC_{s}_solution.csv" for s in SPLITS)]
    )
    rng = np.random.default_rng(seed)
    wnids = list(CLASSES)
    few = max(images // 4, len(wnids))
    names: dict[str, list[str]] = {"train_cls": [], "train_loc": [], "val": [], "test": []}
    solutions: dict[str, list[str]] = {split: ["ImageId,PredictionString"] for split in SPLITS}
    truth = rng.permutation(few) % len(wnids)
    for i in range(images):
        wnid = wnids[i % len(wnids)]
        number = 7 * i + 11
        name = f"{wnid}_{number}" if i >= len(wnids) or wnid not in ODDITIES else ODDITIES[wnid]
        boxes = _write(root, "train", wnid, name, i, rng, boxed=i % 3 != 2)
        names["train_cls"].append(f"{wnid}/{name}")
        if boxes is not None:
            names["train_loc"].append(f"{wnid}/{name}")
            solutions["train"].append(f"{name},{_solution(wnid, boxes)}")
    for i, label in enumerate(truth.tolist(), 1):
        name = f"ILSVRC2012_val_{i:08}"
        boxes = _write(root, "val", wnids[label], name, i, rng, boxed=True)
        names["val"].append(name)
        solutions["val"].append(f"{name},{_solution(wnids[label], boxes if boxes is not None else [])}")
        name = f"ILSVRC2012_test_{i:08}"
        _write(root, "test", wnids[int(rng.integers(len(wnids)))], name, i, rng, boxed=False)
        names["test"].append(name)
    lists = root / "ILSVRC" / "ImageSets" / "CLS-LOC"
    lists.mkdir(parents=True)
    for part, listed in names.items():
        _lines(lists / f"{part}.txt", [f"{name} {i}" for i, name in enumerate(listed, 1)])
    for split, rows in solutions.items():
        _lines(root / f"LOC_{split}_solution.csv", rows)
    _lines(root / "LOC_synset_mapping.txt", [f"{wnid} {words}" for wnid, words in CLASSES.items()])
    devkit.mkdir(parents=True)
    (devkit / "meta.mat").write_bytes(_meta(images // len(wnids)))
    _lines(devkit / "ILSVRC2012_validation_ground_truth.txt", [str(ILSVRC_IDS[label]) for label in truth])


SPLITS = ("train", "val")


def _lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _solution(wnid: str, boxes: Sequence[Sequence[int]]) -> str:
    """As Kaggle writes boxes: with a space at the end."""
    return "".join(f"{wnid} {' '.join(map(str, box))} " for box in boxes)


def _write(
    root: Path, split: str, wnid: str, name: str, number: int, rng: np.random.Generator, *, boxed: bool
) -> list[list[int]] | None:
    """Write an image, and its boxes if it has any; returns these, corners inside, counted from 0."""
    label = list(CLASSES).index(wnid)
    height, width = (int(side) for side in rng.integers(96, 145, 2))
    scene: Scene
    if rng.uniform() < 0.15:
        scene = draw_scene(rng, height, width, [label, label])
    else:
        scene = draw_object(rng, height, width, label)
    below = Path(split, wnid) if split == "train" else Path(split)
    folder = root / "ILSVRC" / "Data" / "CLS-LOC" / below
    folder.mkdir(parents=True, exist_ok=True)
    _write_image(folder / f"{name}.JPEG", scene.image, number)
    if not boxed:
        return None
    boxes = (scene.boxes - (0, 0, 1, 1)).astype(int).tolist()
    annotations = root / "ILSVRC" / "Annotations" / "CLS-LOC" / below
    annotations.mkdir(parents=True, exist_ok=True)
    (annotations / f"{name}.xml").write_text(_xml(below.name, name, wnid, height, width, boxes), encoding="utf-8")
    return [list(box) for box in boxes]


def _write_image(path: Path, image: npt.NDArray[np.uint8], number: int) -> None:
    if path.stem == ODDITIES["n01739381"]:
        write_cmyk_jpeg(path, image)
    elif path.stem == ODDITIES["n02105855"]:
        write_png(path, image)
    else:
        kind = KINDS[(number + number // len(CLASSES)) % len(KINDS)]  # no class has a kind of its own
        grey = image.mean(2).round().astype(np.uint8)
        turned = 6 if kind == "turned" else None
        write_jpeg(path, grey if kind == "grey" else image, progressive=kind == "progressive", orientation=turned)
        if kind == "exif":  # damaged, after the marker that begins a JPEG
            data = path.read_bytes()
            exif = b"Exif\0\0II*\0\xff\xff\xff\xff damaged"
            path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + data[2:])


def _xml(folder: str, name: str, wnid: str, height: int, width: int, boxes: Sequence[Sequence[int]]) -> str:
    lines = ["<annotation>", f"\t<folder>{escape(folder)}</folder>", f"\t<filename>{escape(name)}</filename>"]
    lines += ["\t<source>", "\t\t<database>ILSVRC_2012</database>", "\t</source>", "\t<size>"]
    lines += [f"\t\t<{tag}>{value}</{tag}>" for tag, value in (("width", width), ("height", height), ("depth", 3))]
    lines += ["\t</size>", "\t<segmented>0</segmented>"]
    for box in boxes:
        lines += ["\t<object>", f"\t\t<name>{wnid}</name>", "\t\t<pose>Unspecified</pose>"]
        lines += ["\t\t<truncated>0</truncated>", "\t\t<difficult>0</difficult>", "\t\t<bndbox>"]
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        lines += [f"\t\t\t<{tag}>{value}</{tag}>" for tag, value in corners]
        lines += ["\t\t</bndbox>", "\t</object>"]
    return "\n".join([*lines, "</annotation>", ""])


def _meta(train_images: int) -> bytes:
    """``meta.mat``, the classes in the order of their ids, and one class of classes at the end."""
    nothing = np.zeros((1, 0))
    rows = [
        (ilsvrc, wnid, words, "drawn", 0.0, nothing, 0.0, float(train_images))
        for ilsvrc, (wnid, words) in sorted(zip(ILSVRC_IDS, CLASSES.items(), strict=True))
    ]
    children = np.arange(1.0, len(CLASSES) + 1)[None]
    rows.append((len(CLASSES) + 1, "n00001740", "entity", "all of them", float(len(CLASSES)), children, 1.0, 0.0))
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height")
    kinds = [(field, "O") for field in (*fields, "num_train_images")]
    file = io.BytesIO()
    scipy.io.savemat(file, {"synsets": np.array([[row] for row in rows], dtype=kinds)}, do_compression=True)
    title = b"MATLAB 5.0 MAT-file, a twin of ILSVRC2012's"  # scipy's own has the time in it
    return title.ljust(116) + file.getvalue()[116:]
