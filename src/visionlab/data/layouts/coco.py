"""MS COCO on disk (Lin et al. 2014, https://cocodataset.org), and any folder of images with annotations in its format.

::

    root/{train,val}2017/*.jpg      or root/images/{train,val}2017/*.jpg
    root/annotations/{instances,person_keypoints}_{train,val}2017.json

and likewise with 2014. The labels of the test images are not published: what is tested is the validation split.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from visionlab.data.download import Remote, extract, fetch
from visionlab.data.layouts.coco_format import open_coco
from visionlab.data.layouts.coco_masks import object_masks, object_rle
from visionlab.data.layouts.json_rows import shown
from visionlab.data.packed import Arrays
from visionlab.data.sample import VOID, Annotations, Objects

Year = Literal[2014, 2017]
Kind = Literal["instances", "person_keypoints"]
Subset = Literal["all", "with_boxes", "with_keypoints"]

CLASSES91 = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "N/A", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "N/A", "backpack", "umbrella", "N/A", "N/A", "handbag", "tie"),
    *("suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove"),
    *("skateboard", "surfboard", "tennis racket", "bottle", "N/A", "wine glass", "cup", "fork", "knife", "spoon"),
    *("bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"),
    *("chair", "couch", "potted plant", "bed", "N/A", "dining table", "N/A", "N/A", "toilet", "N/A", "tv", "laptop"),
    *("mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "N/A"),
    *("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""By category id less 1: the 90 categories that were planned, of which those that no object has are ``N/A``, as the
weights of torchvision's detectors name them (``torchvision.models._meta``), which have a background before them."""

IDS = tuple(i for i, name in enumerate(CLASSES91, 1) if name != "N/A")
"""The ids of the 80 categories."""

CLASSES = tuple(CLASSES91[i - 1] for i in IDS)

KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
"""As the category in ``person_keypoints_*.json`` names them."""

FLIP_PAIRS = tuple((i, KEYPOINTS.index("right" + name[4:])) for i, name in enumerate(KEYPOINTS) if name[:4] == "left")
"""Keypoints that a mirror exchanges, the left and the right of each name, counted from 0 (as Detectron2's
``COCO_PERSON_KEYPOINT_FLIP_MAP``)."""

VOC_CLASSES = {
    **{"aeroplane": 5, "bicycle": 2, "bird": 16, "boat": 9, "bottle": 44, "bus": 6, "car": 3, "cat": 17, "chair": 62},
    **{"cow": 21, "diningtable": 67, "dog": 18, "horse": 19, "motorbike": 4, "person": 1, "pottedplant": 64},
    **{"sheep": 20, "sofa": 63, "train": 7, "tvmonitor": 72},
}
"""The 20 classes of PASCAL VOC in its order, and which categories they are (``get_coco`` of torchvision's
``references/segmentation``, on which the weights of its segmentation nets were trained)."""


class CocoRecords(ABC):
    """One file's images, as records.

    Args:
        index: of :func:`visionlab.data.layouts.coco_format.open_coco`.
        folder: of the images.
        subset: the entry of the index that says which images.
    """

    def __init__(self, index: Arrays, folder: Path, subset: Subset = "all") -> None:
        self.index, self.folder, self.subset = index, folder, subset

    def __len__(self) -> int:
        return len(self.index[self.subset])

    def path(self, index: int) -> Path:
        """The image file at ``index``."""
        return self.folder / self.index.text("file_names", self._place(index))

    def name(self, index: int) -> str:
        """The id of the image at ``index``."""
        return str(self.index["image_ids"][self._place(index)])

    def sizes(self) -> npt.NDArray[np.int64]:
        """``(N, 2)``, height and width of each image, as the file says."""
        sizes: npt.NDArray[np.int64] = self.index["sizes"][self.index[self.subset]]
        return sizes

    @abstractmethod
    def annotations(self, index: int) -> Annotations:
        """What is known about the image at ``index``.

        Raises:
            ValueError: if its masks do not fit in memory.
        """

    def _place(self, index: int) -> int:
        return int(self.index[self.subset][index])

    def _rows(self, place: int) -> tuple[int, int]:
        """The first object of an image, and the one after its last."""
        first, last = self.index["offsets"][place : place + 2].tolist()
        return first, last

    def _size(self, place: int) -> tuple[int, int]:
        height, width = self.index["sizes"][place].tolist()
        return height, width


class ImageRecords(CocoRecords):
    """Images alone."""

    def annotations(self, index: int) -> Annotations:
        """Nothing."""
        return {}


class ObjectRecords(CocoRecords):
    """Images and their objects, with the file's own boxes, areas and ids.

    Args:
        index: of :func:`visionlab.data.layouts.coco_format.open_coco`.
        folder: of the images.
        label_of: ``(C,)``, the label of each category of the index.
        subset: the entry of the index that says which images.
        parts: what each object has beside its box.

    Raises:
        ValueError: if objects are to have masks, and one has neither polygons nor run lengths.
    """

    def __init__(
        self,
        index: Arrays,
        folder: Path,
        label_of: npt.NDArray[np.int64],
        subset: Subset = "all",
        parts: tuple[Literal["masks", "keypoints"], ...] = (),
    ) -> None:
        super().__init__(index, folder, subset)
        self.label_of, self.parts = label_of, parts
        if "masks" in parts:
            _require_segmentations(index, folder)

    def annotations(self, index: int) -> Annotations:
        """The objects of the image at ``index``."""
        place = self._place(index)
        first, last = self._rows(place)
        xywh = np.array(self.index["boxes"][first:last])
        boxes = xywh.copy()
        boxes[:, 2:] += boxes[:, :2]
        objects: Objects = {
            "boxes": boxes,
            "labels": self.label_of[self.index["labels"][first:last]],
            "ids": np.array(self.index["ids"][first:last]),
            "area": np.array(self.index["area"][first:last]),
            "xywh": xywh,
            "crowd": np.array(self.index["crowd"][first:last]),
        }
        if "masks" in self.parts:
            try:
                objects["masks"] = object_masks(self.index, first, last, *self._size(place))
            except ValueError as error:
                raise ValueError(f"{self.path(index)}: {error}") from error
        if "keypoints" in self.parts:
            objects["keypoints"] = np.array(self.index["keypoints"][first:last])
        return {"objects": objects}


class SegmentationRecords(CocoRecords):
    """Images and the class of each pixel: crowds are void, and where objects overlap the smaller one, by the file's own
    areas, is in front of the larger.

    Args:
        index: of :func:`visionlab.data.layouts.coco_format.open_coco`.
        folder: of the images.
        label_of: ``(C,)``, the label of each category of the index, 0 for those that are background.

    Raises:
        ValueError: if an object has neither polygons nor run lengths.
    """

    def __init__(self, index: Arrays, folder: Path, label_of: npt.NDArray[np.int64]) -> None:
        super().__init__(index, folder)
        self.label_of = label_of
        _require_segmentations(index, folder)

    def annotations(self, index: int) -> Annotations:
        """The mask of the image at ``index``."""
        place = self._place(index)
        first, last = self._rows(place)
        height, width = self._size(place)
        labels = self.label_of[self.index["labels"][first:last]]
        crowd = self.index["crowd"][first:last]
        mask = np.zeros((height, width), np.uint8)
        for i in np.lexsort((-self.index["area"][first:last], ~crowd)).tolist():  # crowds first, then from the largest
            if labels[i] > 0:
                inside = rle.decode(object_rle(self.index, first + i, height, width)).view(np.bool_)
                mask[inside] = VOID if crowd[i] else labels[i]
        return {"mask": mask}


def _require_segmentations(index: Arrays, folder: Path) -> None:
    if len(without := index["unsegmented"]):
        raise ValueError(
            f"annotation {index['ids'][without[0]]} of the images in {folder} has no segmentation, nor have "
            f"{len(without) - 1:,} more: masks cannot be made of boxes"
        )


def annotation_file(root: Path, kind: Kind, split: str, year: Year) -> Path:
    """The file with the annotations of a split."""
    return root / "annotations" / f"{kind}_{split}{year}.json"


def image_folder(root: Path, split: str, year: Year) -> Path:
    """The folder with the images of a split, below ``root`` or ``root/images``."""
    below = root / "images" / f"{split}{year}"
    return below if below.is_dir() else root / f"{split}{year}"


def open_split(root: Path, kind: Kind, split: Literal["train", "val", "test"], year: Year) -> tuple[Arrays, Path]:
    """Open the index of a split, and say where its images are; ``test`` is ``val``.

    Raises:
        FileNotFoundError: if the file of annotations or the folder of images is missing; the message says how to get
            it.
        ValueError: if the file is not what it should be; the message names it, and the id.
    """
    published = "val" if split == "test" else split
    path, folder = annotation_file(root, kind, published, year), image_folder(root, published, year)
    if not path.is_file():
        raise FileNotFoundError(missing(root, path, f"annotations_trainval{year}.zip", year))
    if not folder.is_dir():
        raise FileNotFoundError(missing(root, folder, f"{published}{year}.zip", year))
    index = open_coco(path)
    categories = index["category_ids"].tolist(), index.texts("category_names")
    check_categories(path, kind, *categories, index.texts("keypoint_names"))
    return index, folder


def check_categories(path: Path, kind: Kind, ids: list[int], names: list[str], keypoints: list[str]) -> None:
    """Make sure that a file has COCO's own categories and keypoints.

    Args:
        path: of the file.
        kind: of the file.
        ids: of its categories, ascending.
        names: of its categories.
        keypoints: the names of its keypoints.

    Raises:
        ValueError: if not; the message names the first that differs.
    """
    people = kind == "person_keypoints"
    expected = [(1, "person")] if people else list(zip(IDS, CLASSES, strict=True))
    given = list(zip(ids, names, strict=True))
    if given != expected:
        foreign = [one for one in given if one not in expected]
        which = f"has {foreign[0]}" if foreign else f"lacks {len(expected) - len(given)} of them"
        raise ValueError(
            f"{path} has other categories than COCO's {len(expected)}: it {which}; "
            "visionlab.data.coco_format.COCOFormatDetection takes any"
        )
    if people and keypoints != list(KEYPOINTS):
        raise ValueError(f"{path} has keypoints {shown(keypoints)}, not COCO's {len(KEYPOINTS)} in their order")


def open_folder(path: Path, folder: Path) -> Arrays:
    """Open the index of the boxes of any file of annotations in COCO's format.

    Args:
        path: of the file.
        folder: of its images.

    Raises:
        FileNotFoundError: if one of the two is missing.
        ValueError: if the file is not what it should be; the message names it, and the id.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: expected annotations in COCO's format")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: expected the folder of the images that {path} names")
    return open_coco(path, boxes_only=True)


def missing(root: Path, path: Path, archive: str, year: Year) -> str:
    """The message that a file or folder is missing, which says which archive has it."""
    other: Year = 2014 if year == 2017 else 2017
    if any(annotation_file(root, "instances", split, other).is_file() for split in ("train", "val")):
        return f"{path} is missing; of {other} there are annotations: set year to {other}, or unpack {archive}"
    download = f"run `visionlab data download coco --root {root}`, or " if year == 2017 else ""
    return f"{path} is missing: {download}unpack {archive} of https://cocodataset.org/#download into {root}"


ARCHIVES = (  # checksums as the readers of mlcommons/inference and of torch for R (torchdatasets) have them
    Remote(
        "annotations_trainval2017.zip",
        252_907_541,
        "f4bbac642086de4f52a3fdda2de5fa2c",
        ("http://images.cocodataset.org/annotations/annotations_trainval2017.zip",),
    ),
    Remote(
        "val2017.zip",
        815_585_330,
        "442b8da7639aecaf257c1dceb8ba8c80",
        ("http://images.cocodataset.org/zips/val2017.zip",),
    ),
    Remote(
        "train2017.zip",
        19_336_861_798,
        "cced6f7f71b7629ddf16f17bbcfab6b2",
        ("http://images.cocodataset.org/zips/train2017.zip",),
    ),
)
"""The publisher's of 2017, which unpack to the layout."""


IMAGES = {"train": 118_287, "val": 5_000}
"""Of 2017 (https://cocodataset.org/#overview)."""


def download(root: Path) -> None:
    """Fetch the archives of 2017, unless they lie in ``root`` already, and unpack those that are not yet unpacked.

    Raises:
        OSError: if one cannot be had; the message says which file to put where.
        ValueError: if one is damaged, or the folder holds other data than the official.
    """
    root.mkdir(parents=True, exist_ok=True)
    missing = []
    for split, images in IMAGES.items():
        path, folder = annotation_file(root, "instances", split, 2017), image_folder(root, split, 2017)
        if not path.is_file():
            missing.append("annotations_trainval2017.zip")
        elif len(open_coco(path)["image_ids"]) != images:
            raise ValueError(
                f"{path} is of other data than the official (a twin or a subset?): move {root} away, or give another "
                "root"
            )
        if not folder.is_dir() or sum(1 for _ in folder.iterdir()) < images:
            missing.append(f"{split}2017.zip")
    for archive in ARCHIVES:
        if archive.path in missing:
            extract(fetch(archive, root, f"visionlab data download coco --root {root}"), root)
