"""Random crops of detection that albumentations lacks, as transforms of its kind."""

from typing import Any

import albumentations
import numpy as np
import numpy.typing as npt
from albumentations.augmentations.crops.transforms import BaseCrop
from albumentations.core.transforms_interface import BaseTransformInitSchema


class ZoomOut(albumentations.Pad):  # type: ignore[misc]  # albumentations ships no types
    """Put the image at a random place on a canvas of up to ``max_ratio`` times its width and height (Liu et al. 2016,
    SSD, section 3.6, "expansion").

    Args:
        max_ratio: at least 1; the ratio is uniform between 1 and this.
        fill: the colour of the canvas, one number a channel or one for all, in [0, 255].
        fill_mask: the class of the canvas.
        p: how often.
    """

    class InitSchema(BaseTransformInitSchema):  # type: ignore[misc]
        """What albumentations checks arguments by."""

        max_ratio: float
        fill: tuple[float, ...] | float
        fill_mask: tuple[float, ...] | float

    def __init__(
        self,
        max_ratio: float = 4.0,
        fill: tuple[float, ...] | float = 0,
        fill_mask: tuple[float, ...] | float = 0,
        p: float = 0.5,
    ) -> None:
        super().__init__(fill=fill, fill_mask=fill_mask, p=p)
        if max_ratio < 1:
            raise ValueError(f"max_ratio must be at least 1, not {max_ratio}")
        self.max_ratio = max_ratio

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, int]:
        """Draw the canvas, and the place of the image on it."""
        ratio = self.py_random.uniform(1, self.max_ratio)
        spare = {side: int(size * ratio) - size for side, size in zip("yx", params["shape"][:2], strict=True)}
        top, left = self.py_random.randint(0, spare["y"]), self.py_random.randint(0, spare["x"])
        return {"pad_top": top, "pad_bottom": spare["y"] - top, "pad_left": left, "pad_right": spare["x"] - left}


class RandomIoUCrop(BaseCrop):  # type: ignore[misc]  # albumentations ships no types
    """Crop a random patch that overlaps an object by at least an intersection over union, itself drawn at random, or
    leave the image whole (Liu et al. 2016, SSD, section 2.2, "Data augmentation").

    A patch is between 0.3 and 1 times as wide and as high as the image, with an aspect ratio between 1/2 and 2. Objects
    whose centre lies outside are dropped, the others clipped. After ``trials`` patches that do not fit, another overlap
    is drawn. An image without objects stays whole.

    Args:
        min_overlaps: the overlaps to draw from, in [0, 1]; 1 leaves the image whole.
        trials: patches to try for each overlap.
        p: how often.
    """

    class InitSchema(BaseTransformInitSchema):  # type: ignore[misc]
        """What albumentations checks arguments by."""

        min_overlaps: tuple[float, ...]
        trials: int

    def __init__(
        self, min_overlaps: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0), trials: int = 40, p: float = 1.0
    ) -> None:
        super().__init__(p=p)
        if 1 not in min_overlaps:
            raise ValueError(f"min_overlaps must have 1, which leaves the image whole, not only {min_overlaps}")
        self.min_overlaps, self.trials = min_overlaps, trials

    @property
    def targets_as_params(self) -> list[str]:
        """The patch depends on the boxes."""
        return ["bboxes"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the patch."""
        height, width = params["shape"][:2]
        boxes = np.asarray(data["bboxes"], dtype=np.float64)[:, :4] * (width, height, width, height)
        while len(boxes):
            overlap = self.py_random.choice(self.min_overlaps)
            if overlap >= 1:
                break
            patches = self._patches(height, width)
            fit = np.flatnonzero(_best_overlap(patches, boxes) >= overlap)
            if len(fit):
                return {"crop_coords": tuple(patches[fit[0]].tolist())}
        return {"crop_coords": (0, 0, width, height)}

    def apply_to_bboxes(
        self, bboxes: npt.NDArray[Any], crop_coords: tuple[int, int, int, int], **params: Any
    ) -> npt.NDArray[Any]:
        """Leave the boxes whose centre is in the patch."""
        moved: npt.NDArray[Any] = super().apply_to_bboxes(bboxes, crop_coords, **params)
        centres = (moved[:, :2] + moved[:, 2:4]) / 2
        within: npt.NDArray[Any] = moved[((centres > 0) & (centres < 1)).all(1)]
        return within

    def _patches(self, height: int, width: int) -> npt.NDArray[np.intp]:
        """Draw ``(trials, 4)`` patches, less those whose aspect ratio is not allowed."""
        draw = self.random_generator.uniform(size=(4, self.trials))
        w = (width * (0.3 + 0.7 * draw[0])).astype(np.intp)
        h = (height * (0.3 + 0.7 * draw[1])).astype(np.intp)
        allowed = (w > 0) & (h > 0) & (w <= 2 * h) & (h <= 2 * w)
        left, top = ((width - w) * draw[2]).astype(np.intp), ((height - h) * draw[3]).astype(np.intp)
        patches: npt.NDArray[np.intp] = np.stack([left, top, left + w, top + h], axis=1)[allowed]
        return patches


def _best_overlap(patches: npt.NDArray[np.intp], boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest intersection over union of each patch with a box whose centre it contains; below 0 if it contains
    none.
    """
    p, b = patches[:, None], boxes[None]
    centres = (b[..., :2] + b[..., 2:]) / 2
    inside = ((p[..., :2] < centres) & (centres < p[..., 2:])).all(-1)
    sides = (np.minimum(p[..., 2:], b[..., 2:]) - np.maximum(p[..., :2], b[..., :2])).clip(0)
    shared = sides.prod(-1)
    union = (p[..., 2:] - p[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    best: npt.NDArray[np.float64] = np.where(inside, shared / union, -1).max(1)
    return best
