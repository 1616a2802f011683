"""Kills while a checkpoint is written, and disks that are too small for it."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from conftest import in_child, wait_for
from visionlab.callbacks.checkpoints import AtomicCheckpointIO
from visionlab.run import is_whole

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


@contextlib.contextmanager
def disk(folder, kilobytes):
    """A filesystem of its own, of some size, in memory."""
    folder = Path(folder).absolute()
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def kill_while_saving(target, draw, environment=None):
    """Save again and again in a child, and kill it; returns the step of the checkpoint that is left, None without one.

    The weights of each are its step.
    """
    io = AtomicCheckpointIO()
    reads, writes = os.pipe()

    def child():
        for step in range(10_000):
            os.write(writes, b".")
            io.save_checkpoint({"step": step, "weights": torch.full((200_000,), float(step))}, target)
        return 0

    number = in_child(child, environment)
    for _ in range(draw.randrange(1, 10)):
        os.read(reads, 1)
    time.sleep(draw.uniform(0, 0.01))  # within the save that has begun, or a later one
    os.kill(number, signal.SIGKILL)
    assert wait_for(number) == -signal.SIGKILL
    os.close(reads)
    os.close(writes)
    if not target.exists():
        return None
    assert is_whole(target)
    content = torch.load(target, weights_only=True)
    assert (content["weights"] == content["step"]).all()
    return content["step"]
