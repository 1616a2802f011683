"""The scores that a recipe measures generated images by."""

from typing import Literal

import torch
from torchmetrics import Metric

from visionlab.data.base import DataModule, Split
from visionlab.metrics.generated_images import Extractor, GeneratedImages
from visionlab.scores.reference import open_memory, open_reference


class GenerationScores:
    """FID, KID, Inception Score, precision, recall and what else
    :class:`visionlab.metrics.generated_images.GeneratedImages` has, under the name ``<extractor>_<samples>_<split>``:
    all three change the numbers, so that the same SNGAN reads 16.77 by one protocol and 23.90 by another.

    The real images are all of the split, not augmented. Their features are found once and kept in
    ``$VISIONLAB_CACHE``, else ``$XDG_CACHE_HOME/visionlab``, else ``~/.cache/visionlab``, by the hashes of the images
    and of the extractor's weights.

    Args:
        extractor: finds the features.
        samples: how many images are generated for an evaluation.
        split: the real images that they are compared with.

    Attributes:
        mode: FID is best where it is least.
    """

    mode: Literal["max", "min"] = "min"

    def __init__(self, extractor: Extractor, samples: int, split: Split = "train") -> None:
        if samples < 10:
            raise ValueError(f"samples must be at least 10, for the parts of the Inception Score, not {samples}")
        self.extractor, self.samples, self.split = extractor, samples, split

    @property
    def protocol(self) -> str:
        """The name of the scores; reads the extractor's weights."""
        self.extractor.open()
        return f"{self.extractor.name}_{self.samples}_{self.split}"

    @property
    def monitor(self) -> str:
        """The score that says which weights are best, as ``<protocol>/fid``; reads the extractor's weights."""
        return f"{self.protocol}/fid"

    def __call__(self, data: DataModule) -> dict[str, Metric]:
        """New metrics, by protocol. Every process must call this.

        Raises:
            FileNotFoundError: if the extractor's weights are not there; the message says how to get them.
            ValueError: if the extractor cannot be used, or the images are not of one size.
        """
        protocol = self.protocol
        device = torch.device("cpu") if data.trainer is None else data.trainer.strategy.root_device
        splits: set[Split] = {"train", "val", self.split}
        references = {split: open_reference(data, split, self.extractor, device) for split in sorted(splits)}
        memory = open_memory(references["train"], references["val"])
        reference = references[self.split][1]
        return {protocol: GeneratedImages(self.extractor, reference, memory, self.samples, data.classes)}
