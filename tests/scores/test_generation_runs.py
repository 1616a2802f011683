"""Scores of a generator by its recipe: in training, tested alone, and in two processes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import in_child, in_processes, wait_for
from visionlab.cli import main
from visionlab.run import Run

RECIPE = """
model:
  class_path: visionlab.tasks.generation.Generation
  init_args:
    net: {{class_path: small_gans.TinyGenerator}}
    discriminator: {{class_path: small_gans.TinyDiscriminator}}
    optimizer: {{class_path: torch.optim.Adam, init_args: {{lr: 0.002, betas: [0.5, 0.999]}}}}
    discriminator_optimizer: {{class_path: torch.optim.Adam, init_args: {{lr: 0.002, betas: [0.5, 0.999]}}}}
    loss: {{class_path: visionlab.losses.adversarial.NonSaturating}}
    scores:
      class_path: visionlab.scores.generation.GenerationScores
      init_args:
        extractor: {{class_path: visionlab.scores.trained.TrainedClassifier, init_args: {{run: {run}}}}}
        samples: 50
data: {{class_path: small_gans.SmallDigits}}
trainer: {{max_epochs: 2, accelerator: cpu, devices: 1, enable_progress_bar: false, enable_model_summary: false}}
"""


@pytest.fixture
def scored(finished):
    """The run folder of a generator that was trained and scored by a classifier."""
    Path("gan.yaml").write_text(RECIPE.format(run=finished))
    fit = ["fit", "--config", "gan.yaml", "--trainer.logger", "false"]
    assert wait_for(in_child(lambda: main(fit))) == 0
    return Path("runs/gan/0")


def test_scores_are_logged_under_their_protocol_and_choose_the_best_weights(scored):
    results = json.loads((scored / "results" / "test.json").read_text())
    (name,) = [name for name in results if name.endswith("/fid")]
    stage, protocol, _ = name.split("/")
    assert stage == "test"
    assert protocol.startswith("TinyNet-")
    assert protocol.endswith("_50_train")
    for score in ("kid", "inception_score", "precision", "recall", "nearer_than_held_out", "least_class_share"):
        assert np.isfinite(results[f"test/{protocol}/{score}"])
    validated = json.loads((scored / "results" / "val.json").read_text())
    assert validated[f"val/{protocol}/fid"] == results[name]  # generated images depend on no split
    shares = (scored / "results" / "test_per_class.csv").read_text().splitlines()
    assert shares[0] == f"class,{protocol}/share_per_class"
    assert sum(float(row.split(",")[1]) for row in shares[1:]) == pytest.approx(1)
    Image.open(scored / "pictures" / "nearest_neighbours.png").verify()
    rows = [row.split(",") for row in (scored / "metrics.csv").read_text().splitlines()[1:]]
    values = [float(value) for _, _, logged, value in rows if logged == f"val/{protocol}/fid"]
    assert len(values) == 2
    best = Run.open(scored).best.read_bytes()
    assert (best == (scored / "checkpoints" / "last.ckpt").read_bytes()) == (values[1] <= values[0])


@pytest.mark.slow
def test_two_processes_score_the_same_to_the_bit(scored):
    expected = (scored / "results" / "test.json").read_text()
    (scored / "results" / "test.json").unlink()
    words = ["test", str(scored), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    assert in_processes(lambda: main(words), 2) == [0, 0]
    found, expected = json.loads((scored / "results" / "test.json").read_text()), json.loads(expected)
    losses = [name for name in expected if name.count("/") == 1]
    assert {n: v for n, v in found.items() if n not in losses} == {n: v for n, v in expected.items() if n not in losses}
    assert len(expected) > len(losses) + 8
