"""COCO's segmentations: polygons, and run lengths over the columns of an image, as lists or as compressed strings.

They come from files that nobody vouches for, and go to ``pycocotools``, which trusts them: what it would not survive is
refused here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from visionlab.data.layouts.json_rows import are_integers, are_lists, are_numbers, floats, joined, shown
from visionlab.data.packed import Arrays

OUTLINE = 1_000_000
"""Pixels that the outline of an object may be long: they are all held in memory, at several places each."""

MASKS = 1 << 29
"""Pixels that the masks of an image may have together, each of one byte."""


def are_segmentations(values: list[Any]) -> bool:
    """Whether all are lists of polygons, objects (of run lengths), or absent."""
    if not set(map(type, values)) <= {list, dict, type(None)}:
        return False
    polygons = list(joined(value for value in values if type(value) is list))
    if not are_lists(polygons) or any(length % 2 for length in set(map(len, polygons))):
        return False
    return are_numbers(joined(polygons))


def offsets(lists: Sequence[Sequence[Any]]) -> npt.NDArray[np.int64]:
    """Where each list begins when they are joined, ``(n + 1,)``."""
    return np.cumsum([0, *map(len, lists)], dtype=np.int64)


@dataclass(frozen=True)
class Outlines:
    """The polygons of n objects, without those that have no point.

    Attributes:
        objects: ``(n + 1,)``: object i has the polygons from entry i to entry i + 1.
        polygons: ``(p + 1,)``: polygon i has the coordinates from entry i to entry i + 1.
        coordinates: x and y in turns.
    """

    objects: npt.NDArray[np.int64]
    polygons: npt.NDArray[np.int64]
    coordinates: npt.NDArray[np.float64]

    @classmethod
    def of(cls, segmentations: list[Any]) -> Self:
        """Those of :func:`are_segmentations` that are polygons."""
        polygons: list[Any] = [list(filter(None, value)) if type(value) is list else [] for value in segmentations]
        flat = list(joined(polygons))
        return cls(offsets(polygons), offsets(flat), floats(flat))

    def take(self, order: npt.NDArray[np.int64]) -> Self:
        """Those of some objects, in another order."""
        objects, polygons = _rows_of(self.objects, order)
        bounds, numbers = _rows_of(self.polygons, polygons)
        return type(self)(objects, bounds, self.coordinates[numbers])

    def wild(self, sizes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which outlines cannot be meant.

        Args:
            sizes: ``(n, 2)``, height and width of the image of each object.

        Returns:
            ``(n,)`` each: whether one is not within three times its image, and whether it is longer than
            :data:`OUTLINE`.
        """
        count = len(sizes)
        if not len(self.coordinates):
            return np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        points, starts = self.coordinates.reshape(-1, 2), self.polygons[:-1] // 2
        of_polygon = np.repeat(np.arange(count), np.diff(self.objects))
        image = sizes[of_polygon, ::-1]
        least, most = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
        outside = ~((least >= -image) & (most <= 2 * image)).all(1)  # NaN is within nothing
        steps = np.zeros(len(points))
        with np.errstate(invalid="ignore"):  # of infinities
            across, down = np.abs(np.diff(points, axis=0)).T
            steps[1:] = np.maximum(across, down)
        steps[starts] = 0  # from one polygon to the next
        lengths = np.bincount(of_polygon, np.add.reduceat(steps, starts), minlength=count)
        return np.bincount(of_polygon, outside, minlength=count) > 0, lengths > OUTLINE


def _rows_of(
    bounds: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where some groups of rows begin when they are joined, and which rows those are."""
    lengths = np.diff(bounds)[groups]
    joined_bounds = np.append(0, np.cumsum(lengths))
    shift = np.repeat(bounds[:-1][groups] - joined_bounds[:-1], lengths)
    return joined_bounds, np.arange(joined_bounds[-1]) + shift


def pack_rle(segmentation: dict[str, Any], height: int, width: int) -> str:
    """Compress run lengths, unless they are.

    Args:
        segmentation: ``size``, height and width, and ``counts``, a list or a string.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: if they are not those of an image of this size.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or not are_integers(size) or size != [height, width]:
        raise ValueError(f"its run lengths are for an image of size {shown(size)}, not {[height, width]}")
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not are_integers(runs) or min(runs, default=0) < 0:
        raise ValueError(f"counts is {shown(counts)}, not a list of run lengths or a compressed string")
    if sum(runs) != height * width:
        raise ValueError(f"its run lengths add up to {sum(runs):,}, not to {height} x {width} pixels")
    if isinstance(counts, str):
        return counts
    packed: bytes = rle.frPyObjects({"size": size, "counts": runs}, height, width)["counts"]
    return packed.decode("ascii")


def _uncompressed(text: str) -> list[int] | None:
    """The run lengths of a string (``rleFrString`` of cocoapi's ``maskApi.c``), None if it is none: five bits a
    character from the lowest, a sixth that says whether more follow, and the fourth run on is the difference from the
    last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value |= -1 << shift if bits & 16 else 0
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return None if shift else runs


def object_rle(index: Arrays, row: int, height: int, width: int) -> dict[str, Any]:
    """The mask of an object as ``pycocotools`` has it, compressed.

    Polygons of fewer than three points have no area, and are passed over (as in Detectron).

    Args:
        index: of :func:`visionlab.data.layouts.coco_format.open_coco`.
        row: of the object.
        height: of its image.
        width: of its image.
    """
    if len(packed := index.rows("rles_bytes", row, "rles_offsets")):
        return {"size": [height, width], "counts": packed.tobytes()}
    first, last = index["objects"][row : row + 2]
    polygons = [index.rows("coordinates", i, "polygons") for i in range(first, last)]
    if areal := [polygon for polygon in polygons if len(polygon) >= 6]:
        merged: dict[str, Any] = rle.merge(rle.frPyObjects(areal, height, width))
        return merged
    empty: dict[str, Any] = rle.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width)
    return empty


def object_masks(index: Arrays, first: int, last: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The masks of the objects of an image, ``(last - first, height, width)``, 1 inside.

    Raises:
        ValueError: if they would have more than :data:`MASKS` pixels.
    """
    if (last - first) * height * width > MASKS:
        raise ValueError(f"the masks of {last - first} objects of {width} x {height} pixels do not fit in memory")
    if first == last:
        return np.zeros((0, height, width), np.uint8)
    decoded: npt.NDArray[np.uint8] = rle.decode([object_rle(index, i, height, width) for i in range(first, last)])
    return np.ascontiguousarray(decoded.transpose(2, 0, 1))
