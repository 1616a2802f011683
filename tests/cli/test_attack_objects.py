"""Detectors and segmenters that were trained under attack, from their recipe to ``visionlab attack``."""

import json
from pathlib import Path

import pytest

from visionlab.cli import main

FGSM = "{class_path: visionlab.attacks.fgsm.FGSM, init_args: {eps: 8/255}}"
RECIPE = f"""
model:
  class_path: visionlab.tasks.adversarial.Adversarial
  init_args:
    task:
      class_path: TASK
      init_args:
        net: {{class_path: NET}}
        optimizer: {{class_path: torch.optim.SGD, init_args: {{lr: 0.001}}}}
    training: {{class_path: visionlab.tasks.adversarial_training.OnAttacked, init_args: {{attack: {FGSM}}}}}
    attacks: {{fgsm: {FGSM}}}
    audited: 1
data:
  class_path: DATA
  init_args: {{root: ROOT, batch_size: 2, num_workers: 0, train_transform: {{class_path: TRANSFORM}}}}
trainer:
  max_steps: 1
  limit_val_batches: 1
  limit_test_batches: 1
  accelerator: cpu
  logger: false
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
"""
KINDS = {
    "voc": {
        "TASK": "visionlab.tasks.detection.Detection",
        "NET": "tiny_detectors.TinyDetector, init_args: {kind: RetinaNet, score_thresh: 0.001}",
        "DATA": "visionlab.data.voc.VOCDetection",
        "TRANSFORM": "visionlab.data.presets.detection_train",
    },
    "camvid": {
        "TASK": "visionlab.tasks.segmentation.Segmentation",
        "NET": "tiny_segmenters.TinySegmenter",
        "DATA": "visionlab.data.camvid.CamVidSegmentation",
        "TRANSFORM": "visionlab.data.presets.dense_train, init_args: {size: 48}",
    },
}


@pytest.mark.parametrize(
    ("data", "losses", "watched"),
    [
        pytest.param("voc", ("vanish", "appear", "change_class"), "mAP", marks=pytest.mark.slow),
        ("camvid", ("pixels",), "mIoU"),
    ],
)
def test_runs_of_other_tasks_are_trained_and_attacked(twins, data, losses, watched, capsys):
    text = RECIPE.replace("ROOT", str(twins(data)))
    for word, value in KINDS[data].items():
        text = text.replace(word, value)
    Path("robust.yaml").write_text(text)
    assert main(["fit", "--config", "robust.yaml"]) == 0
    results = json.loads(Path("runs/robust/0/results/test.json").read_text())
    assert results["test/fgsm/linf"] == pytest.approx(8 / 255, abs=1e-6)
    assert any(name.startswith("test/fgsm/") and name.endswith(watched) for name in results)
    assert "loss_under_fgsm" in Path("runs/robust/0/per_image/test.csv").read_text().splitlines()[0]
    assert Path("runs/robust/0/pictures/test_worst.png").exists()
    capsys.readouterr()
    for loss in losses:
        few = ["--images", "1", "--audited", "1", "--loss", loss, "--name", loss]
        assert main(["attack", "runs/robust/0", "--attack", "bim", "--eps", "4/255", "--steps", "1", *few]) == 0
        assert (Path("runs/robust/0/attacks") / loss / "attacked.png").exists()
        assert "under Square, a black-box attack" in capsys.readouterr().out
