"""Scores of folders of generated images, beside those of baselines and of real images.

The features are those of a classifier that was trained here, whose data is the data set, or of Inception v3. The real
images that all are compared with are those of the training split; "real" are those of the test split. A picture in each
folder's place, ``<folder>_neighbours.png``, has the generated images beside the nearest training images.

Usage: python experiments/generation/score.py RUN [FOLDER ...] [--inception WEIGHTS] [--samples N]
"""

import argparse
from pathlib import Path

import torch

from visionlab.load import load
from visionlab.metrics.generated_images import Extractor, GeneratedImages
from visionlab.pictures.neighbours import neighbours
from visionlab.scores.baselines import baselines, score
from visionlab.scores.generation import GenerationScores
from visionlab.scores.trained import TrainedClassifier

COLUMNS = ("fid", "kid", "inception_score", "precision", "recall", "nearer_than_held_out", "least_class_share")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="the run folder of a classifier")
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="*", help="of generated images")
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
        files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))[:samples]
        if len(files) < samples:
            raise SystemExit(f"{folder} has {len(files)} images, fewer than {samples} samples")
        rows[folder.name] = torch.stack([torch.from_numpy(data.read(path)).permute(2, 0, 1) for path in files])
    train = data.dataset("train", augmented=False)
    print(f"{protocol}\n{'':20}" + "".join(f"{name:>22}" for name in COLUMNS))
    for name, images in rows.items():
        results = score(metric, images)
        values = [f"{float(results[c]):22.4f}" if c in results else f"{'-':>22}" for c in COLUMNS]
        print(f"{name:20}" + "".join(values))
        if "share_per_class" in results:
            shares = zip(data.classes, results["share_per_class"].tolist(), strict=True)
            print(" " * 20 + ", ".join(f"{label} {100 * share:.1f} %" for label, share in shares))
        for folder in (folder for folder in arguments.folders if folder.name == name):
            nearest, distances = (metric.neighbours[column].tolist() for column in ("nearest", "distance"))
            pictures = [image.permute(1, 2, 0).numpy() for image in images]
            picture = neighbours(pictures, [train.image(i) for i in nearest], distances)
            picture.save(folder.with_name(f"{folder.name}_neighbours.png"))


if __name__ == "__main__":
    main()
