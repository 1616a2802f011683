"""No process of a run waits for ever for another, and what is told is why."""

import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch.distributed import DistError

from visionlab import watcher
from visionlab.preflight import by_torchrun
from visionlab.watcher import PLACES, RECORD, describe, read_status, tell

SECONDS_TO_MEET = 15
"""How long processes may take to meet before it is said that they are waited for."""

SECONDS_TO_TELL = 5
"""How long to wait for word of the process that failed first."""


class Watch(Callback):
    """Where a run has several processes, lets :mod:`visionlab.watcher` end each that passes no boundary within the
    timeout of the process group, and finds the first cause when another process has failed.

    torch's own timeout does not end a process that is stopped, does not say which one is missing, and, with NCCL,
    leaves no time to.

    Args:
        folder: the run folder.

    Attributes:
        cause: why the run failed, where that was another process; one of those that are left has said so.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "processes"
        self.cause: str | None = None
        self.watcher: subprocess.Popen[bytes] | None = None
        self.memory: mmap.mmap | None = None
        self.passed = 0
        self.waiting: threading.Timer | None = None

    def expect_others(self, trainer: Trainer) -> None:
        """From now on until the processes have met, say that they are waited for."""
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        message = (
            f"visionlab: rank {trainer.global_rank} still waits at {place} for the others of {trainer.world_size} "
            "processes; if no launcher started them, unset RANK, LOCAL_RANK and WORLD_SIZE"
        )
        self.waiting = threading.Timer(SECONDS_TO_MEET, print, (message,), {"file": sys.stderr, "flush": True})
        self.waiting.daemon = True
        self.waiting.start()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
        if trainer.world_size == 1:
            return
        if trainer.is_global_zero:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        self.folder = trainer.strategy.broadcast(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)  # on machines that do not share the run folder
        with tempfile.TemporaryFile() as file:
            file.truncate(RECORD.size)
            self.memory, self.passed = mmap.mmap(file.fileno(), RECORD.size), 0
            timeout = trainer.strategy._timeout  # type: ignore[attr-defined]  # each of torch's strategies has one
            # a second less than collectives wait, which fail without a word of which process is missing
            seconds = timeout.total_seconds() - 1
            arguments = (file.fileno(), trainer.global_rank, os.getpid(), seconds, self.folder)
            self.watcher = subprocess.Popen(
                (sys.executable, "-I", watcher.__file__, *map(str, arguments)),
                pass_fds=[file.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def _pass(self, trainer: Trainer, place: str) -> None:
        if self.memory is not None:
            self.passed += 1
            RECORD.pack_into(self.memory, 0, self.passed, trainer.global_step, PLACES.index(place))

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "in a forward pass")

    def on_before_backward(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "in a backward pass")

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "loading a training batch")

    def on_train_epoch_end(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "finishing an epoch")

    def on_validation_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "in an evaluation step")

    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "loading an evaluation batch")

    def on_validation_end(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "finishing an epoch")

    def on_test_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "in an evaluation step")

    def on_test_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "loading an evaluation batch")

    def on_save_checkpoint(self, trainer: Trainer, *args: Any) -> None:
        self._pass(trainer, "saving a checkpoint")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.watcher is not None and isinstance(exception, Exception):
            if _is_of_connection(exception):
                self.cause = self._first_cause()
                if self.cause is not None:
                    tell(self.folder, self.cause)
            else:
                note = {"rank": trainer.global_rank, "error": f"{type(exception).__name__}: {exception}"}
                (self.folder / f"{trainer.global_rank}.failed").write_text(json.dumps(note))
        if not by_torchrun(os.environ):  # there, the watcher sees to it that the agent ends
            self._end()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.watcher is not None:
            self._end()
            trainer.strategy.barrier()  # until no watcher writes there
            if trainer.is_global_zero:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
        if self.watcher is not None:
            self.watcher.kill()
            self.watcher.wait()
        self.watcher = self.memory = None

    def _first_cause(self) -> str | None:
        """Why another process failed, as it or a watcher left word."""
        end = time.monotonic() + SECONDS_TO_TELL
        while time.monotonic() < end:
            told = self.folder / "cause"
            failed = [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.failed"))]
            gone = [status for status in read_status(self.folder) if status["gone"]]
            if told.exists():
                return told.read_text()
            if failed:
                return "; ".join(f"rank {note['rank']} failed: {note['error']}" for note in failed)
            if gone:
                return "; ".join(f"{describe(status)}: it was killed" for status in gone)
            time.sleep(0.1)
        return None


def _is_of_connection(error: Exception) -> bool:
    """Whether an error says no more than that another process did not answer."""
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
