"""What a check of a data folder found, for people and for machines."""

from collections import Counter
from typing import Any

import numpy as np

from visionlab.data.layouts.findings import Findings

SHOWN = 20
"""Lines of one kind that are printed before the rest is only counted."""


def as_text(findings: Findings, classes: int | None) -> list[str]:
    """The findings, a line each: what is wrong, what is worth knowing, what there is, and how much is wrong of which
    kind.

    Args:
        findings: of a check.
        classes: of the data set; not needed where the findings say how many the folder has.
    """
    lines, kinds = [], Counter[str]()
    for error in findings.errors:
        kinds[error.kind] += 1
        if kinds[error.kind] <= SHOWN:
            lines.append(error.message)
    lines += [f"… and {n - SHOWN:,} more {kind} (--json has them all)" for kind, n in kinds.items() if n > SHOWN]
    lines += [f"note: {note}" for note in findings.notes]
    for split, part in as_json(findings, classes)["splits"].items():
        words = [f"{part['images']:,} images"] if "images" in part else []
        if "labels" in part:
            words.append(f"{part['labels']['least']:,} to {part['labels']['most']:,} a class")
        if "height" in part:
            (low, middle, high), (left, centre, right) = part["height"], part["width"]
            words.append(f"width {left} to {right} (median {centre}), height {low} to {high} (median {middle})")
        lines.append(f"{split}: {', '.join(words)}")
    total = f"{len(findings.errors):,} wrong"
    by_kind = ", ".join(f"{kind} {n:,}" for kind, n in kinds.most_common())
    return [*lines, f"{total}: {by_kind}" if findings.errors else "ok"]


def as_json(findings: Findings, classes: int | None) -> dict[str, Any]:
    """The findings as plain types.

    Args:
        findings: of a check.
        classes: of the data set; not needed where the findings say how many the folder has.

    Returns:
        ``ok``; ``errors``, a list of ``kind``, ``message``, ``file``, ``line`` and ``id``; ``notes``; and ``splits``,
        by name: ``images``, how many; ``labels``, the number of images (or of objects) of each class, the least and the
        most; ``height`` and ``width``, each the least, the median and the most.
    """
    splits: dict[str, dict[str, Any]] = {}
    classes = classes if findings.classes is None else findings.classes
    for split, labels in findings.labels.items():
        counts = np.bincount(labels, minlength=0 if classes is None else classes)
        histogram = {"total": len(labels), "least": int(counts.min()), "most": int(counts.max())}
        splits[split] = {"images": len(labels), "labels": {**histogram, "by_class": counts.tolist()}}
    for split, images in findings.images.items():
        splits.setdefault(split, {})["images"] = images
    for split, sizes in findings.sizes.items():
        if len(sizes) > 0:
            for name, values in zip(("height", "width"), sizes.T, strict=True):
                three = [int(np.min(values)), int(np.median(values)), int(np.max(values))]
                splits.setdefault(split, {})[name] = three
    errors = [
        {"kind": e.kind, "message": e.message, "file": str(e.file), "line": e.line, "id": e.id} for e in findings.errors
    ]
    return {"ok": not errors, "errors": errors, "notes": findings.notes, "splits": splits}
