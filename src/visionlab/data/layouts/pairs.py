"""Folders of images to translate: pairs, in the layout of pix2pix (Isola et al. 2017), and two collections without
pairs, in that of CycleGAN (Zhu et al. 2017).

::

    root/{train,val,test}/*.jpg          A at the left of each picture, B at the right, of one size

    root/{trainA,trainB,testA,testB}/*   images of any sizes

What A and B are depends on the data set: in pix2pix's facades A is the photograph and B the label map.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.data.images import image_size
from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.folder import SUFFIXES, FolderImages, images_below
from visionlab.data.layouts.images import Fingerprints, check_images, check_leaks
from visionlab.data.packed import open_index, save_strings
from visionlab.data.sample import Annotations

PAIRED = ("train", "val", "test")
UNPAIRED = ("trainA", "trainB", "testA", "testB")


def open_folder(folder: Path) -> FolderImages:
    """Open the images at any depth below a folder of one of the layouts.

    Raises:
        FileNotFoundError: if there is no such folder; the message says what was expected.
        ValueError: if there are no images in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder: expected {', '.join(PAIRED)} for pairs side by side, or {', '.join(UNPAIRED)}"
        )
    files, folders = images_below(folder)
    if not files:
        raise ValueError(f"{folder} has no images; ends of names that count: {', '.join(sorted(SUFFIXES))}")
    index = open_index("translation-1", folders, lambda into: save_strings(into, "files", files))
    return FolderImages(folder, index, labelled=False)


class Pairs:
    """Pictures of two images side by side, as records.

    Args:
        images: the pictures.
    """

    def __init__(self, images: FolderImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def path(self, index: int) -> Path:
        """The file of the picture at ``index``."""
        return self.images.path(index)

    def name(self, index: int) -> str:
        """The file of the picture at ``index``, relative to the folder, with slashes."""
        return self.images.name(index)

    def annotations(self, index: int) -> Annotations:
        """Nothing.

        Raises:
            ValueError: if the width of the picture is odd.
        """
        height, width = image_size(self.path(index))
        if width % 2:
            raise ValueError(
                f"{self.path(index)}: a picture of {width} x {height} pixels is not two images side by side"
            )
        return {}


def halves(image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Cut a picture of two, ``(H, 2 W, channels)``, into A and B, ``(H, W, channels)`` each."""
    width = image.shape[1]
    assert width % 2 == 0  # or Pairs has refused it
    return image[:, : width // 2], image[:, width // 2 :]


def check_pairs(root: Path) -> Findings:
    """Read every picture of the paired layout, and say what is wrong with each."""
    findings, fingerprints = _check(root, PAIRED)
    for split, prints in fingerprints.items():
        sizes = findings.sizes[split]
        for row in np.flatnonzero(sizes[:, 1] % 2).tolist():
            path, (height, width) = prints.paths[prints.rows[row]], sizes[row].tolist()
            message = f"{path}: a picture of {width} x {height} pixels is not two images side by side"
            findings.error("wrong-size", message, path)
    return findings


def check_collections(root: Path) -> Findings:
    """Read every image of the layout without pairs, and say what is wrong with each."""
    return _check(root, UNPAIRED)[0]


def _check(root: Path, splits: tuple[str, ...]) -> tuple[Findings, dict[str, Fingerprints]]:
    findings = Findings()
    fingerprints = dict[str, Fingerprints]()
    for split in splits:
        try:
            records = open_folder(root / split)
        except FileNotFoundError as error:
            findings.error("missing-file", str(error), root / split)
            continue
        except ValueError as error:
            findings.error("malformed-file", str(error), root / split)
            continue
        paths = [records.path(i) for i in range(len(records))]
        fingerprints[split] = check_images(split, paths, findings)
    check_leaks(fingerprints, findings)
    return findings, fingerprints
