"""How fast a COCO annotation file is opened, and in how much memory: by pycocotools, by us at first, and again.

Draws a file of instances like COCO's, and opens it in fresh processes, in turns. Time is CPU time; memory is what the
process has for itself (USS) after opening, less what it had after the imports. Linux only.

Usage: python benchmarks/annotations.py [annotations] [rounds]
"""

import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PER_IMAGE = 7.3
"""Annotations: 36,781 in the 5,000 images of val2017."""


def write(path: Path, annotations: int) -> None:
    """Draw a file: one object in a hundred is a crowd; the others have 1.08 polygons of 19 points on average, as COCO's
    have (972 of its objects were counted).
    """
    rng = np.random.default_rng(0)
    images = int(annotations / PER_IMAGE)
    sizes = rng.choice([[480, 640], [640, 480], [427, 640], [500, 375]], images)
    names = [f"{i:012}.jpg" for i in range(images)]
    rows = []
    for id, image in enumerate(rng.integers(0, images, annotations).tolist()):
        height, width = sizes[image].tolist()
        left, top = rng.uniform(0, 0.6) * width, rng.uniform(0, 0.6) * height
        across, down = rng.uniform(5, 0.4 * width), rng.uniform(5, 0.4 * height)
        crowd = int(id % 100 == 0)
        segmentation: Any
        if crowd:
            runs = rng.integers(1, 600, 300)
            segmentation = {"size": [height, width], "counts": [*runs.tolist(), height * width - int(runs.sum())]}
        else:
            points = rng.integers(4, 35, 1 + (rng.uniform() < 0.08)).tolist()
            corner, extent = np.array([left, top]), np.array([across, down])
            segmentation = [(corner + rng.random((n, 2)) * extent).round(2).ravel().tolist() for n in points]
        rows.append(
            {
                "segmentation": segmentation,
                "area": round(across * down / 2, 4),
                "iscrowd": crowd,
                "image_id": image,
                "bbox": [round(value, 2) for value in (left, top, across, down)],
                "category_id": int(rng.integers(1, 81)),
                "id": id,
            }
        )
    document = {
        "info": {},
        "licenses": [],
        "images": [
            {"id": i, "file_name": name, "height": height, "width": width, "license": 1, "coco_url": name}
            for i, (name, (height, width)) in enumerate(zip(names, sizes.tolist(), strict=True))
        ],
        "annotations": rows,
        "categories": [{"id": i, "name": f"category {i}", "supercategory": ""} for i in range(1, 81)],
    }
    path.write_text(json.dumps(document))


def measure(what: str, path: Path) -> None:
    """Open the file in this process, which imported nothing else before, and print seconds and bytes."""
    if what == "pycocotools":
        from pycocotools import coco

        opens: Callable[[Path], Any] = coco.COCO
    else:
        from visionlab.data.layouts import coco_format

        opens = coco_format.open_coco
    before, start = own_memory(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        opened = opens(path)
        if what != "pycocotools":  # and look at an image
            opened.rows("boxes", 7, "offsets").sum()
    seconds = time.process_time() - start
    print(seconds, own_memory() - before)


def own_memory() -> int:
    """Bytes of this process that no other shares."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def main(annotations: int, rounds: int) -> None:
    """Measure in fresh processes, and print medians, and the median of the ratios within each round."""
    taken: dict[str, list[tuple[float, float]]] = {"pycocotools": [], "first": [], "again": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        write(path, annotations)
        print(f"{annotations:,} annotations, {path.stat().st_size / 1e6:.0f} MB")
        for _ in range(rounds):
            for what, times in taken.items():
                cache = Path(folder) / "cache"
                if what == "first":
                    shutil.rmtree(cache, ignore_errors=True)
                command = [sys.executable, __file__, "--measure", what, str(path)]
                ran = subprocess.run(
                    command, env={**os.environ, "VISIONLAB_CACHE": str(cache)}, capture_output=True, check=True
                )
                seconds, memory = map(float, ran.stdout.split())
                times.append((seconds, memory))
        size = sum(file.stat().st_size for file in (Path(folder) / "cache").rglob("*") if file.is_file())
    for what, times in taken.items():
        seconds, memory = (statistics.median(column) for column in zip(*times, strict=True))
        against = list(zip(taken["pycocotools"], times, strict=True))
        faster = [reference[0] / mine[0] for reference, mine in against]
        smaller = statistics.median(mine[1] / reference[1] for reference, mine in against)
        spread = f"{statistics.median(faster):7.1f} x [{min(faster):.1f}, {max(faster):.1f}]"
        print(f"{what:12} {seconds:9.4f} s {spread}  {memory / 1e6:8.2f} MB, {smaller:.2%}")
    print(f"the index has {size / 1e6:.0f} MB on disk")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main(*(int(given) for given in sys.argv[1:] or ("87000", "5")))
