"""Whatever starts the processes, the result is one and the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from visionlab.run import Run

ROOT = Path(__file__).parents[1]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "visionlab"]


def launch(recipe, words, *overrides):
    """Run ``visionlab fit`` in fresh interpreters; returns what it said, and its status."""
    left_out = ("PL_GLOBAL_SEED", "VISIONLAB_LAUNCHED_BY", "MASTER_PORT", "MASTER_ADDR", "LOCAL_RANK", "WORLD_SIZE")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment["PYTHONPATH"] = f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"
    common = ["fit", "--config", str(recipe), "--trainer.max_epochs", "2", "--trainer.logger", "false"]
    return subprocess.run(
        [sys.executable, *words, *common, "--data.init_args.batch_size", "8", "--threads", "1", *overrides],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_script_spawn_fork_and_torchrun_give_the_same_bits(recipe):
    # under torchrun nothing is set: it tells how many processes there are
    recipe.write_text(recipe.read_text().replace("  devices: 1\n", ""))
    ways = {
        "script": (["-m", "visionlab"], "--trainer.devices", "2"),
        "spawn": (["-m", "visionlab"], "--trainer.devices", "2", "--trainer.strategy", "ddp_spawn"),
        "fork": (["-m", "visionlab"], "--trainer.devices", "2", "--trainer.strategy", "ddp_fork"),
        "torchrun": (TORCHRUN,),
    }
    ends = []
    for name, (words, *overrides) in ways.items():
        done = launch(recipe, words, *overrides, "--runs", name)
        assert done.returncode == 0, done.stderr
        run = Run.open(f"{name}/tiny/0")
        assert run.info["state"] == "finished"
        weights = torch.load(run.checkpoints / "last.ckpt", weights_only=True)
        total = sum(value.double().sum().item() for value in weights["state_dict"].values())
        assert len(weights["visionlab"]["processes"]) == 2
        ends.append((total, (run.folder / "metrics.csv").read_text()))
    assert all(end == ends[0] for end in ends)
