"""albumentations pipelines, with every image's randomness its own."""

import random
import warnings

import albumentations
import numpy as np
import numpy.typing as npt

from visionlab.data.augmentation import Augmentation

# albumentations 2.0.8 only warns of an argument it does not know (older releases' names among them), and ignores it
warnings.filterwarnings("error", message=r"Argument\(s\) .* not valid for transform", category=UserWarning)


class Albumentations(Augmentation):
    """Transforms of albumentations, image by image.

    albumentations 2.0.8 gives every loader process the same random stream and restarts it every epoch; here the
    transforms of each image draw from a generator seeded by the image's own seed.

    Args:
        transforms: applied in order. Together they must keep the size of the image.
    """

    def __init__(self, transforms: list[albumentations.BasicTransform]) -> None:
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
            if image.shape != images[i].shape:
                raise ValueError(
                    f"the transforms made an image of {image.shape} out of {images[i].shape}; they must keep the size"
                )
            augmented[i] = image
        return augmented
