"""Checks of image files, the same for every data set: whether each can be read, its size, and what else shows the same
picture.

No image is kept: of each there remain its size and two numbers of 64 bits, so that a split may have millions.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from visionlab.data.headers import SUFFIXES, TruncatedImageError, read_header
from visionlab.data.images import decode, read_file, same_proportion
from visionlab.data.layouts.findings import Finding, Findings
from visionlab.data.threads import in_threads

UInt64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]

NEAR = 4
"""Two pictures count as the same if at most so many of the 64 bits of their hashes differ.

Measured on 1,890 ImageNet images, 120 of COCO and 74 of VOC: the same picture at half the size, warped to a square, or
as a JPEG of quality 50 differs in 0 (median) to 3 bits (most), at quality 20 in up to 5; without a border of 2 % in 4
(median), so that half of those are found. Of 1.8 million pairs of ImageNet images none differs in fewer than 10. Frames
of one video are nearer.
"""

SHOWN = 20
"""Notes of one kind before the rest is only counted."""

PAIRS = 1 << 22
"""Pairs of hashes that are compared at once, which bounds the memory."""


@dataclass(frozen=True)
class Fingerprints:
    """What remains of the images of a split that could be read.

    Attributes:
        paths: all files of the split.
        rows: ``(n,)``, the places in ``paths`` of those that could be read, ascending.
        digests: ``(n,)``, of the bytes of each file (BLAKE2b).
        hashes: ``(n,)``, of what each shows: :func:`perceptual_hash`.
    """

    paths: Sequence[Path]
    rows: Int64Array
    digests: UInt64Array
    hashes: UInt64Array


@dataclass(frozen=True)
class _Image:
    height: int
    width: int
    format: str
    digest: int
    hash: int


def check_images(
    split: str, paths: Sequence[Path], findings: Findings, sizes: Int64Array | None = None, *, scaled: bool = False
) -> Fingerprints:
    """Read every image file of a split, with a progress bar, and say what is wrong with each.

    Errors: ``missing-image``, ``empty-image``, ``truncated-image``, ``unreadable-image`` and ``wrong-size``. Names that
    disagree with the bytes are noted, for the images can be read: ImageNet itself has a PNG named ``.JPEG``. Sets
    ``findings.images`` and ``findings.sizes`` of the split.

    Args:
        split: its name.
        paths: its files; may be any sequence that makes them when asked.
        findings: is added to.
        sizes: ``(len(paths), 2)``, the height and width that the annotations say; -1 where they do not.
        scaled: whether annotations fit an image of another size if it is in the same proportion; such are noted.

    Returns:
        What :func:`check_leaks` compares.
    """
    shapes = np.zeros((len(paths), 2), np.int64)
    digests, hashes = np.zeros(len(paths), np.uint64), np.zeros(len(paths), np.uint64)
    read = np.zeros(len(paths), np.bool_)
    disguised: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Path] = {}
    resized = 0
    images = in_threads(lambda index: _look(paths[index]), len(paths))
    for index, image in enumerate(tqdm(images, total=len(paths), desc=split, unit="image", disable=None)):
        if isinstance(image, Finding):
            findings.errors.append(image)
            continue
        path = paths[index]
        read[index], digests[index], hashes[index] = True, image.digest, image.hash
        shapes[index] = image.height, image.width
        if path.suffix.lower() not in SUFFIXES[image.format]:
            disguised[path.suffix, image.format] += 1
            first.setdefault((path.suffix, image.format), path)
        if sizes is not None and sizes[index].min() >= 0 and (shapes[index] != sizes[index]).any():
            height, width = sizes[index].tolist()
            if scaled and same_proportion((height, width), (image.height, image.width)):
                resized += 1
                continue
            message = f"{path} has {image.width} x {image.height} pixels; its annotations say {width} x {height}"
            findings.error("wrong-size", message, path)
    for (suffix, form), count in disguised.items():
        example = first[suffix, form]
        findings.notes.append(f"{split}: {count:,} files named *{suffix} are {form}, {example} the first of them")
    if resized:
        findings.notes.append(
            f"{split}: {resized:,} images are of another size than their annotations, which are scaled"
        )
    findings.images[split] = len(paths)
    findings.sizes[split] = shapes[read]
    return Fingerprints(paths, np.flatnonzero(read), digests[read], hashes[read])


def perceptual_hash(image: npt.NDArray[np.uint8]) -> int:
    """64 bits that hardly change when a picture is resized or compressed again: which of the 8 x 8 lowest frequencies
    of its DCT, without the constant rows and columns, exceed their median (Zauner 2010, "Implementation and
    benchmarking of perceptual image hash functions", section 3.2.1).

    Args:
        image: ``(H, W, 3)``.

    Returns:
        In 0 to 2^64 - 1; 0 if there is nothing to tell a picture by, as in one of a single colour.
    """
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = np.rint(cv2.dct(grey.astype(np.float32))[1:9, 1:9].reshape(-1))
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes())


def check_leaks(fingerprints: dict[str, Fingerprints], findings: Findings) -> None:
    """Look for pictures that are in two splits.

    The same bytes are an error, ``leaked-image``; pictures that look the same, by :data:`NEAR`, are noted.

    Args:
        fingerprints: of :func:`check_images`, by split.
        findings: is added to.
    """
    for one, other in combinations(fingerprints, 2):
        ours, theirs = fingerprints[one], fingerprints[other]
        same = np.flatnonzero(np.isin(theirs.digests, ours.digests))
        order = np.argsort(ours.digests)
        twins = order[np.searchsorted(ours.digests, theirs.digests[same], sorter=order)]
        for path, copy in zip(_paths(theirs, same), _paths(ours, twins), strict=True):
            findings.error("leaked-image", f"{path} of {other} is the same file as {copy} of {one}", path)
        looks = _looks_like(ours, theirs, np.setdiff1d(np.arange(len(theirs.rows)), same))
        for path, copy in zip(_paths(theirs, looks[:SHOWN, 0]), _paths(ours, looks[:SHOWN, 1]), strict=True):
            findings.notes.append(f"{path} of {other} looks like {copy} of {one}")
        if len(looks) > SHOWN:
            findings.notes.append(f"… and {len(looks) - SHOWN:,} more pictures of {other} look like some of {one}")


def _paths(images: Fingerprints, which: npt.NDArray[np.intp]) -> list[Path]:
    return [images.paths[row] for row in images.rows[which].tolist()]


def _looks_like(ours: Fingerprints, theirs: Fingerprints, rest: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """``(n, 2)``: which images of ``theirs`` among ``rest`` look like which of ``ours``, one of each hash."""
    a, first = np.unique(ours.hashes, return_index=True)
    b, firsts = np.unique(theirs.hashes[rest], return_index=True)
    pairs = [np.stack([j, i], axis=1) for i, j in _near(a, b)]
    near = np.concatenate([np.empty((0, 2), np.intp), *pairs])
    near = near[b[near[:, 0]] != 0]
    near = near[np.unique(near[:, 0], return_index=True)[1]]
    found = np.stack([rest[firsts[near[:, 0]]], first[near[:, 1]]], axis=1)
    return found[np.argsort(found[:, 0])]


def _look(path: Path) -> _Image | Finding:
    try:
        data = read_file(path)
        image = decode(data, path, 3)
    except FileNotFoundError:
        return Finding("missing-image", f"{path} is missing", path)
    except TruncatedImageError as error:
        return Finding("truncated-image", str(error), path)
    except (ValueError, OSError) as error:
        empty = path.is_file() and path.stat().st_size == 0
        return Finding("empty-image" if empty else "unreadable-image", str(error), path)
    digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
    return _Image(image.shape[0], image.shape[1], read_header(data, path).format, digest, perceptual_hash(image))


def _near(a: UInt64Array, b: UInt64Array) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """The places ``(i, j)`` where ``a[i]`` and ``b[j]`` differ in at most :data:`NEAR` bits; pairs may come again.

    Of ``NEAR + 1`` bands of bits at least one must be equal (multi-index hashing: Norouzi, Punjani and Fleet 2012,
    section 2), so that only pairs with an equal band are compared.
    """
    edges = np.linspace(0, 64, NEAR + 2).astype(np.uint64)
    for low, high in pairwise(edges):
        mask = (np.uint64(1) << (high - low)) - np.uint64(1)
        keys, wanted = (a >> low) & mask, (b >> low) & mask
        order = np.argsort(keys)
        left = np.searchsorted(keys[order], wanted)
        counts = np.searchsorted(keys[order], wanted, side="right") - left
        before = np.concatenate([[0], np.cumsum(counts)])
        cuts = np.append(np.searchsorted(before, np.arange(0, before[-1], PAIRS)), len(b))
        for start, end in pairwise(cuts):
            j = np.repeat(np.arange(start, end), counts[start:end])
            i = order[np.arange(before[start], before[end]) - before[j] + left[j]]
            close = np.bitwise_count(a[i] ^ b[j]) <= NEAR
            yield i[close], j[close]
