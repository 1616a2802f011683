"""A twin of PASCAL VOC 2007 and 2012: scenes of overlapping objects, in the files of the archives.

Odd as the official files are: images without objects or in grey, objects that are difficult, truncated or occluded,
parts of persons, boxes with fractions, missing tags, void borders, images of 2007 in the segmentation lists of 2012
alone, and a test set of 2012 without annotations. SBD's masks are there too, without a palette, as commonly converted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from visionlab.data.layouts.voc import CLASSES
from visionlab.data.twins.files import write_jpeg, write_palette_png, write_png
from visionlab.data.twins.plan import refuse_to_overwrite
from visionlab.data.twins.scenes import Scene, draw_scene

SIZES = ((120, 160), (160, 120), (107, 160), (120, 120))
"""Heights and widths."""

PERSON = CLASSES.index("person")


@dataclass(frozen=True)
class _Image:
    """What is written of an image."""

    name: str
    scene: Scene
    difficult: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    occluded: npt.NDArray[np.bool_]
    segmented: bool


def make(root: Path, images: int, seed: int) -> None:
    """Write a twin of VOC 2007 and 2012, with all that :mod:`visionlab.data.voc` reads.

    Args:
        root: the folder in which ``VOCdevkit`` appears.
        images: in each of ``2007/train`` and ``2012/train``; a quarter as many in each of the other sets.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a year is there already.
        ValueError: if there are fewer images than classes.
    """
    if images < len(CLASSES):
        raise ValueError(
            f"{images} training images are too few for {len(CLASSES)} classes: give at least {len(CLASSES)}"
        )
    folders = {year: root / "VOCdevkit" / f"VOC{year}" for year in (2007, 2012)}
    refuse_to_overwrite(folders.values())
    rng = np.random.default_rng(seed)
    for year, folder in folders.items():
        for part in ("Annotations", "JPEGImages", "ImageSets/Main", "ImageSets/Segmentation"):
            (folder / part).mkdir(parents=True)
        sizes = {"train": images, "val": max(images // 4, 4), "test": max(images // 4, 4)}
        numbers = rng.permutation(np.arange(1, 2 * sum(sizes.values()))).tolist()
        sets: dict[str, list[_Image]] = {}
        for name, size in sizes.items():
            mine = sorted(numbers.pop() for _ in range(size))
            first = rng.permutation(np.arange(size) % len(CLASSES)).tolist()
            sets[name] = [
                _draw(rng, f"{number:06d}" if year == 2007 else f"{2008 + i % 5}_{number:06d}", i, first[i])
                for i, number in enumerate(mine)
            ]
            sets[name].sort(key=lambda image: image.name)
        _write_year(folder, year, sets, _older(rng, year))


def _older(rng: np.random.Generator, year: int) -> dict[str, list[_Image]]:
    """Images of 2007 that only the segmentation lists of 2012 have, under names of their own."""
    names = {"train": ("2007_000032", "2007_000039"), "val": ("2007_000033",)} if year == 2012 else {}
    return {
        part: [_draw(rng, name, 1, int(rng.integers(len(CLASSES)))) for name in some] for part, some in names.items()
    }


def _draw(rng: np.random.Generator, name: str, i: int, label: int) -> _Image:
    """Draw the i-th image of a set, with an object of class ``label`` among others; there is none in the fourth."""
    height, width = SIZES[int(rng.integers(len(SIZES)))]
    others = rng.integers(len(CLASSES), size=rng.integers(4)).tolist()
    labels = rng.permutation([label, *others]).tolist() if i != 3 else []
    scene = draw_scene(rng, height, width, labels)
    left, top, right, bottom = scene.boxes.T
    truncated = (left == 0) | (top == 0) | (right == width) | (bottom == height)
    covers = [any(_overlap(box, later) for later in scene.boxes[k + 1 :]) for k, box in enumerate(scene.boxes)]
    small = scene.masks.sum((1, 2)) < 0.01 * height * width
    difficult = small | (rng.uniform(size=len(labels)) < 0.05)
    return _Image(name, scene, difficult, truncated, np.array(covers, dtype=np.bool_), segmented=i % 5 != 4)


def _overlap(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    return bool((np.maximum(one[:2], other[:2]) < np.minimum(one[2:], other[2:])).all())


def _write_year(folder: Path, year: int, sets: dict[str, list[_Image]], older: dict[str, list[_Image]]) -> None:
    published = {name: some for name, some in sets.items() if name != "test" or year == 2007}
    for name, some in sets.items():
        _write_list(folder / "ImageSets" / "Main" / f"{name}.txt", [image.name for image in some])
        for i, image in enumerate(some):
            pixels = image.scene.image
            grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
            write_jpeg(
                folder / "JPEGImages" / f"{image.name}.jpg",
                grey if i == 2 else pixels,
                progressive=year == 2012 and i == 1,
            )
    for some in older.values():
        for image in some:
            write_jpeg(folder / "JPEGImages" / f"{image.name}.jpg", image.scene.image)
    trainval = sorted((*sets["train"], *sets["val"]), key=lambda image: image.name)
    _write_list(folder / "ImageSets" / "Main" / "trainval.txt", [image.name for image in trainval])
    for name, some in (*published.items(), ("trainval", trainval)):
        for label, of_class in enumerate(CLASSES):
            lines = [f"{image.name} {_sign(image, label):2d}" for image in some]
            _write_list(folder / "ImageSets" / "Main" / f"{of_class}_{name}.txt", lines)
    segmented = {
        name: sorted([*older.get(name, []), *(one for one in some if one.segmented)], key=lambda image: image.name)
        for name, some in published.items()
    }
    for name, some in segmented.items():
        _write_list(folder / "ImageSets" / "Segmentation" / f"{name}.txt", [image.name for image in some])
        _write_masks(folder, some)
    both = sorted(image.name for name in ("train", "val") for image in segmented[name])
    _write_list(folder / "ImageSets" / "Segmentation" / "trainval.txt", both)
    if year == 2012:
        _write_list(folder / "ImageSets" / "Segmentation" / "test.txt", [image.name for image in sets["test"]])
        _write_augmented(folder, sorted((*sets["train"], *older["train"]), key=lambda image: image.name))
    for image in (
        *(one for some in published.values() for one in some),
        *(one for some in older.values() for one in some),
    ):
        (folder / "Annotations" / f"{image.name}.xml").write_text(_xml(image, year), encoding="ascii")


def _write_list(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def _sign(image: _Image, label: int) -> int:
    difficult = image.difficult[image.scene.labels == label]
    return -1 if len(difficult) == 0 else 0 if difficult.all() else 1


def _maps(image: _Image) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The class and the number of the object of each pixel, with void around each object, ``(H, W)``."""
    classes, numbers = np.zeros((2, *image.scene.image.shape[:2]), dtype=np.uint8)
    for i, mask in enumerate(image.scene.masks):
        near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        for pixels, value in ((classes, image.scene.labels[i] + 1), (numbers, i + 1)):
            pixels[near & (pixels == 0)] = 255
            pixels[mask] = value
    return classes, numbers


def _write_masks(folder: Path, images: Sequence[_Image]) -> None:
    for part in ("SegmentationClass", "SegmentationObject"):
        (folder / part).mkdir(exist_ok=True)
    for image in images:
        classes, numbers = _maps(image)
        write_palette_png(folder / "SegmentationClass" / f"{image.name}.png", classes)
        write_palette_png(folder / "SegmentationObject" / f"{image.name}.png", numbers)


def _write_augmented(folder: Path, images: Sequence[_Image]) -> None:
    (folder / "SegmentationClassAug").mkdir()
    for image in images:
        write_png(folder / "SegmentationClassAug" / f"{image.name}.png", _maps(image)[0])
    _write_list(folder / "ImageSets" / "Segmentation" / "trainaug.txt", [image.name for image in images])


def _xml(image: _Image, year: int) -> str:
    height, width = image.scene.image.shape[:2]
    lines = [
        "<annotation>",
        f"\t<folder>VOC{year}</folder>",
        f"\t<filename>{image.name}.jpg</filename>",
        "\t<source>",
        f"\t\t<database>The VOC{year} Database</database>",
        f"\t\t<annotation>PASCAL VOC{year}</annotation>",
        "\t\t<image>flickr</image>",
        "\t</source>",
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>",
        f"\t<segmented>{image.segmented:d}</segmented>",
    ]
    for i in range(len(image.scene.labels)):
        lines += _object(image, i, year)
    return "\n".join([*lines, "</annotation>\n"])


def _object(image: _Image, i: int, year: int) -> list[str]:
    left, top, right, bottom = image.scene.boxes[i].tolist()
    name = CLASSES[image.scene.labels[i]]
    edges = {"xmin": f"{left + 1:g}", "ymin": f"{top + 1:g}", "xmax": f"{right:g}", "ymax": f"{bottom:g}"}
    if year == 2012 and image.name.endswith("7"):
        edges["xmin"] = f"{left + 1.300000190734863}"  # as float32 has it, in a handful of the official files
    lines = ["\t<object>", f"\t\t<name>{name}</name>"]
    if not image.name.endswith("3"):
        lines += ["\t\t<pose>Unspecified</pose>", f"\t\t<truncated>{image.truncated[i]:d}</truncated>"]
    if year == 2012:
        lines.append(f"\t\t<occluded>{image.occluded[i]:d}</occluded>")
    box = ["<bndbox>", *(f"\t<{tag}>{value}</{tag}>" for tag, value in edges.items()), "</bndbox>"]
    lines += [f"\t\t<difficult>{image.difficult[i]:d}</difficult>", *(f"\t\t{line}" for line in box)]
    if image.scene.labels[i] == PERSON:
        part = ["<part>", "\t<name>head</name>", *(f"\t{line}" for line in box), "</part>"]
        lines += [f"\t\t{line}" for line in part]
    return [*lines, "\t</object>"]
