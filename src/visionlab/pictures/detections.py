"""Objects as they are annotated, and as they are detected, over their image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from visionlab.batch import DetectionPredictions, DetectionTarget
from visionlab.pictures.objects import objects
from visionlab.pictures.palette import class_colour


def annotated(
    image: npt.NDArray[np.uint8], target: DetectionTarget, classes: Sequence[str], side: int = 512
) -> Image.Image:
    """Draw the true objects; crowds have dashed lines, difficult objects thin ones.

    Args:
        image: ``(H, W, 1 or 3)``.
        target: in pixels of the image.
        classes: their names, by label.
        side: the longer side of the picture.
    """
    labels = target["labels"].tolist()
    return objects(
        image,
        _array(target["boxes"]).astype(np.float64),
        [str(classes[label]) for label in labels],
        [class_colour(label) for label in labels],
        _array(target["masks"]) if "masks" in target else None,
        _array(target["keypoints"]).astype(np.float64) if "keypoints" in target else None,
        _array(target["iscrowd"]) if "iscrowd" in target else None,
        _array(target["difficult"]) if "difficult" in target else None,
        side,
    )


def detected(
    image: npt.NDArray[np.uint8],
    found: DetectionPredictions,
    classes: Sequence[str],
    least_score: float = 0.5,
    side: int = 512,
) -> Image.Image:
    """Draw the objects that were found with a score of at least ``least_score``.

    Args:
        image: ``(H, W, 1 or 3)``.
        found: in pixels of the image.
        classes: their names, by label.
        least_score: in [0, 1].
        side: the longer side of the picture.
    """
    sure = found["scores"] >= least_score
    labels, scores = found["labels"][sure].tolist(), found["scores"][sure].tolist()
    return objects(
        image,
        _array(found["boxes"][sure]).astype(np.float64),
        [f"{classes[label]} {score:.0%}" for label, score in zip(labels, scores, strict=True)],
        [class_colour(label) for label in labels],
        _array(found["masks"][sure]) if "masks" in found else None,
        _visible(_array(found["keypoints"][sure])) if "keypoints" in found else None,
        side=side,
    )


def _visible(keypoints: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Found keypoints, which have a 1 for visibility, as visible ones, which have a 2."""
    visible = keypoints.astype(np.float64)
    visible[..., 2] = 2
    return visible


def _array(values: Tensor) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy()
