"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 colour images."""

from visionlab.data.augmentation import Augmentation
from visionlab.data.layouts import cifar
from visionlab.data.published import PublishedDataModule


class CIFAR10(PublishedDataModule):
    """CIFAR-10: 10 classes of animals and vehicles. Its arguments are those of :class:`PublishedDataModule`."""

    layout = cifar.CIFAR10


class CIFAR100(PublishedDataModule):
    """CIFAR-100: 100 classes in 20 superclasses of five.

    Args:
        root: the folder of the files. A run of one process downloads them if none is there; a run of several does not.
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; ``batch_size`` if None.
        num_workers: processes per loader.
        val_fraction: the share of the official training images that is held out for validation, in (0, 1).
        augmentation: what is done to training batches, if anything.
        superclasses: whether the labels are the 20 superclasses rather than the 100 classes.
    """

    def __init__(
        self,
        root: str,
        batch_size: int,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        augmentation: Augmentation | None = None,
        superclasses: bool = False,
    ) -> None:
        super().__init__(root, batch_size, eval_batch_size, num_workers, val_fraction, augmentation)
        self.layout = cifar.CIFAR100_COARSE if superclasses else cifar.CIFAR100
