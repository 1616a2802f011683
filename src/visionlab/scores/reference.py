"""What scores compare generated images with: the features of a split's real images, found once and kept on disk.

They are kept beside the indices of :mod:`visionlab.data.packed`, where ``VISIONLAB_CACHE`` moves them too, and may be
deleted between runs. A folder
``reference-<hash>`` belongs to the images of a split, as evaluation has them, and to an extractor with its weights; a
folder ``held-out-<hash>`` to two of those.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from visionlab.batch import PADDING
from visionlab.data.base import DataModule, ImageDataset, Split
from visionlab.data.packed import Array, Arrays, build_folder, cache, save
from visionlab.data.sampling import EvalBatches, Loader
from visionlab.metrics.frechet import mean_and_covariance
from visionlab.metrics.generated_images import BLOCK, Extractor, Memory, Reference, extract
from visionlab.metrics.generation import nearest, radii
from visionlab.processes import gather, place

FORMAT = 1
"""The version of what the folders hold."""

HASHED = 1 << 16
"""Images whose pixels say which data set it is; of a larger split, as many evenly spread, and the names of all."""


def open_reference(data: DataModule, split: Split, extractor: Extractor, device: torch.device) -> tuple[str, Reference]:
    """The features of a split's images, not augmented. Every process must call this, and each finds its share.

    Args:
        data: of the images.
        split: of the data.
        extractor: open.
        device: to find them on.

    Returns:
        The key of the images and the extractor, and the reference, memory-mapped.

    Raises:
        ValueError: if the images are not of one size.
    """
    dataset = data.dataset(split, augmented=False)
    key = hashlib.sha256(f"{FORMAT} {_hash(dataset, data.num_workers)} {extractor.name}".encode()).hexdigest()[:32]

    def find() -> dict[str, Array]:
        rows: list[Array] = []
        for ids, images in _batches(dataset, np.arange(len(dataset)), data.num_workers):
            rows += [ids, extract(extractor, images.to(device)).features.numpy()]
        features = _everyones(rows)
        with threadpool_limits(1):  # the last bits of a product depend on the number of threads
            mean, covariance = mean_and_covariance(features)
            return {"features": features, "mean": mean, "covariance": covariance, "radii": radii(features)}

    found = _kept(f"reference-{key}", find)
    return key, Reference(found["features"], found["mean"], found["covariance"], found["radii"])


def open_memory(train: tuple[str, Reference], held_out: tuple[str, Reference]) -> Memory:
    """How near images that were not trained on are to those that were, given the keys and references of both."""
    key = hashlib.sha256(f"{train[0]} {held_out[0]}".encode()).hexdigest()[:32]
    features = train[1].features

    def find() -> dict[str, Array]:
        with threadpool_limits(1):
            return {"distances": nearest(held_out[1].features, features)[1]}

    return Memory(features, _kept(f"held-out-{key}", find)["distances"])


def real_images(data: DataModule, split: Split) -> Tensor:
    """The images of a split, not augmented: ``(N, channels, H, W)`` ``uint8``. All are in memory at once."""
    dataset = data.dataset(split, augmented=False)
    rows = [row for pair in _batches(dataset, np.arange(len(dataset)), data.num_workers) for row in pair]
    return torch.from_numpy(_everyones([np.asarray(row) for row in rows]))


def _kept(name: str, find: Callable[[], dict[str, Array]]) -> Arrays:
    """Open a folder of arrays; where a process has none, as on another machine, all find them, and it writes one."""
    folder = cache() / name
    here = folder.is_dir()
    if not all(gather(here)):
        found = find()
        if not here:
            build_folder(folder, lambda beside: save(beside, **found))
        gather(None)  # none reads before all have written
    return Arrays(folder)


def _hash(dataset: ImageDataset, num_workers: int) -> str:
    """Of the pixels and names of a split, the same in any number of processes."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(HASHED, len(dataset))).astype(np.int64))
    rows: list[Array] = []
    for ids, images in _batches(dataset, chosen, num_workers):
        digests = [hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest() for image in images.numpy()]
        rows += [ids, np.stack([np.frombuffer(digest, np.uint8) for digest in digests])]
    whole = hashlib.sha256(_everyones(rows).tobytes())
    for index in range(len(dataset)):
        whole.update(f"{dataset.name(index)}\n".encode())
    return whole.hexdigest()


def _batches(dataset: ImageDataset, chosen: Array, num_workers: int) -> Iterator[tuple[Array, Tensor]]:
    """This process's share of the chosen images, as evaluation has them: places ``(B,)``, and ``uint8`` images."""
    rank, world = place()
    batches = EvalBatches(len(chosen), BLOCK, rank=rank, world=world)
    for batch in Loader(_Chosen(dataset, chosen), batches, num_workers=num_workers):
        if not isinstance(batch["images"], Tensor):
            raise ValueError("scores of generated images need real images of one size: give the data transforms")
        if (kept := batch["ids"] != PADDING).any():
            yield batch["ids"][kept].numpy(), batch["images"][kept]


class _Chosen:
    """Some images of a split, under their places in it."""

    def __init__(self, dataset: ImageDataset, chosen: Array) -> None:
        self.dataset, self.chosen = dataset, chosen

    def __getitems__(self, keys: Any) -> Any:
        return self.dataset.__getitems__(keys._replace(indices=self.chosen[keys.indices]))


def _everyones(rows: list[Array]) -> Array:
    """The rows that all processes found, given as places and rows in turns, in the order of their places."""
    rows = [row for some in gather(rows) for row in some]
    places, values = np.concatenate(rows[::2]), np.concatenate(rows[1::2])
    return np.ascontiguousarray(values[np.argsort(places)])
