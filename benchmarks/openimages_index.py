"""How long the index of a table of the size of Open Images takes, and what it costs a process that loads images.

Writes a table of 15 million boxes in 1.9 million images (about 1.4 GB) and its index (0.6 GB) into a temporary folder,
which is removed. The index is built in a process of its own, whose time and peak memory are taken, then opened in
two others at once, as the processes of a loader do.

Usage: python benchmarks/openimages_index.py [millions of boxes] [folder for temporary files]
"""

import multiprocessing
import os
import pickle
import resource
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from visionlab.data.layouts.openimages import OpenImages
from visionlab.data.packed import Arrays

PER_IMAGE = 8
REPEATED = 400_000
WORKERS = 2


def write_table(root: Path, boxes: int) -> None:
    """Write random boxes in v5's thirteen columns, sorted by image as the official table is."""
    rng = np.random.default_rng(0)
    (root / "class-descriptions-boxable.csv").write_text("".join(f"/m/{i:05x},class {i}\n" for i in range(601)))
    (root / "train").mkdir()
    x, y = np.sort(rng.random((2, REPEATED, 2)), axis=2)
    labels, flags = rng.integers(0, 601, REPEATED), rng.integers(0, 2, (REPEATED, 5))
    tails = [
        f",xclick,/m/{label:05x},1,{a:.6f},{b:.6f},{c:.6f},{d:.6f},{','.join(map(str, one))}\n"
        for label, (a, b), (c, d), one in zip(labels.tolist(), x.tolist(), y.tolist(), flags.tolist(), strict=True)
    ]
    with (root / "train-annotations-bbox.csv").open("w") as file:
        file.write(
            "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
            "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
        )
        for start in range(0, boxes, REPEATED):
            rows = range(start, min(start + REPEATED, boxes))
            file.write("".join(f"{i // PER_IMAGE * 0x123456:016x}{tails[i - start]}" for i in rows))


def build(root: Path) -> None:
    """Build the index, and print what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    OpenImages(root).box_table("train")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"built in {wall:.0f} s ({cpu:.0f} s of one core) with {peak:,.0f} MiB at the peak, in one process", flush=True
    )


def work(pickled: bytes, seed: int, others: Barrier) -> None:
    """Open the index and read boxes of images here and there, and print what it took."""
    before = private()
    start = time.perf_counter()
    table: Arrays = pickle.loads(pickled)
    images = len(table["ids"])
    table.rows("boxes", images // 2, "offsets")
    opened = time.perf_counter() - start
    others.wait()
    at_first = private() - before
    for image in np.random.default_rng(seed).integers(0, images, 50_000).tolist():
        for name in ("boxes", "labels", "flags"):
            np.array(table.rows(name, image, "offsets"))
    others.wait()
    after = private() - before
    others.wait()
    print(
        f"worker {seed} opened it in {opened * 1000:.0f} ms; private memory grew by {at_first:.1f} MiB, after 50,000 "
        f"images by {after:.1f} MiB, to {before + after:.0f} MiB with Python and its libraries",
        flush=True,
    )


def private() -> float:
    """The memory that this process alone has (USS), in MiB. Pages of files that others have mapped too are shared."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def main(millions: float, folder: str | None) -> None:
    """Measure, and print."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        root = Path(temporary) / "data"
        root.mkdir()
        os.environ["VISIONLAB_CACHE"] = str(Path(temporary) / "cache")
        write_table(root, int(millions * 1e6))
        size = (root / "train-annotations-bbox.csv").stat().st_size
        print(f"{millions:g} million boxes, {size / 2**20:,.0f} MiB of CSV", flush=True)
        builder = context.Process(target=build, args=(root,))
        builder.start()
        builder.join()
        table = OpenImages(root).box_table("train")
        size = sum(file.stat().st_size for file in table.folder.iterdir())
        print(f"{size / 2**20:,.0f} MiB of index", flush=True)
        others = context.Barrier(WORKERS)
        workers = [context.Process(target=work, args=(pickle.dumps(table), i, others)) for i in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 15, sys.argv[2] if len(sys.argv) > 2 else None)
