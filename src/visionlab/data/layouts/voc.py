"""PASCAL VOC 2007 to 2012 on disk (http://host.robots.ox.ac.uk/pascal/VOC/): where its files are, its lists, and its
annotations in XML.

Of a year there are ``JPEGImages``, ``Annotations`` (boxes, an XML file an image), ``ImageSets/Main`` and
``ImageSets/Segmentation`` (lists of images), ``SegmentationClass`` and ``SegmentationObject`` (PNGs with a palette).
SBD's further masks (Hariharan et al. 2011), as they are commonly converted, are ``SegmentationClassAug`` with the list
``ImageSets/Segmentation/trainaug.txt``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from visionlab.data.download import Remote, extract, fetch
from visionlab.data.layouts.xml import Element, read_xml
from visionlab.data.plain import plain_size

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""In alphabetical order, as the development kit numbers them, from 1."""

SEGMENTATION_CLASSES = ("background", *CLASSES)
"""Indices of the palette; 255 is void."""

YEARS = range(2007, 2013)

MAX_LIST_BYTES = 1 << 24
"""Of a list: a million images, and VOC's longest has 11,540."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_LABELS = {name: i for i, name in enumerate(CLASSES)}


class Report(Protocol):
    """What is told about each thing that is wrong: :meth:`visionlab.data.layouts.findings.Findings.error`, which notes
    it, or :func:`refuse`.
    """

    def __call__(self, kind: str, message: str, file: Path, *, line: int | None = None, id: str | None = None) -> None:
        """Take note of it, or raise."""


def refuse(kind: str, message: str, file: Path, *, line: int | None = None, id: str | None = None) -> NoReturn:
    """Raise ValueError at the first thing that is wrong."""
    raise ValueError(message)


@dataclass(frozen=True)
class ImageSet:
    """One of the lists of images, such as ``2007/trainval``."""

    year: int
    name: str

    @classmethod
    def parse(cls, text: str) -> "ImageSet":
        """Read ``YEAR/NAME``.

        Raises:
            ValueError: if it is none.
        """
        year, _, name = text.partition("/")
        if year not in map(str, YEARS) or not _NAME.fullmatch(name):
            raise ValueError(f"a set of VOC is named like 2007/trainval, with a year from 2007 to 2012, not {text!r}")
        return cls(int(year), name)

    @property
    def labelled(self) -> bool:
        """Whether its annotations were published: of the test sets, those of 2007 alone."""
        return self.name != "test" or self.year == 2007

    def __str__(self) -> str:
        return f"{self.year}/{self.name}"


@dataclass(frozen=True)
class Archive:
    """An archive, and what tells that it has been unpacked: one of its lists, and how many images that has."""

    remote: Remote
    folder: str
    images: ImageSet
    count: int


def _archive(year: int, name: str, size: int, md5: str, images: str, count: int) -> Archive:
    hosts = ("https://thor", "http://host")
    urls = tuple(f"{host}.robots.ox.ac.uk/pascal/VOC/voc{year}/{name}" for host in hosts)
    return Archive(Remote(name, size, md5, urls), f"VOCdevkit/VOC{year}", ImageSet.parse(images), count)


ARCHIVES = (  # checksums as in torchvision.datasets.voc
    _archive(
        2007, "VOCtrainval_06-Nov-2007.tar", 460_032_000, "c52e279531787c972589f7e41ab4ae64", "2007/trainval", 5_011
    ),
    _archive(2007, "VOCtest_06-Nov-2007.tar", 451_020_800, "b6e924de25625d8de591ea690078ad9f", "2007/test", 4_952),
    _archive(
        2012, "VOCtrainval_11-May-2012.tar", 1_999_639_040, "6cd6e144f989b92b3379bac3b3de84fd", "2012/trainval", 11_540
    ),
)


@dataclass(frozen=True, slots=True)
class VocObject:
    """An ``<object>``.

    Attributes:
        label: in ``0..19``.
        box: left, top, right, bottom, in pixels and between them. The file has the indices of the first and the last
            column and row inside, and the top-left pixel is (1, 1) (development kit of 2012, section 4.3), so 1 is
            taken from ``xmin`` and ``ymin``.
        difficult: hard to recognise without context; not counted in evaluation.
        truncated: the box does not show the whole object.
        occluded: something else covers much of it.
        line: in the file, from 1.
    """

    label: int
    box: tuple[float, float, float, float]
    difficult: bool
    truncated: bool
    occluded: bool
    line: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """An XML file: the height and width of the image, and its objects."""

    height: int
    width: int
    objects: tuple[VocObject, ...]


def year_folder(root: Path, year: int) -> Path:
    """Where a year lies: ``VOCdevkit/VOC2007``, as in the archives, ``VOC2007``, or the root itself, unless its name
    says that it is another.

    Raises:
        FileNotFoundError: if there is none; the message says how to get it.
    """
    if folder := _find_year(root, year):
        return folder
    others = [str(other) for other in YEARS if _find_year(root, other)]
    instead = f"; there is {' and '.join(others)}: name its sets, such as {others[0]}/val" if others else ""
    raise FileNotFoundError(f"{root / 'VOCdevkit' / f'VOC{year}'} is missing: {how_to_get(root, year)}{instead}")


def _find_year(root: Path, year: int) -> Path | None:
    for folder in (root / "VOCdevkit" / f"VOC{year}", root / f"VOC{year}", root):
        if (folder / "JPEGImages").is_dir() and named_year(folder) in (None, year):
            return folder
    return None


def named_year(folder: Path) -> int | None:
    """The year that the name of a folder says, or that of the folder which it is a link to; None if neither does."""
    for name in (folder.name, folder.resolve().name):
        if found := re.fullmatch(r"VOC(\d{4})", name):
            return int(found[1])
    return None


def how_to_get(root: Path, year: int) -> str:
    """The end of a message about a missing file."""
    names = [archive.remote.path for archive in ARCHIVES if archive.images.year == year]
    if not names:
        return f"get the archive of VOC{year} from http://host.robots.ox.ac.uk/pascal/VOC/ and unpack it in {root}"
    return f"run `visionlab data download voc --root {root}`, or unpack {' and '.join(names)} in {root}"


def read_list(path: Path, report: Report) -> list[str]:
    """Read a list of images, one a line.

    Args:
        path: the file.
        report: is told about ``path-outside-root``, ``malformed-file`` and ``duplicate-id``; such lines are left out.

    Returns:
        The names of the images, without a suffix.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    names: dict[str, int] = {}
    for line, words in _lines(path, report):
        name = _name(words, 1, path, line, report)
        if name is None:
            continue
        if name in names:
            message = f"{path}, line {line}: {name} again, which line {names[name]} lists"
            report("duplicate-id", message, path, line=line, id=name)
        names.setdefault(name, line)
    if not names:
        report("malformed-file", f"{path} lists no image", path)
    return list(names)


def read_class_list(path: Path, report: Report) -> dict[str, int]:
    """Read the list of a class in ``ImageSets/Main``, such as ``dog_train.txt``.

    Args:
        path: the file.
        report: is told about ``path-outside-root``, ``malformed-file`` and ``duplicate-id``; such lines are left out.

    Returns:
        For each image 1 (there is an object of the class), -1 (there is none) or 0 (only difficult ones).

    Raises:
        FileNotFoundError: if there is no such file.
    """
    labels: dict[str, int] = {}
    for line, words in _lines(path, report):
        name = _name(words, 2, path, line, report)
        if name is None:
            continue
        if words[1] not in ("1", "-1", "0"):
            message = f"{path}, line {line}: {name} has label {words[1][:40]!r}, not 1, 0 or -1"
            report("malformed-file", message, path, line=line, id=name)
        elif name in labels:
            report("duplicate-id", f"{path}, line {line}: {name} again", path, line=line, id=name)
        else:
            labels[name] = int(words[1])
    return labels


def read_annotation(path: Path, report: Report) -> Annotation | None:
    """Read an XML file.

    Optional are ``filename``, ``pose``, ``truncated``, ``occluded`` and ``difficult``. The parts of an object are not
    objects. Boxes may reach out of the image; not those with nothing inside it.

    Args:
        path: the file.
        report: is told about ``malformed-file``, ``unknown-image`` (the file names another), ``unknown-category``,
            ``box-nan``, ``box-inverted``, ``box-empty`` and ``box-outside``; such objects are left out.

    Returns:
        None if there is no telling the size of the image.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    try:
        root = read_xml(path)
        height, width = (_side(root.only("size").only(tag)) for tag in ("height", "width"))
        filename = root.optional("filename")
        elements = root.all("object")
    except ValueError as error:
        report("malformed-file", str(error), path, id=path.stem)
        return None
    if filename is not None and Path(filename.text).stem != path.stem:
        message = f"{path}, line {filename.line}: the annotations of {filename.text[:80]!r}, another image"
        report("unknown-image", message, path, line=filename.line, id=path.stem)
    objects = [_object(element, height, width, report) for element in elements]
    return Annotation(height, width, tuple(one for one in objects if one is not None))


def download(root: Path) -> None:
    """Fetch and unpack the archives of 2007 and of 2012 that are not unpacked yet, wherever :func:`year_folder` finds
    them: 2.9 GB. Of a root that is the folder of a year, that year alone is looked at.

    Raises:
        OSError: if an archive cannot be had; the message says which file to put where.
        ValueError: if the folder holds other data than the official, or a part of a year where no archive unpacks to.
    """
    alone = (root / "JPEGImages").is_dir()
    if alone and named_year(root) is None:
        raise ValueError(f"{root} holds a year of VOC, but its name does not say which: call it VOC2007 or VOC2012")
    for archive in ARCHIVES:
        year = archive.images.year
        if alone and named_year(root) != year:
            continue
        official = root / archive.folder
        try:
            folder = year_folder(root, year)
        except FileNotFoundError:
            folder = official
        listed = folder / "ImageSets" / "Main" / f"{archive.images.name}.txt"
        if listed.is_file():
            names = read_list(listed, refuse)
            if len(names) != archive.count:
                raise ValueError(
                    f"{listed} has {len(names):,} images, not the official {archive.count:,} (a twin or a subset?): "
                    "move it away, or give another root"
                )
            if all((folder / "JPEGImages" / f"{name}.jpg").is_file() for name in names):
                continue
        if folder != official:
            raise ValueError(
                f"{folder} lacks images of {archive.images}, and the archives unpack into VOCdevkit/VOC{year}: move it "
                "there, and give the folder that VOCdevkit is in as --root"
            )
        root.mkdir(parents=True, exist_ok=True)
        extract(fetch(archive.remote, root, f"visionlab data download voc --root {root}"), root)


def _lines(path: Path, report: Report) -> Iterator[tuple[int, list[str]]]:
    try:
        plain_size(path, MAX_LIST_BYTES)
    except ValueError as error:
        report("malformed-file", str(error), path)
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line, text in enumerate(file, start=1):
            if words := text.split():
                yield line, words


def _name(words: list[str], columns: int, path: Path, line: int, report: Report) -> str | None:
    """The name at the beginning of a line, if it is one and nothing is wrong with the line."""
    name = words[0]
    if ".." in name or "/" in name or "\\" in name:
        message = f"{path}, line {line}: {name[:80]!r} leads out of JPEGImages; expected a name without its suffix"
        report("path-outside-root", message, path, line=line)
    elif not _NAME.fullmatch(name) or len(words) != columns:
        expected = "the name of an image" if columns == 1 else "the name of an image and 1, 0 or -1"
        report("malformed-file", f"{path}, line {line}: {' '.join(words)[:80]!r} is not {expected}", path, line=line)
    else:
        return name
    return None


def _side(element: Element) -> int:
    value = element.number()
    if value < 1 or value != int(value):
        raise ValueError(f"{element.file}, line {element.line}: <{element.tag}> is {element.text!r} pixels")
    return int(value)


def _object(element: Element, height: int, width: int, report: Report) -> VocObject | None:
    path, line, id = element.file, element.line, element.file.stem
    try:
        name = element.only("name").text
        difficult, truncated, occluded = (_flag(element, tag) for tag in ("difficult", "truncated", "occluded"))
        bndbox = element.only("bndbox")
        edges = [bndbox.only(tag) for tag in ("xmin", "ymin", "xmax", "ymax")]
    except ValueError as error:
        report("malformed-file", str(error), path, line=line, id=id)
        return None
    if name not in _LABELS:
        message = f"{path}, line {line}: {name[:40]!r} is none of VOC's 20 classes"
        report("unknown-category", message, path, line=line, id=id)
        return None
    try:
        xmin, ymin, right, bottom = (edge.number() for edge in edges)
    except ValueError as error:
        report("box-nan", str(error), path, line=line, id=id)
        return None
    left, top = xmin - 1, ymin - 1
    if right < left or bottom < top:
        kind, says = "box-inverted", "ends before it begins"
    elif right == left or bottom == top:
        kind, says = "box-empty", "has no area"
    elif left >= width or top >= height or right <= 0 or bottom <= 0:
        kind, says = "box-outside", f"lies outside the image of {width} x {height} pixels"
    else:
        return VocObject(_LABELS[name], (left, top, right, bottom), difficult, truncated, occluded, line)
    shown = ", ".join(f"{edge.tag} {edge.text}" for edge in edges)
    report(kind, f"{path}, line {line}: the box {shown} {says}", path, line=line, id=id)
    return None


def _flag(element: Element, tag: str) -> bool:
    flag = element.optional(tag)
    if flag is not None and flag.text not in ("0", "1"):
        raise ValueError(f"{flag.file}, line {flag.line}: <{tag}> is {flag.text[:40]!r}, not 0 or 1")
    return flag is not None and flag.text == "1"
