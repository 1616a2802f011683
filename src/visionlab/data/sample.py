"""One image and what is known about it, in numpy: what the files of a data set are read into, and what transforms act
on.

Boxes and keypoints are in absolute pixels and live between pixels: the left edge of the first pixel is 0, the right
edge of the last is the width. Images keep the size of their file.
"""

from pathlib import Path
from typing import NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
import numpy.typing as npt

VOID = 255
"""The class of a pixel that counts neither in losses nor in metrics."""


class Objects(TypedDict):
    """The objects in an image: every entry has one row an object, so that rows are chosen together.

    boxes: ``(n, 4)`` ``float64``, left, top, right, bottom.
    labels: ``(n,)`` ``int64`` in ``0..C-1``.
    ids: ``(n,)`` ``int64``, the data set's own.
    area: ``(n,)`` ``float64``, the data set's own, in pixels; absent after a transform.
    xywh: ``(n, 4)`` ``float64``, the boxes as the data set's own left, top, width and height, where it gives those:
        adding them up rounds, and official metrics are exact; absent after a transform.
    crowd: ``(n,)`` ``bool``, a region of many objects rather than one: COCO's ``iscrowd``, Open Images' ``IsGroupOf``.
    difficult: ``(n,)`` ``bool``, not counted by VOC's metrics.
    masks: ``(n, H, W)`` ``uint8``, 1 inside.
    keypoints: ``(n, K, 3)`` ``float64``: x, y and visibility (0 not labelled, 1 hidden, 2 visible).
    """

    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    ids: NotRequired[npt.NDArray[np.int64]]
    area: NotRequired[npt.NDArray[np.float64]]
    xywh: NotRequired[npt.NDArray[np.float64]]
    crowd: NotRequired[npt.NDArray[np.bool_]]
    difficult: NotRequired[npt.NDArray[np.bool_]]
    masks: NotRequired[npt.NDArray[np.uint8]]
    keypoints: NotRequired[npt.NDArray[np.float64]]


class Annotations(TypedDict):
    """What is known about an image; which entries there are depends on the task.

    label: in ``0..C-1``.
    labels: ``(C,)`` ``float32``, of 0, 1 and NaN for unknown.
    objects: the objects in the image, which may be none.
    mask: ``(H, W)`` ``uint8``, the class of each pixel, or :data:`VOID`.
    """

    label: NotRequired[int]
    labels: NotRequired[npt.NDArray[np.float32]]
    objects: NotRequired[Objects]
    mask: NotRequired[npt.NDArray[np.uint8]]


class Sample(Annotations):
    """An image with its annotations.

    image: ``(H, W, 3)`` ``uint8``, RGB; ``(H, W, 1)`` in data sets of grey images.
    """

    image: npt.NDArray[np.uint8]


class Records(Protocol):
    """One split of a data set on disk: where its images are, and what is known about them.

    What it keeps does not grow with the number of images and annotations: those are in memory-mapped arrays (see
    :mod:`visionlab.data.packed`), so that the processes of a loader share them.
    """

    def __len__(self) -> int:
        """The number of images."""

    def path(self, index: int) -> Path:
        """The image file at ``index``."""

    def name(self, index: int) -> str:
        """What the data set itself calls the image at ``index``."""

    def annotations(self, index: int) -> Annotations:
        """What is known about the image at ``index``.

        Raises:
            ValueError: if a file that holds it is not what it should be; the message names it.
            OSError: if such a file cannot be read.
        """


@runtime_checkable
class SizedRecords(Records, Protocol):
    """Records that know the sizes of their images without opening them."""

    def sizes(self) -> npt.NDArray[np.int64]:
        """``(N, 2)``, height and width of each image in pixels."""
