"""albumentations pipelines, with every image's randomness its own."""

import random
from collections.abc import Iterable

import albumentations
import numpy as np
import numpy.typing as npt

from visionlab.data.augmentation import Augmentation


class Albumentations(Augmentation):
    """Transforms of albumentations, image by image.

    albumentations 2.0.8 gives every loader process the same random stream and restarts it every epoch; here the
    transforms of each image draw from a generator seeded by the image's own seed.

    Args:
        transforms: applied in order. Together they must keep the size of the image, and ``uint8``.

    Raises:
        ValueError: if a transform was given an argument that it does not know.
    """

    def __init__(self, transforms: list[albumentations.BasicTransform]) -> None:
        # albumentations 2.0.8 only warns of such an argument (older releases' names among them), and ignores it
        for transform in _flat(transforms):
            if transform.invalid_args:
                unknown = ", ".join(transform.invalid_args)
                raise ValueError(f"albumentations.{type(transform).__name__} has no argument {unknown}")
        self.pipeline = albumentations.Compose(transforms)

    def __call__(self, images: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """Augment a batch.

        Raises:
            ValueError: if the transforms change the size of an image or its dtype.
        """
        augmented = np.empty_like(images)
        for i, seed in enumerate(seeds.tolist()):
            self.pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
            image = self.pipeline(image=images[i])["image"]
            if image.shape != images[i].shape or image.dtype != np.uint8:
                raise ValueError(
                    f"the transforms made {image.dtype} {image.shape} out of an image of uint8 {images[i].shape}; "
                    "they must keep both"
                )
            augmented[i] = image
        return augmented


def _flat(
    transforms: Iterable[albumentations.BasicTransform | albumentations.BaseCompose],
) -> Iterable[albumentations.BasicTransform]:
    for transform in transforms:
        if isinstance(transform, albumentations.BaseCompose):
            yield from _flat(transform.transforms)
        else:
            yield transform
