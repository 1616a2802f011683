"""albumentations pipelines over samples and over batches, every image's randomness its own.

This is the one place where boxes, masks and keypoints are handed to albumentations and taken back. albumentations 2.0.8
gives every loader process the same random stream and restarts it every epoch, only warns of an argument that it does
not know, and draws keypoints through the centres of pixels when it flips but not when it resizes.
"""

import functools
import random
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import albumentations
import cv2
import numpy as np
import numpy.typing as npt

from visionlab.data.augmentation import Augmentation, Transform
from visionlab.data.sample import VOID, Objects, Sample

Steps = Sequence[albumentations.BasicTransform | albumentations.BaseCompose]

# they multiply coordinates by the scale, which is right between pixels; all others move the centres of pixels
_RESIZING = (
    albumentations.CropAndPad,
    albumentations.LongestMaxSize,
    albumentations.RandomResizedCrop,
    albumentations.RandomScale,
    albumentations.RandomSizedBBoxSafeCrop,
    albumentations.RandomSizedCrop,
    albumentations.Resize,
    albumentations.SmallestMaxSize,
)
# under these, keypoints are lost, or end up to 23 pixels from where they are in an image of 80 x 60
_LOSING_KEYPOINTS = (
    albumentations.ElasticTransform,
    albumentations.GridDistortion,
    albumentations.GridElasticDeform,
    albumentations.MaskDropout,
    albumentations.OpticalDistortion,
    albumentations.PiecewiseAffine,
    albumentations.RandomGridShuffle,
    albumentations.ThinPlateSpline,
)
_REPEATING_BORDERS = (cv2.BORDER_REFLECT, cv2.BORDER_REFLECT_101, cv2.BORDER_WRAP)


class SampleAlbumentations(Transform):
    """Transforms of albumentations on an image and everything known about it.

    - Boxes are clipped to the image, and those without an area are dropped, before the first transform and after each.
      They follow geometric transforms as albumentations moves them (a rotated box is the box around the rotated
      corners); they are not fitted to masks again.
    - The rows of all entries of ``objects`` are chosen together, crowd and difficult ones too. ``area`` and ``xywh``
      are left out: after a crop the data set's own numbers are wrong, and no training needs them.
    - Pixels of ``mask`` that come from outside the image are void, and not inside any of ``masks``. Both are resampled
      by the nearest pixel.
    - A keypoint that leaves the image is no longer labelled: ``(0, 0, 0)``. Where the image was mirrored, however that
      came about, left and right are exchanged by ``flip_pairs``.
    - ``label`` and ``labels`` pass through.

    Args:
        transforms: applied in order. The image must stay ``uint8`` with its channels.
        flip_pairs: the keypoints to exchange in a mirrored image, as pairs of positions in ``0..K-1``; needed if
            samples have keypoints and a transform mirrors.
        min_visibility: an object is dropped if a transform leaves less than this share of its box inside, in [0, 1].
            The default keeps every object of which something is left, as the published recipes do.
        min_size: an object is dropped if its box becomes narrower or lower than this many pixels; above 0.

    Raises:
        ValueError: if an argument is wrong, a transform was given an argument that it does not know, or it would
            mix the classes of a mask.
    """

    def __init__(
        self,
        transforms: list[albumentations.BasicTransform | albumentations.BaseCompose],
        flip_pairs: list[tuple[int, int]] | None = None,
        min_visibility: float = 0.0,
        min_size: float = 1.0,
    ) -> None:
        if not 0 <= min_visibility <= 1:
            raise ValueError(f"min_visibility must lie in [0, 1], not {min_visibility}")
        if min_size <= 0:
            raise ValueError(f"min_size must be above 0 pixels, not {min_size}")
        if flip_pairs is not None:
            ends = [end for pair in flip_pairs for end in pair]
            if min(ends, default=0) < 0 or len(set(ends)) < len(ends):
                raise ValueError(f"flip_pairs must name each keypoint at most once, counted from 0, not {flip_pairs}")
        self.flip_pairs = flip_pairs
        _prepare(transforms)
        self.repeating = _first(transforms, lambda t: vars(t).get("border_mode") in _REPEATING_BORDERS)
        self.losing = _first(transforms, lambda t: isinstance(t, _LOSING_KEYPOINTS))
        self.pipeline = _Pipeline(transforms, slice(2, None), _Limits(min_visibility, min_size))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Transform a sample.

        Raises:
            ValueError: if a transform changes the dtype or the channels of the image, if the image was mirrored and
                there are keypoints but no ``flip_pairs``, if a border repeats objects of which nothing is known, or if
                albumentations does not know where keypoints go.
        """
        data: dict[str, Any] = {"image": sample["image"]}
        if "mask" in sample:
            data["mask"] = sample["mask"]
        if "objects" in sample:
            if self.repeating is not None:
                raise ValueError(f"{self.repeating} repeats objects at the border; give it border_mode 0, constant")
            if "keypoints" in sample["objects"] and self.losing is not None:
                raise ValueError(f"{self.losing} does not move keypoints with the image")
            data.update(_packed(sample["objects"], sample["image"].shape))
        done = self.pipeline(seed, data)
        result: Sample = {**sample, "image": done["image"]}
        if "mask" in sample:
            result["mask"] = done["mask"]
        if "objects" in sample:
            result["objects"] = self._unpacked(sample["objects"], done)
        return result

    def _unpacked(self, objects: Objects, done: dict[str, Any]) -> Objects:
        """Take the objects back from what albumentations made of them."""
        height, width = done["image"].shape[:2]
        boxes = done["bboxes"]
        rows = boxes[:, 4:].astype(np.intp).ravel()  # albumentations may leave (0, 4)
        left: dict[str, Any] = {
            key: value[rows]  # type: ignore[index]  # mypy takes the values of a TypedDict for object
            for key, value in objects.items()
            if key not in ("boxes", "area", "xywh", "masks", "keypoints")
        }
        left["boxes"] = boxes[:, :4] * (width, height, width, height)
        if "masks" in objects:
            if len(rows):
                left["masks"] = (done["masks"][rows] == 1).view(np.uint8)
            else:
                left["masks"] = np.empty((0, height, width), dtype=np.uint8)
        if "keypoints" in objects:
            left["keypoints"] = self._keypoints(objects["keypoints"], done["keypoints"], height, width)[rows]
        return cast(Objects, left)

    def _keypoints(
        self, old: npt.NDArray[np.float64], moved: npt.NDArray[Any], height: int, width: int
    ) -> npt.NDArray[np.float64]:
        """Fill in where the labelled points of ``old`` went."""
        corners, xy, number = moved[:3, :2], moved[3:, :2] + 0.5, moved[3:, 2].astype(np.intp)
        kept = (xy >= 0).all(1) & (xy <= (width, height)).all(1)
        new: npt.NDArray[np.float64] = np.zeros((old.size // 3, 3))
        new[number[kept], :2] = xy[kept]
        new[number[kept], 2] = old.reshape(-1, 3)[number[kept], 2]
        new = new.reshape(old.shape)
        mirrored = np.linalg.det(corners[1:] - corners[0]) < 0
        return new[:, self._exchanged(old.shape[1])] if mirrored else new

    def _exchanged(self, k: int) -> npt.NDArray[np.intp]:
        """The order of ``k`` keypoints in a mirrored image."""
        if self.flip_pairs is None:
            raise ValueError(
                "the image was mirrored and has keypoints: give flip_pairs, the keypoints to exchange, or [] if none"
            )
        order = np.arange(k)
        for one, other in self.flip_pairs:
            if max(one, other) >= k:
                raise ValueError(f"flip_pairs names keypoint {max(one, other)}, but there are only {k}")
            order[[one, other]] = other, one
        return order


class BatchAlbumentations(Augmentation):
    """Transforms of albumentations on a batch of images of one size, image by image.

    Args:
        transforms: applied in order. Together they must keep the size of the image, and ``uint8``.

    Raises:
        ValueError: if a transform was given an argument that it does not know.
    """

    def __init__(self, transforms: list[albumentations.BasicTransform | albumentations.BaseCompose]) -> None:
        _check_arguments(transforms)
        self.pipeline = _Pipeline(transforms, slice(None), None)

    def __call__(self, images: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """Augment a batch.

        Raises:
            ValueError: if the transforms change the size of an image or its dtype.
        """
        augmented = np.empty_like(images)
        for i, seed in enumerate(seeds.tolist()):
            augmented[i] = self.pipeline(seed, {"image": images[i]})["image"]
        return augmented


class _Pipeline:
    """Transforms in order, whose randomness is a function of a seed.

    Args:
        transforms: applied in order.
        kept: the part of the image's shape ``(H, W, channels)`` that they may not change.
        limits: what is left of boxes, if there may be boxes and keypoints.
    """

    def __init__(self, transforms: Steps, kept: slice, limits: "_Limits | None") -> None:
        self.transforms, self.kept, self.limits = transforms, kept, limits
        self.compose = self._composed(transforms)

    def __call__(self, seed: int, data: dict[str, Any]) -> dict[str, Any]:
        """Transform what ``data`` has, by albumentations' names.

        Raises:
            ValueError: if a transform changes what it must keep of the image; the message names it.
        """
        done = _run(self.compose, seed, data)
        if self._spoilt(done["image"], data["image"]):
            raise ValueError(self._blame(seed, data))
        return done

    def _composed(self, transforms: Steps) -> albumentations.Compose:
        if self.limits is None:
            return albumentations.Compose(transforms)
        boxes = albumentations.BboxParams("albumentations", min_visibility=self.limits.min_visibility)
        points = albumentations.KeypointParams("xy", remove_invisible=False)
        with warnings.catch_warnings():
            # transforms that only change colours leave boxes and keypoints where they are
            warnings.filterwarnings("ignore", message="Got processor for")
            composed = albumentations.Compose(transforms, bbox_params=boxes, keypoint_params=points)
        # with `clip` and `filter_invalid_bboxes` albumentations does the same in six times the time
        composed.processors["bboxes"].filter = self.limits
        composed.processors["bboxes"].check_and_convert = _as_they_are
        return composed

    def _spoilt(self, after: npt.NDArray[Any], before: npt.NDArray[np.uint8]) -> bool:
        return after.dtype != np.uint8 or after.shape[self.kept] != before.shape[self.kept]

    def _blame(self, seed: int, data: dict[str, Any]) -> str:
        """Say which transform is the first after which the image is not what it must be."""
        for last in range(1, len(self.transforms) + 1):
            image = _run(self._composed(self.transforms[:last]), seed, data)["image"]
            if self._spoilt(image, data["image"]):
                break
        must = "size, dtype and channels" if self.kept == slice(None) else "dtype and channels"
        return (
            f"albumentations.{type(self.transforms[last - 1]).__name__} made {image.dtype} {tuple(image.shape)} out of "
            f"an image of uint8 {data['image'].shape}; the transforms must keep its {must}"
        )


def _run(step: albumentations.Compose, seed: int, data: dict[str, Any]) -> dict[str, Any]:
    # one generator for all transforms: albumentations' own way, one for each, takes four times as long
    step.set_random_state(np.random.default_rng(seed), random.Random(seed))
    done: dict[str, Any] = step(**data)
    return done


@dataclass(frozen=True)
class _Limits:
    """What is left of boxes after each transform: see :class:`SampleAlbumentations`."""

    min_visibility: float
    min_size: float

    def __call__(self, boxes: npt.NDArray[np.float64], shape: dict[str, int]) -> npt.NDArray[np.float64]:
        """Clip boxes, in shares of the image's width and height, and drop those of which too little is left.

        Args:
            boxes: ``(n, 4 or more)``.
            shape: ``width`` and ``height`` of the image, in pixels.
        """
        inside = np.minimum(np.maximum(boxes[:, :4], 0), 1)
        sides = inside[:, 2:] - inside[:, :2]
        least = (self.min_size - 1e-6) / np.array([shape["width"], shape["height"]])
        left = (sides >= least).all(1)
        if self.min_visibility > 0:
            left &= sides.prod(1) >= self.min_visibility * (boxes[:, 2:4] - boxes[:, :2]).prod(1) - 1e-9
        return np.concatenate([inside[left], boxes[left, 4:]], axis=1)


def _as_they_are(boxes: npt.NDArray[np.float64], *_: Any, **__: Any) -> npt.NDArray[np.float64]:
    return boxes


def _packed(objects: Objects, shape: tuple[int, ...]) -> dict[str, Any]:
    """Objects under albumentations' names: boxes with their row in a fifth column; labelled keypoints with their number
    in a third, after three corners of a triangle, which show whether the image was mirrored.
    """
    height, width = shape[:2]
    boxes = np.empty((len(objects["boxes"]), 5))
    boxes[:, :4] = np.clip(objects["boxes"] / (width, height, width, height), 0, 1)
    boxes[:, 4] = np.arange(len(boxes))
    packed: dict[str, Any] = {"bboxes": boxes[(boxes[:, 2:4] > boxes[:, :2]).all(1)]}
    if "masks" in objects and len(boxes):
        packed["masks"] = objects["masks"]
    if "keypoints" in objects:
        points = objects["keypoints"].reshape(-1, 3)
        labelled = np.flatnonzero(points[:, 2] > 0)
        corners = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]]) * (width, height)
        xy = np.concatenate([corners, points[labelled, :2]]) - 0.5  # the middle of a pixel is a whole number there
        packed["keypoints"] = np.column_stack([xy, np.concatenate([[-1, -1, -1], labelled])])
    return packed


def _prepare(transforms: Steps) -> None:
    """Make transforms treat masks and keypoints as :class:`SampleAlbumentations` says.

    Raises:
        ValueError: if one was given an argument that it does not know, or would mix the classes of a mask.
    """
    _check_arguments(transforms)
    for transform in _flat(transforms):
        name, arguments = f"albumentations.{type(transform).__name__}", vars(transform)
        if arguments.get("mask_interpolation", cv2.INTER_NEAREST) not in (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT):
            raise ValueError(f"{name} must have mask_interpolation cv2.INTER_NEAREST (0) or INTER_NEAREST_EXACT (6)")
        if arguments.get("area_for_downscale") == "image_mask":
            raise ValueError(f"{name} must not have area_for_downscale image_mask, which mixes classes; use image")
        fill_mask = arguments.get("fill_mask")
        if fill_mask not in (None, 0, VOID):
            raise ValueError(f"{name} must have fill_mask {VOID}, which is void, not {fill_mask}")
        if fill_mask is not None:  # without one, a mask stays as it is where pixels are dropped
            transform.fill_mask = VOID
        if isinstance(transform, _RESIZING):
            transform.apply_to_keypoints = functools.partial(_between_pixels, transform)
            transform.add_targets({"keypoints": "keypoints"})  # looks the method up again


def _first(transforms: Steps, holds: Callable[[albumentations.BasicTransform], bool]) -> str | None:
    """The name of the first transform of which something holds."""
    return next((f"albumentations.{type(t).__name__}" for t in _flat(transforms) if holds(t)), None)


def _between_pixels(
    transform: albumentations.DualTransform, keypoints: npt.NDArray[Any], **params: Any
) -> npt.NDArray[Any]:
    """Apply a transform that resizes to keypoints as if its coordinates lived between pixels."""
    half = np.zeros(keypoints.shape[1])
    half[:2] = 0.5
    moved = type(transform).apply_to_keypoints(transform, keypoints + half, **params)
    return cast(npt.NDArray[Any], moved - half)


def _check_arguments(transforms: Steps) -> None:
    """Refuse what albumentations 2.0.8 only warns of: an argument that it does not know, an older one perhaps."""
    for transform in _flat(transforms):
        if transform.invalid_args:
            unknown = ", ".join(transform.invalid_args)
            raise ValueError(f"albumentations.{type(transform).__name__} has no argument {unknown}")


def _flat(
    transforms: Iterable[albumentations.BasicTransform | albumentations.BaseCompose],
) -> Iterable[albumentations.BasicTransform]:
    for transform in transforms:
        if isinstance(transform, albumentations.BaseCompose):
            yield from _flat(transform.transforms)
        else:
            yield transform
