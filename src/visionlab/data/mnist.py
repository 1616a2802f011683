"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): 28 x 28 grey images."""

from visionlab.data.augmentation import Augmentation
from visionlab.data.layouts import mnist
from visionlab.data.published import PublishedDataModule


class IdxDataModule(PublishedDataModule):
    """A data set in the format of MNIST. A subclass gives its ``layout``.

    Args:
        root: the folder of the files. A run of one process downloads them if none is there; a run of several does not.
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        val_fraction: the share of the official training images that is held out for validation, in (0, 1).
        augmentation: what is done to training batches, if anything.
        image_size: 28, or a greater even number, which zeros around the image make up: LeNet-5 took 32 (LeCun et al.
            1998, section II-B).
    """

    def __init__(
        self,
        root: str,
        batch_size: int,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        augmentation: Augmentation | None = None,
        image_size: int = mnist.SIDE,
    ) -> None:
        super().__init__(root, batch_size, eval_batch_size, num_workers, val_fraction, augmentation)
        if image_size < mnist.SIDE or image_size % 2:
            raise ValueError(f"image_size must be an even number from {mnist.SIDE} up, not {image_size}")
        self.padding = (image_size - mnist.SIDE) // 2


class MNIST(IdxDataModule):
    """MNIST: handwritten digits. Its arguments are those of :class:`IdxDataModule`."""

    layout = mnist.MNIST


class FashionMNIST(IdxDataModule):
    """Fashion-MNIST: articles of clothing. Its arguments are those of :class:`IdxDataModule`."""

    layout = mnist.FASHION_MNIST
