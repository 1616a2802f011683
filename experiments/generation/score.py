"""Scores of generators, or of folders of generated images, beside those of baselines and of real images.

The features are those of a classifier that was trained here, whose data is the data set, or of Inception v3. The real
images that all are compared with are those of the training split; "real" are those of the test split. A picture beside
each folder, ``neighbours_of_<folder>.png``, or in the run's pictures, has the generated images beside the nearest
training images.

Usage: python experiments/generation/score.py CLASSIFIER [RUN|FOLDER ...] [--inception WEIGHTS] [--samples N]
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionlab.data.base import DataModule
from visionlab.load import load
from visionlab.metrics.generated_images import Extractor, GeneratedImages, to_bytes
from visionlab.pictures.neighbours import neighbours
from visionlab.scores.baselines import baselines, score
from visionlab.scores.generation import GenerationScores
from visionlab.scores.trained import TrainedClassifier

COLUMNS = ("fid", "kid", "inception_score", "precision", "recall", "nearer_than_held_out", "least_class_share")


def generated(folder: Path, data: DataModule, samples: int) -> Tensor:
    """The images in a folder, as the data set reads them, or of a generator's best weights: ``uint8``."""
    if (folder / "run.json").is_file():
        task: Any = load(folder).task
        with torch.inference_mode():
            parts = [task.generate_numbered(range(i, min(i + 100, samples))) for i in range(0, samples, 100)]
        return to_bytes(torch.cat(parts))
    files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))[:samples]
    if len(files) < samples:
        raise SystemExit(f"{folder} has {len(files)} images, fewer than {samples} samples")
    return torch.stack([torch.from_numpy(data.read(path)).permute(2, 0, 1) for path in files])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="CLASSIFIER", help="its run folder")
    parser.add_argument(
        "folders", metavar="RUN|FOLDER", type=Path, nargs="*", help="of a generator, or of generated images"
    )
    parser.add_argument("--inception", metavar="WEIGHTS", help="measure by Inception v3 with the weights in this file")
    parser.add_argument("--samples", type=int, help="images of each; by default as many as the test split has")
    arguments = parser.parse_args()
    data = load(arguments.run).data
    samples = len(data.dataset("test")) if arguments.samples is None else arguments.samples
    extractor: Extractor = TrainedClassifier(arguments.run)
    if arguments.inception is not None:
        from visionlab.scores.inception import Inception  # not above: torch-fidelity may be absent

        extractor = Inception(arguments.inception)
    ((protocol, metric),) = GenerationScores(extractor, samples)(data).items()
    assert isinstance(metric, GeneratedImages)
    rows = baselines(data, samples)
    for folder in arguments.folders:
        rows[str(folder)] = generated(folder, data, samples)
    train = data.dataset("train", augmented=False)
    print(f"{protocol}\n{'':40}" + "".join(f"{name:>21}" for name in COLUMNS))
    for name, images in rows.items():
        results = score(metric, images)
        values = [f"{float(results[c]):21.4f}" if c in results else f"{'-':>21}" for c in COLUMNS]
        print(f"{name:40}" + "".join(values))
        if "share_per_class" in results:
            shares = zip(data.classes, results["share_per_class"].tolist(), strict=True)
            print(" " * 40 + ", ".join(f"{label} {100 * share:.1f} %" for label, share in shares))
        if name in map(str, arguments.folders):
            nearest, distances = (metric.neighbours[column].tolist() for column in ("nearest", "distance"))
            pictures = [image.permute(1, 2, 0).numpy() for image in images]
            picture = neighbours(pictures, [train.image(i) for i in nearest], distances)
            path = Path(name) / "pictures" if (Path(name) / "run.json").is_file() else Path(name).parent
            picture.save(path / f"neighbours_of_{Path(name).name}.png")


if __name__ == "__main__":
    main()
