"""Twins of CIFAR-10 and CIFAR-100: textured shapes before natural backgrounds, in the pickles of the archives."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from visionlab.data.layouts.cifar import CIFAR10, CIFAR100, SIDE, SUPERCLASSES, Cifar
from visionlab.data.twins.drawing import SHAPES, TEXTURES, Shape, Texture, paint
from visionlab.data.twins.plan import labels_by_split, refuse_to_overwrite
from visionlab.data.twins.python2 import Picklable, pickle_python2


def make_cifar10(root: Path, images: int, seed: int) -> None:
    """Write a twin of CIFAR-10: a class is a shape with a texture of its own.

    Args:
        root: the folder in which ``cifar-10-batches-py`` appears.
        images: for training; a quarter as many for testing, and at least one of each class.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a file is there already.
        ValueError: if there are too few images for the classes.
    """
    motifs = list(zip(SHAPES, TEXTURES, strict=True))
    meta: Picklable = {
        b"num_cases_per_batch": images // 5,
        b"label_names": _bytes(CIFAR10.classes),
        b"num_vis": 3 * SIDE**2,
    }
    _make(CIFAR10, root, images, seed, motifs, meta)


def make_cifar100(root: Path, images: int, seed: int) -> None:
    """Write a twin of CIFAR-100: a class is one of ten shapes with one of ten textures; two superclasses share a shape.

    Arguments and errors are those of :func:`make_cifar10`; the folder is ``cifar-100-python``.
    """
    motif = {
        name: (SHAPES[superclass // 2], TEXTURES[5 * (superclass % 2) + member])
        for superclass, names in enumerate(SUPERCLASSES.values())
        for member, name in enumerate(names)
    }
    meta: Picklable = {b"fine_label_names": _bytes(CIFAR100.classes), b"coarse_label_names": _bytes(SUPERCLASSES)}
    _make(CIFAR100, root, images, seed, [motif[name] for name in CIFAR100.classes], meta)


def _make(
    layout: Cifar, root: Path, images: int, seed: int, motifs: list[tuple[Shape, Texture]], meta: Picklable
) -> None:
    folder = root / layout.folder
    refuse_to_overwrite(folder / file for file in layout.md5s)
    rng = np.random.default_rng(seed)
    labels = labels_by_split(rng, images, len(layout.classes))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / layout.meta).write_bytes(pickle_python2(meta))
    for split, files in layout.splits.items():
        for i, file in enumerate(files):
            mine = labels[split][i :: len(files)].tolist()
            pixels = np.stack([paint(rng, SIDE, *motifs[label]) for label in mine])
            batch = {
                b"batch_label": f"{split}ing batch {i + 1} of {len(files)}".encode(),
                b"data": pixels.transpose(0, 3, 1, 2).reshape(len(mine), -1),
                b"filenames": _bytes(f"{layout.classes[label]}_s_{row:06d}.png" for row, label in enumerate(mine)),
                **_labels(layout, mine),
            }
            (folder / file).write_bytes(pickle_python2(batch))


def _labels(layout: Cifar, labels: list[int]) -> dict[bytes, Picklable]:
    if layout is CIFAR10:
        return {b"labels": list(labels)}
    superclasses = {name: i for i, names in enumerate(SUPERCLASSES.values()) for name in names}
    return {b"fine_labels": list(labels), b"coarse_labels": [superclasses[layout.classes[label]] for label in labels]}


def _bytes(names: Iterable[str]) -> Picklable:
    return [name.encode() for name in names]
