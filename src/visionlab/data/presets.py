"""Transforms as papers and reference recipes have them, as functions of the size.

They are named in a recipe like classes: ``{class_path: visionlab.data.presets.classification_train, init_args: {size:
224}}``. What they do to boxes, masks and keypoints is what :class:`visionlab.data.transforms.SampleAlbumentations`
says.

Where a preset shrinks an image, OpenCV averages over areas, except in the crop of :func:`classification_train`, which
is bilinear without antialiasing, for speed. On 60 photographs whose short side is brought to 256, averaging differs
from Pillow's antialiased bilinear resize by 1.2 of 255 in the mean, and bilinear without antialiasing by 2.7; to 64, by
2.3 and 9.4.

Evaluation keeps images whose boxes, masks and keypoints are scored in the pixels of the file as they are, and needs no
transform: detectors and segmenters resize inside, and back.
"""

import albumentations
import cv2

from visionlab.data.augmentation import MEAN_COLOUR, Transform
from visionlab.data.crops import RandomIoUCrop, ZoomOut
from visionlab.data.transforms import SampleAlbumentations

_NEAREST = cv2.INTER_NEAREST_EXACT
"""The pixel whose centre is nearest; INTER_NEAREST takes one up to half a pixel beside."""


def classification_train(
    size: int, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3), flip: float = 0.5
) -> Transform:
    """Crop at random, resize to a square, and flip (Szegedy et al. 2015, section 6), as torchvision's reference for
    ImageNet.

    Args:
        size: pixels on each side.
        scale: the share of the image's area that is cropped, from and to.
        ratio: the crop's width divided by its height, from and to.
        flip: how often to mirror left to right.
    """
    crop = albumentations.RandomResizedCrop((size, size), scale=scale, ratio=ratio, mask_interpolation=_NEAREST)
    return SampleAlbumentations([crop, albumentations.HorizontalFlip(p=flip)])


def classification_eval(size: int, crop_ratio: float = 0.875) -> Transform:
    """Resize the short side to ``size / crop_ratio``, and crop the middle (Krizhevsky et al. 2012, section 2).

    Args:
        size: pixels on each side.
        crop_ratio: in (0, 1]; 0.875 makes 256 of 224.
    """
    if not 0 < crop_ratio <= 1:
        raise ValueError(f"crop_ratio must lie in (0, 1], not {crop_ratio}")
    return SampleAlbumentations([_short_side(round(size / crop_ratio)), albumentations.CenterCrop(size, size)])


def translation_train(size: int, enlarge: float = 286 / 256, flip: float = 0.5) -> Transform:
    """Resize to a square that is a little too large, crop at random, and flip (Isola et al. 2017, section 6.2).

    Args:
        size: pixels on each side.
        enlarge: what is resized to, as a multiple of ``size``, at least 1.
        flip: how often to mirror left to right.
    """
    if enlarge < 1:
        raise ValueError(f"enlarge must be at least 1, not {enlarge}")
    resize = albumentations.Resize(round(size * enlarge), round(size * enlarge), area_for_downscale="image")
    return SampleAlbumentations([resize, albumentations.RandomCrop(size, size), albumentations.HorizontalFlip(p=flip)])


def localization_train(size: int, flip: float = 0.5) -> Transform:
    """Crop at random, but never through a box, resize to a square, and flip.

    Args:
        size: pixels on each side.
        flip: how often to mirror left to right.
    """
    crop = albumentations.RandomSizedBBoxSafeCrop(size, size, erosion_rate=0.0, mask_interpolation=_NEAREST)
    return SampleAlbumentations([crop, albumentations.HorizontalFlip(p=flip)])


def localization_eval(size: int) -> Transform:
    """Resize to a square: nothing is cropped, and overlaps of boxes stay what they are.

    Args:
        size: pixels on each side.
    """
    return SampleAlbumentations([albumentations.Resize(size, size, area_for_downscale="image")])


def dense_train(
    size: int, scale: tuple[float, float] = (0.5, 2.0), flip: float = 0.5, photometric: float = 0.0
) -> Transform:
    """Scale at random, crop a square, padded where the image is too small, and flip (Chen et al. 2017, DeepLabv3,
    section 4.1).

    Args:
        size: pixels on each side of the crop.
        scale: of the image's sides, from and to.
        flip: how often to mirror left to right.
        photometric: how often each change of colour is made, in [0, 1]: see :func:`photometric_distortion`.
    """
    low, high = scale
    return SampleAlbumentations(
        [
            albumentations.RandomScale(
                (low - 1, high - 1), mask_interpolation=_NEAREST, area_for_downscale="image", p=1
            ),
            albumentations.RandomCrop(
                size, size, pad_if_needed=True, fill=MEAN_COLOUR, fill_mask=255, pad_position="random"
            ),
            albumentations.HorizontalFlip(p=flip),
            *(photometric_distortion(photometric) if photometric > 0 else []),
        ]
    )


def detection_train(flip: float = 0.5, flip_pairs: list[tuple[int, int]] | None = None) -> Transform:
    """Flip: all that Faster R-CNN, RetinaNet and Mask R-CNN are trained with, in torchvision's references as in their
    papers. The detector resizes by itself.

    Args:
        flip: how often to mirror left to right.
        flip_pairs: the keypoints to exchange then.
    """
    return SampleAlbumentations([albumentations.HorizontalFlip(p=flip)], flip_pairs)


def large_scale_jitter(
    size: int = 1024,
    scale: tuple[float, float] = (0.1, 2.0),
    flip: float = 0.5,
    flip_pairs: list[tuple[int, int]] | None = None,
) -> Transform:
    """Resize at random, crop or pad to a square, and flip (Ghiasi et al. 2021, Simple Copy-Paste, section 3), as
    torchvision's references do.

    Args:
        size: pixels on each side.
        scale: of the size at which the image just fits, from and to.
        flip: how often to mirror left to right.
        flip_pairs: the keypoints to exchange then.
    """
    longest = list(range(max(1, round(scale[0] * size)), round(scale[1] * size) + 1))
    resize = albumentations.LongestMaxSize(longest, mask_interpolation=_NEAREST, area_for_downscale="image")
    crop = albumentations.RandomCrop(
        size, size, pad_if_needed=True, fill=MEAN_COLOUR, fill_mask=255, pad_position="top_left"
    )
    return SampleAlbumentations([resize, crop, albumentations.HorizontalFlip(p=flip)], flip_pairs)


def ssd_train(flip: float = 0.5) -> Transform:
    """Distort the colours, zoom out, crop a patch that overlaps an object, and flip (Liu et al. 2016, SSD, sections 2.2
    and 3.6), as torchvision's references do. The detector resizes by itself.

    Args:
        flip: how often to mirror left to right.
    """
    return SampleAlbumentations(
        [
            *photometric_distortion(),
            ZoomOut(fill=MEAN_COLOUR),
            RandomIoUCrop(),
            albumentations.HorizontalFlip(p=flip),
        ]
    )


def generation(size: int, flip: float = 0.5) -> Transform:
    """Resize the short side, crop the middle, and flip: what generators of square images learn from (Radford et al.
    2016, DCGAN, section 4).

    Args:
        size: pixels on each side.
        flip: how often to mirror left to right.
    """
    crop = albumentations.CenterCrop(size, size)
    return SampleAlbumentations([_short_side(size), crop, albumentations.HorizontalFlip(p=flip)])


def photometric_distortion(p: float = 0.5) -> list[albumentations.BasicTransform | albumentations.BaseCompose]:
    """Brightness, contrast, saturation and hue, and a permutation of the channels, as ``RandomPhotometricDistort`` of
    torchvision has them from SSD's code; contrast comes before or after the colours.

    Args:
        p: how often each is changed, in [0, 1].
    """

    def jitter(**ranges: tuple[float, float]) -> albumentations.ColorJitter:
        same = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
        return albumentations.ColorJitter(**same | ranges, p=p)

    contrast = jitter(contrast=(0.5, 1.5))
    colours = [jitter(saturation=(0.5, 1.5)), jitter(hue=(-0.05, 0.05))]
    orders = [albumentations.Sequential(order, p=1) for order in ([contrast, *colours], [*colours, contrast])]
    return [jitter(brightness=(0.875, 1.125)), albumentations.OneOf(orders, p=1), albumentations.ChannelShuffle(p=p)]


def _short_side(size: int) -> albumentations.SmallestMaxSize:
    """Resize the short side, averaging over areas where it shrinks, which is antialiased; bilinearly where it grows."""
    return albumentations.SmallestMaxSize(size, mask_interpolation=_NEAREST, area_for_downscale="image")
