"""Generated images against real ones, by the features of a frozen net."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.metrics.by_image import ByImage
from visionlab.metrics.frechet import Float64s, Floats, frechet_distance, mean_and_covariance
from visionlab.metrics.generation import inception_score, kernel_distance, nearest, radii, within

BLOCK = 32
"""Images that an extractor is always given at once: the last bits of a net's output depend on the size of its batch."""

SCORES = (
    *("fid", "kid", "kid_std", "inception_score", "inception_score_std", "precision", "recall"),
    "nearer_than_held_out",
)


class Features(NamedTuple):
    """What an extractor finds: ``features``, ``(B, d)``, and ``logits``, ``(B, C)``, for the Inception Score."""

    features: Tensor
    logits: Tensor


class Extractor(nn.Module, ABC):
    """A frozen net whose features say how alike images are.

    Attributes:
        classes: the classes of its logits, where they are those of a data set.
    """

    classes: Sequence[str] | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in the names of scores: with its weights and how it resizes, for both change the numbers.

        Known once it is open.
        """

    @abstractmethod
    def open(self) -> None:
        """Read the weights, unless they were read. The random states stay as they are.

        Raises:
            FileNotFoundError: if they are not there; the message says how to get them.
            ValueError: if they are not what they should be.
        """

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """The features of ``(B, channels, H, W)`` images, ``float32`` in [0, 1], multiples of 1/255."""


class Reference(NamedTuple):
    """The real images, by their features: ``features`` ``(N, d)``, their ``mean`` ``(d,)`` and ``covariance``
    ``(d, d)``, and ``radii`` ``(N,)``, the distances of each from its third nearest neighbour.
    """

    features: Floats
    mean: Float64s
    covariance: Float64s
    radii: Float64s


class Memory(NamedTuple):
    """What may have been learnt by heart: the training images' ``features`` ``(N, d)``, and ``held_out`` ``(M,)``, how
    far each image that was not trained on is from the nearest of them.
    """

    features: Floats
    held_out: Float64s


class GeneratedImages(ByImage):
    """Scores of generated images, of all from one extraction of features.

    ``compute`` gives the ``float64`` scalars

    - ``fid``: the squared Frechet distance (Heusel et al. 2017); singular covariances, of fewer images than features,
      are no error;
    - ``kid`` and ``kid_std``: the squared kernel distance, mean and standard deviation over 100 subsets of 1,000
      images, or of all where there are fewer (Binkowski et al. 2018);
    - ``inception_score`` and ``inception_score_std``: over ten parts (Salimans et al. 2016);
    - ``precision`` and ``recall``: by three neighbours (Kynkäänniemi et al. 2019);
    - ``nearer_than_held_out``: the share of images that are nearer to a training image than half of the held-out real
      images are: about 0.5 for new real images, 1 for copies of training images;

    and, where the extractor tells the classes of the data set apart, ``share_per_class``, ``(C,)``, the share of images
    that it takes for each class, and ``least_class_share``, the least of them.

    Images are rounded to ``uint8`` first, as files hold them. With another number of images than the protocol names, as
    in a sanity check, every score is NaN. ``records`` stays empty: the ids are not those of a split.

    Args:
        extractor: open.
        reference: of the real images that are compared with.
        memory: of the training images.
        samples: how many images the protocol has.
        classes: of the data set.

    Attributes:
        neighbours: of the last ``compute``, in the order of the ids: ``nearest``, ``(N,)``, the place of the nearest
            training image in its split; its ``distance``, ``(N,)``; and ``label``, ``(N,)``, the class that the
            extractor takes the image for.
    """

    def __init__(
        self, extractor: Extractor, reference: Reference, memory: Memory, samples: int, classes: Sequence[str]
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.reference, self.memory, self.samples = reference, memory, samples
        self.neighbours: dict[str, Tensor] = {}
        self.known_classes = extractor.classes is not None and list(extractor.classes) == list(classes)

    def record(self, predictions: Any, batch: Any) -> dict[str, Tensor]:
        """``features``, ``logits``, and the ``least`` and ``greatest`` pixel of each image."""
        images = predictions["images"].float()
        flat = images.flatten(1)
        return {**extract(self.extractor, to_bytes(images))._asdict(), "least": flat.amin(1), "greatest": flat.amax(1)}

    def evaluate(self, records: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the class says under ``compute``.

        Raises:
            FloatingPointError: if an image is not finite.
            ValueError: if one is not in [0, 1].
        """
        _check_pixels(records)
        features, logits = (records[name].numpy() for name in ("features", "logits"))
        labels = logits.argmax(axis=1)
        with threadpool_limits(1):  # the last bits of a product depend on the number of threads
            rows, distances = nearest(features, self.memory.features)
            results: dict[str, Any] = dict.fromkeys(SCORES, np.nan)
            if len(features) == self.samples:
                results = self._scores(features, logits, distances)
        if self.known_classes and len(features) == self.samples:
            shares = np.bincount(labels, minlength=logits.shape[1]) / len(labels)
            results |= {"share_per_class": shares, "least_class_share": shares.min()}
        self.records = {}
        self.neighbours = {
            "nearest": torch.from_numpy(rows),
            "distance": torch.from_numpy(distances),
            "label": torch.from_numpy(labels),
        }
        return {name: torch.as_tensor(value, dtype=torch.float64) for name, value in results.items()}

    def _scores(self, features: Floats, logits: Floats, distances: Float64s) -> dict[str, Any]:
        real = self.reference
        kid, kid_std = kernel_distance(features, real.features)
        mean, std = inception_score(logits)
        values = (
            frechet_distance(*mean_and_covariance(features), real.mean, real.covariance),
            kid,
            kid_std,
            mean,
            std,
            within(features, real.features, real.radii).mean(),
            within(real.features, features, radii(features)).mean(),
            (distances < np.median(self.memory.held_out)).mean(),
        )
        return dict(zip(SCORES, values, strict=True))


def to_bytes(images: Tensor) -> Tensor:
    """Round images in [0, 1] to ``uint8``, as they are written to files; what is not finite becomes 0 or 255."""
    return (images.float().nan_to_num() * 255).round().clamp(0, 255).byte()


def to_size(images: Tensor, size: int) -> Tensor:
    """Resize ``(B, channels, H, W)`` images in [0, 1] to ``size`` x ``size``, bilinearly with antialiasing."""
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


@torch.inference_mode()
def extract(extractor: Extractor, images: Tensor) -> Features:
    """The features of ``(B, channels, H, W)`` ``uint8`` images, in ``float32`` whatever the precision of training, on
    the CPU. Those of an image do not depend on the others, to the bit.
    """
    extractor.to(images.device, torch.float32).eval()
    parts = []
    with torch.autocast(images.device.type, enabled=False):
        for block in torch.split(images, BLOCK):
            missing = block[:1].expand(BLOCK - len(block), *block.shape[1:])
            found = extractor(torch.cat([block, missing]).to(torch.float32) / 255)
            parts.append([values[: len(block)].float().cpu() for values in found])
    return Features(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _check_pixels(records: dict[str, Tensor]) -> None:
    ids, least, greatest = (records[name] for name in ("ids", "least", "greatest"))
    if (bad := ids[~(least.isfinite() & greatest.isfinite())]).numel() > 0:
        raise FloatingPointError(
            f"generated image {int(bad[0])} has pixels that are not finite; {len(bad)} images have"
        )
    if (bad := ids[(least < 0) | (greatest > 1)]).numel() > 0:
        raise ValueError(
            f"generated image {int(bad[0])} has pixels outside [0, 1], {len(bad)} images in all: a generator ends in "
            "a sigmoid, or (tanh + 1) / 2"
        )
