"""What is wrong with a folder of ImageNet: every image, list and box is read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.folder import listing
from visionlab.data.layouts.imagenet import (
    MAX_BYTES,
    VAL_NAME,
    WNID,
    Layout,
    Split,
    compare,
    find,
    read_mapping,
    val_wnids,
    wnids,
)
from visionlab.data.layouts.imagenet_boxes import check_boxes
from visionlab.data.layouts.images import Fingerprints, check_images, check_leaks
from visionlab.data.plain import plain_size


def check(root: Path) -> Findings:
    """Read everything and say what is wrong with each file."""
    found = Findings()
    try:
        layout = find(root)
        ids = wnids(layout)
    except FileNotFoundError as error:
        found.error("missing-file", str(error), root)
        return found
    except ValueError as error:
        found.error("unknown-category", str(error), root)
        return found
    found.classes = len(ids)
    found.notes.append(f"{root} is in the layout of {layout.title}, with {len(ids):,} classes")
    if layout.mapping.is_file():
        synonyms = read_mapping(layout.mapping, found)
        for wnid in [wnid for wnid in ids if wnid not in synonyms]:
            found.error("unknown-category", f"{layout.mapping} has no name for {wnid}", layout.mapping, id=wnid)
    splits: tuple[Split, ...] = ("train", "val")
    check_leaks({split: _check_split(layout, split, ids, found) for split in splits}, found)
    return found


def _check_split(layout: Layout, split: Split, ids: Sequence[str], found: Findings) -> Fingerprints:
    tree = layout.images / split
    by_class = split == "train" or layout.val_by_class
    images = _by_class(tree, ids, found) if by_class else _flat(layout, ids, found)
    _check_list(layout, split, images, found)
    labels = {wnid: label for label, wnid in enumerate(ids)}
    found.labels[split] = np.array([labels[wnid] for _, wnid in images], dtype=np.int64)
    if split == "train":
        for empty in np.flatnonzero(np.bincount(found.labels[split], minlength=len(ids)) == 0).tolist():
            found.error("missing-image", f"{tree / ids[empty]} has no images", tree / ids[empty], id=ids[empty])
    sizes = check_boxes(layout, split, images, found) if (layout.annotations / split).is_dir() else None
    return check_images(split, [tree / file for file, _ in images], found, sizes, scaled=True)


def _by_class(tree: Path, ids: Sequence[str], found: Findings) -> list[tuple[str, str]]:
    """The file and the class of each image in a folder for each class."""
    images, others, known = list[tuple[str, str]](), list[Path](), set(ids)
    for wnid in listing(tree)[0]:
        if wnid not in known:
            message = f"{tree / wnid} is of a class of which there are no training images"
            found.error("unknown-category", message, tree / wnid, id=wnid)
            continue
        _, names, more = listing(tree / wnid)
        others += [tree / wnid / name for name in more]
        for name in names:
            stated = name.split("_", 1)[0]
            if WNID.fullmatch(stated) and stated != wnid:
                found.error("unknown-category", f"{tree / wnid / name} is named as one of {stated}", tree / wnid / name)
        images += [(f"{wnid}/{name}", wnid) for name in names]
    if others:
        found.notes.append(f"{tree} holds {len(others):,} files that are no images, the first {others[0]}")
    return images


def _flat(layout: Layout, ids: Sequence[str], found: Findings) -> list[tuple[str, str]]:
    """The file and the class of each validation image, of those that have one."""
    tree = layout.images / "val"
    try:
        wnid_of = val_wnids(layout, found)
    except (FileNotFoundError, ValueError) as error:
        kind = "missing-file" if isinstance(error, FileNotFoundError) else "malformed-file"
        found.error(kind, str(error), layout.root)
        return []
    files = listing(tree)[1]
    compare(files, wnid_of, ids, tree, found)
    known = set(ids)
    return [(name, wnid) for name in files if (wnid := wnid_of.get(Path(name).stem)) in known and wnid is not None]


def _check_list(layout: Layout, split: Split, images: Sequence[tuple[str, str]], found: Findings) -> None:
    """Compare Kaggle's list of a split, where it is, with the images."""
    path = layout.root / "ILSVRC" / "ImageSets" / "CLS-LOC" / ("train_cls.txt" if split == "train" else "val.txt")
    if not path.is_file():
        return
    try:
        plain_size(path, MAX_BYTES)
    except ValueError as error:
        found.error("malformed-file", str(error), path)
        return
    there = {file.rsplit(".", 1)[0] for file, _ in images}
    listed = set[str]()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            name = line.split(" ", 1)[0].strip()
            stem = name.rsplit("/", 1)[-1]
            folder = name.rpartition("/")[0]
            valid = bool(VAL_NAME.fullmatch(name)) if split == "val" else bool(WNID.fullmatch(folder))
            if not valid or ".." in stem:
                kind = "path-outside-root" if ".." in name or name.startswith("/") else "malformed-file"
                found.error(
                    kind, f"{path}, line {number}: {name[:60]!r} is not the name of an image", path, line=number
                )
            elif name in listed:
                found.error("duplicate-id", f"{path}, line {number}: {name} again", path, line=number, id=name)
            elif name not in there and not (split == "val" and layout.val_by_class):
                message = f"{path}, line {number}: {name} is not among the images of {layout.images / split}"
                found.error("missing-image", message, path, line=number, id=name)
            listed.add(name)
