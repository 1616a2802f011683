import random

import albumentations as A
import numpy as np
import pytest

from visionlab.data.memory import MemoryDataset
from visionlab.data.sampling import Keys, Loader, TrainBatches, sample_seeds
from visionlab.data.transforms import BatchAlbumentations


def pipeline() -> BatchAlbumentations:
    return BatchAlbumentations(
        [
            A.Affine(rotate=(-15, 15), scale=(0.8, 1.2), translate_percent=(-0.1, 0.1), p=0.9),
            A.OneOf([A.GaussNoise(), A.RandomBrightnessContrast(), A.CoarseDropout()], p=0.9),
        ]
    )


def images_of(n: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, channels), dtype=np.uint8)


def seeds_of(n: int, epoch: int = 0) -> np.ndarray:
    return sample_seeds(1, Keys(epoch, np.arange(n)))


@pytest.mark.parametrize("channels", [1, 3])
def test_depends_on_the_image_s_seed_alone(channels):
    images, seeds = images_of(12, channels), seeds_of(12)
    together = pipeline()(images, seeds)
    assert together.shape == images.shape
    assert together.dtype == np.uint8
    shuffle = np.random.default_rng(1).permutation(12)
    again = pipeline()
    again(images[::-1], seeds_of(12, epoch=5))  # whatever it drew before, and whatever the global streams are
    np.random.seed(3)  # noqa: NPY002  # the global stream is what must not matter
    random.seed(3)
    np.testing.assert_array_equal(again(images[shuffle], seeds[shuffle]), together[shuffle])
    for i in range(12):
        np.testing.assert_array_equal(again(images[i : i + 1], seeds[i : i + 1]), together[i : i + 1])


def test_images_and_epochs_differ():
    same = np.repeat(images_of(1, 3), 12, axis=0)
    first, second = pipeline()(same, seeds_of(12)), pipeline()(same, seeds_of(12, epoch=1))
    assert len({image.tobytes() for image in np.concatenate([first, second])}) >= 22  # 1 % stay as they are


def test_workers_change_nothing():
    images, labels = images_of(40, 3), np.zeros(40, dtype=np.int64)

    def two_epochs(num_workers):
        batches = TrainBatches(40, 8, seed=0)
        loader = Loader(
            MemoryDataset(images, labels, np.arange(40), pipeline(), seed=4), batches, num_workers=num_workers
        )
        got = []
        for epoch in range(2):
            batches.epoch = epoch
            got += [batch["images"].numpy().copy() for batch in loader]
        return np.concatenate(got)

    alone = two_epochs(0)
    np.testing.assert_array_equal(two_epochs(1), alone)
    np.testing.assert_array_equal(two_epochs(2), alone)


@pytest.mark.filterwarnings("ignore:Argument")
@pytest.mark.parametrize("nested", [False, True])
def test_an_unknown_argument_is_an_error(nested):
    old = A.CoarseDropout(max_holes=3)
    with pytest.raises(ValueError, match="CoarseDropout has no argument max_holes"):
        BatchAlbumentations([A.HorizontalFlip(), A.Sequential([A.OneOf([A.Blur(), old])]) if nested else old])


@pytest.mark.parametrize("transform", [A.RandomCrop(8, 8), A.ToGray(num_output_channels=1)])
def test_another_size_is_an_error(transform):
    with pytest.raises(ValueError, match=r"uint8 \(16, 16, 3\).*keep"):
        BatchAlbumentations([transform])(images_of(2, 3), seeds_of(2))


def test_another_dtype_is_an_error():
    with pytest.raises(ValueError, match="float32"):
        BatchAlbumentations([A.Normalize()])(images_of(2, 3), seeds_of(2))
