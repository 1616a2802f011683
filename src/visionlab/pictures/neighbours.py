"""Generated images beside the training images that are nearest to them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionlab.pictures.grids import grid


def neighbours(
    generated: Sequence[npt.NDArray[np.uint8]],
    nearest: Sequence[npt.NDArray[np.uint8]],
    distances: Sequence[float],
    pairs: int = 24,
    cell: int = 96,
) -> Image.Image:
    """Lay pairs of images out in rows, those with the least distance first: copies show there.

    Args:
        generated: ``(H, W, channels)`` ``uint8`` each, with 1 or 3 channels; at least one.
        nearest: likewise, the training image that is nearest to each.
        distances: between them, at least 0.
        pairs: how many are shown at most.
        cell: the greatest height and width of an image in the picture, in pixels.

    Raises:
        ValueError: if there are not as many of each, or none.
    """
    if not len(generated) == len(nearest) == len(distances) > 0:
        raise ValueError(
            "generated images, their nearest and the distances must be as many, and at least one, not "
            f"{len(generated)}, {len(nearest)} and {len(distances)}"
        )
    order = np.argsort(distances, kind="stable")[:pairs]
    images = [image for i in order for image in (generated[i], nearest[i])]
    captions = [caption for i in order for caption in ("generated", f"{distances[i]:.3g} away")]
    return grid(images, captions, columns=8, cell=cell, title="Generated images and the nearest training images")
