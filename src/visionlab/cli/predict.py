"""``visionlab predict``: what a run's best weights say about image files, or what they generate."""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from visionlab.cli.options import require_checkpoint
from visionlab.run import Run

HELP = """usage: visionlab predict RUN IMAGE... [--output DIR] [--ckpt_path FILE] [--weights raw]
       visionlab predict RUN [--samples N] [--class NAME] [--walk N] [--output DIR] [--ckpt_path FILE] [--weights raw]

Predicts image files, and all images in folders, with a run's best weights, or those of a checkpoint; or generates
images with those of a generator: samples/<number>.png, and grid.png of the first 64.

  --output DIR      where to write predictions.csv (image,rank,class,score: the five best classes of each image; or
                    image,class,score,left,top,right,bottom: the objects found, in pixels; or image,class,pixels,share)
                    and pictures of the images with their predictions (RUN/predictions). Of objects also the files that
                    the data set's own evaluation reads, in which images go by the names of their files; of masks
                    masks/<image>.png, of the data set's own ids, those of VOC in the layout of its server; of image-to-
                    image tasks images/<image>.png, the images that were made
  --ckpt_path FILE  other weights than the run's best
  --weights raw     not the averaged weights, where there are some
  --samples N       how many images are generated (64); the same ones each time
  --class NAME      the class of all of them, if the generator was trained with classes; otherwise classes take turns
  --walk N          also walk.gif and walk.png: a round through N of the images, between which the noise changes evenly
"""

Weights = Literal["averaged", "raw"]
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def main(argv: list[str]) -> int:
    """Run ``visionlab predict``; returns the exit status: 2 if any file could not be read, after all others were
    predicted.
    """
    if {"-h", "--help"} & set(argv):
        print(HELP, end="")
        return 0
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, prog="visionlab predict")
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path, nargs="*")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--ckpt_path")
    parser.add_argument("--weights", choices=["averaged", "raw"], default="averaged")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--class", dest="class_name")
    parser.add_argument("--walk", type=int)
    options = parser.parse_args(argv[1:])
    run = Run.open(options.run)
    checkpoint = require_checkpoint(str(run.best) if options.ckpt_path is None else options.ckpt_path)
    paths = list(image_files(options.images))
    output = run.folder / "predictions" if options.output is None else options.output
    if not paths:
        generate(run, checkpoint, output, options)
        return 0
    for name in ("samples", "class_name", "walk"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.removesuffix('_name')} is for generators, which are given no images")
    unreadable = predict(run, checkpoint, paths, output, options.weights)
    for message in unreadable:
        print(f"visionlab: {message}", file=sys.stderr)
    return 2 if unreadable else 0


def image_files(paths: list[Path]) -> Iterator[Path]:
    """The files that were named, and the images in the folders that were named, at any depth, in order.

    Raises:
        FileNotFoundError: if a path is not there.
        ValueError: if a folder has no images.
    """
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not found:
                raise ValueError(f"there are no images in {path}")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise FileNotFoundError(f"there is no image {path}")


def generate(run: Run, checkpoint: Path, output: Path, options: argparse.Namespace) -> None:
    """Generate images with a generator's weights.

    Raises:
        ValueError: if the run is no generator's, or does not know the class, or an option makes no sense.
    """
    samples = 64 if options.samples is None else options.samples
    if samples < 1:
        raise ValueError(f"--samples must be at least 1, not {samples}")
    if options.walk is not None and options.walk < 2:
        raise ValueError(f"--walk must be at least 2, not {options.walk}")

    import torch

    from visionlab.cli.samples import write_samples
    from visionlab.load import load
    from visionlab.tasks.generation import Generation

    loaded = load(run.folder, checkpoint, options.weights)
    names, label = loaded.class_names, None
    if not isinstance(loaded.task, Generation):
        raise ValueError(f"which images? {run.folder} holds a {type(loaded.task).__name__}, which predicts image files")
    if options.class_name is not None:
        if options.class_name not in names:
            raise ValueError(f"there is no class {options.class_name!r}; there are {', '.join(names)}")
        label = names.index(options.class_name)
    loaded.task.to("cuda" if torch.cuda.is_available() else "cpu")
    write_samples(loaded.task, output, samples, label, names, options.walk)


def predict(run: Run, checkpoint: Path, paths: list[Path], output: Path, weights: Weights = "averaged") -> list[str]:
    """Predict image files; writes ``predictions.csv``, pictures, and the data set's own files of objects to ``output``.

    Returns:
        A message for each file that could not be read.
    """
    import torch
    from tqdm import tqdm

    from visionlab.callbacks.translations import ShowsImages
    from visionlab.cli.predictions import Classes, Form, Masks, Objects, Translations
    from visionlab.data.images import read_image
    from visionlab.data.mask_files import write_masks
    from visionlab.load import load
    from visionlab.metrics.by_objects import Table, joined
    from visionlab.tasks.detection import Detection
    from visionlab.tasks.generation import Generation
    from visionlab.tasks.segmentation import Segmentation

    loaded = load(run.folder, checkpoint, weights)
    if isinstance(loaded.task, Generation):
        raise ValueError(f"{run.folder} holds a generator, which is given no images")
    loaded.task.to("cuda" if torch.cuda.is_available() else "cpu")
    form: Form = Classes()
    if isinstance(loaded.task, Detection):
        form = Objects()
    elif isinstance(loaded.task, Segmentation):
        form = Masks()
        check_stems(paths)
    elif isinstance(loaded.task, ShowsImages):
        form = Translations(output / "images")
        check_stems(paths)
    output.mkdir(parents=True, exist_ok=True)
    unreadable: list[str] = []
    tables: list[Table] = []
    names: list[str] = []
    with (output / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(form.header)
        for number, some in enumerate(tqdm(list(batched(paths, form.per_sheet)), unit="sheet", disable=None)):
            read, images = [], []
            for path in some:
                try:
                    images.append(loaded.data.read(path))
                    read.append(path)
                except ValueError as error:
                    unreadable.append(str(error))
            if not read:
                continue
            alone = isinstance(form, Translations)  # images of several sizes
            predictions = [loaded.predict([one]) for one in images] if alone else loaded.predict(images)
            writer.writerows(form.rows(read, predictions, loaded.class_names))
            if isinstance(form, Masks):
                stems = [path.stem for path in read]
                folder = output / loaded.data.masks_folder
                write_masks(folder, zip(stems, predictions, strict=True), loaded.label_map)
            elif isinstance(form, Objects):
                tables += form.tables(images, predictions)
                names += [path.stem for path in read]
            originals = [read_image(path, 3) for path in read]
            sheet = form.sheet(originals, predictions, loaded.class_names)
            sheet.save(output / f"predictions_{number}.png")
    if tables:
        loaded.data.write_predictions(output, "test", [joined(tables)], names, loaded.label_map)
    print(f"{len(paths) - len(unreadable)} of {len(paths)} images predicted into {output}")
    return unreadable


def check_stems(paths: list[Path]) -> None:
    """Refuse images of which the files would have one name.

    Raises:
        ValueError: names two of them.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise ValueError(
                f"what is made of {seen[path.stem]} and {path} would have the same name: predict them apart"
            )
        seen[path.stem] = path


def batched(paths: list[Path], size: int) -> Iterator[list[Path]]:
    """``itertools.batched``, which Python 3.11 lacks."""
    for at in range(0, len(paths), size):
        yield paths[at : at + size]
