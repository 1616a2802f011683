"""Images before and after an attack, with what a task predicted, whatever it predicts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.pictures.detections import detected
from visionlab.pictures.masks import semantic
from visionlab.pictures.perturbations import Attacked

SIDE = 256
"""Pixels on the longer side of an image whose objects or classes are drawn."""

SURE = 0.5
"""The score from which objects are drawn."""


def shown(images: Any, moved: Any, before: Any, after: Any, classes: Sequence[str]) -> list[Attacked]:
    """Images as :func:`visionlab.pictures.perturbations.three_panels` takes them.

    Args:
        images: ``(channels, H, W)`` each, in [0, 1].
        moved: as many.
        before: a task's predictions for the images, of any kind of :mod:`visionlab.batch`.
        after: those for the moved ones.
        classes: their names, by label.
    """
    found = []
    for i, (image, other) in enumerate(zip(images, moved, strict=True)):
        one, two = (part.permute(1, 2, 0).cpu().numpy() for part in (image, other))
        pictures = [drawn(part, each, i, classes) for part, each in ((one, before), (two, after))]
        (picture_before, *said_before), (picture_after, *said_after) = pictures
        found.append(
            Attacked(
                one,
                two,
                picture_before,
                picture_after,
                "\n".join(said_before),
                "\n".join(said_after),
                said_before[0] == said_after[0],
            )
        )
    return found


def drawn(
    image: npt.NDArray[np.float32], predictions: Any, i: int, classes: Sequence[str]
) -> tuple[npt.NDArray[np.uint8], str, str]:
    """A picture of an image with the prediction for it; the label in words, and how sure it is."""
    pixels = (image * 255).round().astype(np.uint8)
    if isinstance(predictions, dict):
        score, label = predictions["scores"][i].max(0)
        return pixels, str(classes[int(label)]), f"{float(score):.1%}"
    found = predictions[i]
    if "mask" in found:
        mask = found["mask"].cpu().numpy()
        shares = np.bincount(mask.ravel(), minlength=len(classes)) / mask.size
        first = int(shares.argmax())
        return (
            np.asarray(semantic(pixels, mask, classes, side=SIDE)),
            str(classes[first]),
            f"on {shares[first]:.0%} of the pixels",
        )
    picture = np.asarray(detected(pixels, found, classes, SURE, SIDE))
    count = int((found["scores"] >= SURE).sum())
    if len(found["scores"]) == 0:
        return picture, "0 objects", ""
    best = f"best: {classes[int(found['labels'][0])]} {float(found['scores'][0]):.1%}"
    return picture, "1 object" if count == 1 else f"{count} objects", best
