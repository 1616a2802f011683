"""A file that one process at a time may hold, over all machines that share its folder."""

import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_TRIES = 0.2

_held: set[int] = set()


class Lock:
    """Holds a file until it is released or the process ends, however it ends: the kernel sees to that.

    What this process starts does not hold it: a loader's process that is left behind would keep it for ever. So neither
    do the processes of ``ddp_fork`` and ``ddp_spawn``, whose launcher does.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = None

    def take(self, path: Path, seconds: float = 0) -> bool:
        """Take the file.

        Args:
            path: of the file, which is made if need be, and never deleted: another process could then hold another.
            seconds: how long to wait for who holds it.

        Returns:
            Whether it is held by this process; True too where the filesystem knows no locks.
        """
        assert self.descriptor is None
        self.descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT, 0o666
        )  # some network filesystems lock written files only
        _held.add(self.descriptor)
        end = time.monotonic() + seconds
        while not _try(self.descriptor):
            if time.monotonic() >= end:
                self.release()
                return False
            time.sleep(SECONDS_BETWEEN_TRIES)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps({"host": platform.node(), "process": os.getpid()}).encode(), 0)
        return True

    def release(self) -> None:
        """Let others have it."""
        if self.descriptor in _held:  # not in a process that was forked meanwhile, which has let go of it
            _held.remove(self.descriptor)
            os.close(self.descriptor)
        self.descriptor = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *error: Any) -> None:
        self.release()


def holder(path: Path) -> str:
    """Which process took the file last, in words."""
    who = _read(path)
    return f"process {who['process']} on {who['host']}" if who else "another process"


def held_elsewhere(path: Path) -> bool:
    """Whether the process that took the file last is of another machine, which may be gone: NFS 3 keeps its locks."""
    who = _read(path)
    return who is not None and who["host"] != platform.node()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        who = json.loads(path.read_text())
        return {key: who[key] for key in ("process", "host")}
    except (OSError, ValueError, TypeError, KeyError):  # it has only begun to write that
        return None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return True


def _let_go() -> None:
    """In a process that was forked: close its copies, which leaves the file to the process that took it."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
