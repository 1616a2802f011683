"""COCO's evaluation of boxes and masks against pycocotools, and against faster-coco-eval where that is installed.

Drawn images with detections near objects and elsewhere. The processor seconds of evaluating and summing up are taken in
turn, each in a fresh process; memory is the most that this added. Truth and results are loaded before: into the objects
of the others, and into arrays, as our metric keeps them.

Usage: python benchmarks/coco_eval.py [bbox or segm] [images] [rounds]
"""

import contextlib
import importlib.util
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

CLASSES, DETECTIONS, OBJECTS = 80, 30, 7.3
"""Objects an image as COCO has on average."""

SIDE = 160
"""Of masks, in pixels."""


def write(folder: Path, images: int, kind: str) -> None:
    """Draw the truth and the results."""
    rng = np.random.default_rng(0)
    truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    most = SIDE if kind == "segm" else 600
    for image in range(images):
        n = int(rng.poisson(OBJECTS))
        boxes = np.concatenate([rng.uniform(0, most * 0.7, (n, 2)), rng.uniform(4, most * 0.4, (n, 2))], axis=1).round(
            2
        )
        labels = rng.integers(0, CLASSES, n)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            one = {"id": len(truth) + 1, "image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3]}
            truth.append({**one, "iscrowd": int(rng.random() < 0.01), **_shape(box, kind)})
        for _ in range(DETECTIONS):
            near = n > 0 and rng.random() < 0.6
            i = int(rng.integers(0, n)) if near else 0
            box = (
                (boxes[i] + rng.normal(0, 0.06 * most / 8, 4) if near else rng.uniform(4, most * 0.5, 4))
                .clip(1)
                .round(2)
            )
            label = int(labels[i]) if near and rng.random() < 0.9 else int(rng.integers(0, CLASSES))
            one = {"image_id": image, "category_id": label, "score": round(float(rng.random()), 5)}
            results.append({**one, **(_shape(box.tolist(), kind) if kind == "segm" else {"bbox": box.tolist()})})
    sizes = [{"id": i, "height": SIDE, "width": SIDE} for i in range(images)]
    document = {"images": sizes, "annotations": truth, "categories": [{"id": i} for i in range(CLASSES)]}
    (folder / "truth.json").write_text(json.dumps(document))
    (folder / "results.json").write_text(json.dumps(results))


def _shape(box: list[float], kind: str) -> dict[str, Any]:
    """An ellipse in the box, as run lengths."""
    if kind == "bbox":
        return {}
    rows, columns = np.mgrid[:SIDE, :SIDE]
    middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
    inside = ((columns - middle[0]) / box[2]) ** 2 + ((rows - middle[1]) / box[3]) ** 2 <= 0.25
    coded = rle.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"segmentation": {"size": coded["size"], "counts": coded["counts"].decode("ascii")}}


def measure(what: str, folder: Path, kind: str) -> None:
    """Evaluate in this process, and print seconds, bytes and the twelve numbers."""
    results = json.loads((folder / "results.json").read_text())
    if what == "ours":
        evaluate = _ours(json.loads((folder / "truth.json").read_text()), results, kind)
    else:
        evaluate = _theirs(what, folder / "truth.json", results, kind)
    before, start = _most_memory(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        numbers = evaluate()
    print(time.process_time() - start, _most_memory() - before, *numbers)


def _ours(truth: dict[str, Any], results: list[dict[str, Any]], kind: str) -> Any:
    from visionlab.metrics.coco_evaluation import OBJECTS, Found, Truth, evaluate
    from visionlab.metrics.overlaps import box_overlap, mask_areas, mask_overlap

    def column(rows: list[dict[str, Any]], name: str, dtype: Any) -> Any:
        return np.array([row[name] for row in rows], dtype)

    def masks(rows: list[dict[str, Any]]) -> Any:
        column = np.empty(len(rows), np.object_)
        column[:] = [{**row["segmentation"], "counts": row["segmentation"]["counts"].encode()} for row in rows]
        return column

    rows = truth["annotations"]
    crowd = column(rows, "iscrowd", bool)
    groups = [(column(each, "image_id", int), column(each, "category_id", int)) for each in (results, rows)]
    objects = Truth(*groups[1], column(rows, "area", float), crowd, crowd)
    scores, name = column(results, "score", float), "bbox" if kind == "bbox" else "segmentation"
    shapes = [column(each, name, float) if kind == "bbox" else masks(each) for each in (results, rows)]

    def run() -> list[float]:
        if kind == "bbox":
            areas, overlap = shapes[0][:, 2] * shapes[0][:, 3], box_overlap(*shapes, crowd)
        else:
            areas, overlap = mask_areas(shapes[0]), mask_overlap(*shapes, crowd, least=0.5)
        found = Found(*groups[0], scores, areas)
        return list(evaluate(found, objects, overlap, CLASSES, OBJECTS).official().values())

    return run


def _theirs(what: str, truth: Path, results: list[dict[str, Any]], kind: str) -> Any:
    if what == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        found = coco.loadRes(results)

    def run() -> list[float]:
        evaluation = COCOeval(coco, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return [float(value) for value in evaluation.stats[:12]]

    return run


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(kind: str, images: int, rounds: int) -> None:
    """Print medians, the median of the ratios within each round, and whether all give the same numbers."""
    names = ["ours", "pycocotools"]
    if importlib.util.find_spec("faster_coco_eval") is not None:
        names.append("faster-coco-eval")
    taken: dict[str, list[list[float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), images, kind)
        for _ in range(rounds):
            for name in names:
                command = [sys.executable, __file__, "--measure", name, folder, kind]
                ran = subprocess.run(command, capture_output=True, check=True, text=True)
                taken[name].append([float(value) for value in ran.stdout.split()])
    shown = f"{images:,} images, {images * DETECTIONS:,} detections, {CLASSES} classes"
    print(f"{kind}: {shown}; AP {taken['ours'][0][2]:.4f}")
    for name in names:
        pairs = list(zip(taken[name], taken["ours"], strict=True))
        ratios = [theirs[0] / ours[0] for theirs, ours in pairs]
        memory = statistics.median(ours[1] / max(theirs[1], 1) for theirs, ours in pairs)
        seconds, added = (statistics.median(row[i] for row in taken[name]) for i in (0, 1))
        furthest = max(abs(a - b) for theirs, ours in pairs for a, b in zip(theirs[2:], ours[2:], strict=True))
        ratio = f"{statistics.median(ratios):5.1f} x ours [{min(ratios):.1f}, {max(ratios):.1f}]"
        cost = f"{added / 1e6:4.0f} MB, ours {memory:.2f} of it"
        print(f"{name:17} {seconds:7.3f} s, {ratio}; {cost}; off by {furthest:.0e}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        kind, images, rounds = [*sys.argv[1:], *("bbox", "2000", "3")[len(sys.argv) - 1 :]]
        main(kind, int(images), int(rounds))
