from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from visionlab.data.augmentation import MEAN_COLOUR
from visionlab.data.sample import VOID, Objects, Sample
from visionlab.data.sampling import mix


class Mosaic:
    """Four training images in one (Bochkovskiy et al. 2020, YOLOv4, section 3.4).

    A point that is drawn uniformly in the middle half of a square canvas divides it into quarters. Each image is
    resized, keeping its aspect ratio, and put into a quarter with its inner corner at that point. What does not fit is
    cut off; what stays free has ImageNet's mean colour.

    - Images are averaged over areas where they shrink and bilinear where they grow; masks are resampled by the nearest
      pixel.
    - Boxes are clipped to what is seen of their image, and objects whose box becomes narrower or lower than a pixel are
      dropped. The rows of all entries of ``objects`` are chosen together, crowd and difficult ones too. ``area`` and
      ``xywh`` are left out: see :class:`visionlab.data.transforms.SampleAlbumentations`.
    - A keypoint outside what is seen of its image is no longer labelled: ``(0, 0, 0)``.
    - Pixels of ``mask`` that no image covers are void, and not inside any of ``masks``.

    Args:
        size: pixels on each side of the result, at least 2.
        p: how often, in [0, 1]; the other images stay as they are, in their own size.
        scale: the longer side of each image in multiples of ``size``, drawn uniformly, from and to, above 0.

    Raises:
        ValueError: if an argument is wrong.
    """

    def __init__(self, size: int, p: float = 1.0, scale: tuple[float, float] = (0.5, 1.5)) -> None:
        if size < 2:
            raise ValueError(f"size must be at least 2 pixels, not {size}")
        if not 0 <= p <= 1:
            raise ValueError(f"p must lie in [0, 1], not {p}")
        if not 0 < scale[0] <= scale[1] < float("inf"):
            raise ValueError(f"scale must be two numbers above 0, the smaller first, not {tuple(scale)}")
        self.size, self.p, self.scale = size, p, scale

    def others(self, index: int, count: int, seed: int) -> list[int]:
        """Draw which images join one.

        Args:
            index: of that image, in ``0..count-1``.
            count: the number of images to choose from.
            seed: of that image, at least 0: see :func:`visionlab.data.sampling.sample_seeds`.

        Returns:
            Three in ``0..count-1``, which differ from ``index`` and from each other as far as there are enough; or none
            if the image stays as it is.
        """
        rng = _generator(seed, 1)
        if rng.random() >= self.p:
            return []
        steps = 1 + rng.choice(max(1, count - 1), 3, replace=count < 4)
        return cast(list[int], ((index + steps) % count).tolist())

    def __call__(self, samples: Sequence[Sample], seed: int) -> Sample:
        """Put four samples of RGB images together, which stay as they were.

        Args:
            samples: with the same entries, in the order of the quarters: above, then below, each from the left.
            seed: of the first, at least 0.

        Raises:
            ValueError: if the samples have a label, or labels, of the whole image.
        """
        if "label" in samples[0] or "labels" in samples[0]:
            raise ValueError("mosaic: an image of four has no one label; leave it out where whole images have labels")
        places = self._places([sample["image"].shape for sample in samples], seed)
        placed = list(zip(samples, places, strict=True))
        image = np.full((self.size, self.size, 3), MEAN_COLOUR, dtype=np.uint8)
        for sample, place in placed:
            place.paste(sample["image"], image, cv2.INTER_AREA if min(place.factor) < 1 else cv2.INTER_LINEAR)
        result: Sample = {"image": image}
        if "mask" in samples[0]:
            result["mask"] = np.full((self.size, self.size), VOID, dtype=np.uint8)
            for sample, place in placed:
                place.paste(sample["mask"], result["mask"], cv2.INTER_NEAREST_EXACT)
        if "objects" in samples[0]:
            parts = [place.moved(sample["objects"], self.size) for sample, place in placed]
            joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
            result["objects"] = cast(Objects, joined)
        return result

    def _places(self, shapes: Sequence[tuple[int, ...]], seed: int) -> "list[_Place]":
        """Draw where images ``(H, W, ...)`` lie, in the order of the quarters."""
        rng = _generator(seed, 2)
        x, y = rng.integers(-(-self.size // 4), 3 * self.size // 4, 2, endpoint=True).tolist()
        sides = (rng.uniform(*self.scale, 4) * self.size).tolist()
        places = []
        for quarter, (shape, side) in enumerate(zip(shapes, sides, strict=True)):
            height, width = (max(1, round(side * length / max(shape[:2]))) for length in shape[:2])
            # the image ends at the dividing point, or begins there
            left, top = x if quarter % 2 else x - width, y if quarter // 2 else y - height
            seen = max(left, 0), max(top, 0), min(left + width, self.size), min(top + height, self.size)
            places.append(_Place((width, height), (left, top), (width / shape[1], height / shape[0]), seen))
        return places


@dataclass(frozen=True)
class _Place:
    """Where an image lies on the canvas, in pixels of that.

    Attributes:
        size: width and height of the whole image.
        corner: left and top of the whole image, which may be outside.
        factor: what width and height were multiplied by.
        seen: left, top, right and bottom of what is inside.
    """

    size: tuple[int, int]
    corner: tuple[int, int]
    factor: tuple[float, float]
    seen: tuple[int, int, int, int]

    def paste(self, picture: npt.NDArray[np.uint8], canvas: npt.NDArray[np.uint8], interpolation: int) -> None:
        """Draw the image, or a mask of it, on a canvas."""
        left, top, right, bottom = self.seen
        x, y = self.corner
        resized = cv2.resize(picture, self.size, interpolation=interpolation)
        canvas[top:bottom, left:right] = resized[top - y : bottom - y, left - x : right - x]

    def moved(self, objects: Objects, size: int) -> dict[str, Any]:
        """The objects of the image of which something is seen, on a canvas of ``size``."""
        low, high = self.seen[:2], self.seen[2:]
        boxes = np.clip(objects["boxes"] * (self.factor * 2) + self.corner * 2, low * 2, high * 2)
        rows = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= 1).all(1))
        moved: dict[str, Any] = {
            key: value[rows]  # type: ignore[index]  # mypy takes the values of a TypedDict for object
            for key, value in objects.items()
            if key not in ("area", "xywh", "masks")
        }
        moved["boxes"] = boxes[rows]
        if "masks" in objects:
            moved["masks"] = np.zeros((len(rows), size, size), dtype=np.uint8)
            for row, canvas in zip(rows, moved["masks"], strict=True):
                self.paste(objects["masks"][row], canvas, cv2.INTER_NEAREST_EXACT)
        if "keypoints" in objects:
            xy, v = np.split(moved["keypoints"], [2], axis=-1)
            xy = xy * self.factor + self.corner
            labelled = (v > 0) & ((xy >= low) & (xy <= high)).all(-1, keepdims=True)
            moved["keypoints"] = np.where(labelled, np.concatenate([xy, v], axis=-1), 0)
        return moved


def _generator(seed: int, purpose: int) -> np.random.Generator:
    # not of the seed itself: the transforms that follow draw from that
    return np.random.default_rng(int(mix(np.uint64(seed) ^ np.uint64(purpose))))
