"""A small process beside each process of a run, which ends it when it hangs, and leaves word which one did.

The training process only counts, in memory that both share, each time it passes a boundary: a batch, a pass, a
checkpoint. Once a second its watcher writes the count into the run folder. It is a process, for a stopped one, or one
that waits in a driver, cannot watch itself; and it loads no torch.
"""

import contextlib
import json
import mmap
import os
import platform
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

PLACES = (
    "setting up",
    "in a forward pass",
    "in a backward pass",
    "loading a training batch",
    "in an evaluation step",
    "loading an evaluation batch",
    "finishing an epoch",
    "saving a checkpoint",
)
"""Where a process can be."""

RECORD = struct.Struct("<qqq")
"""What the two processes share: how many boundaries were passed, the optimizer step, and an index into PLACES."""

TICK = 0.25
"""Seconds between two looks."""

SECONDS_TO_NOTICE = 8
"""How long torchrun's agent, which looks ten times a second, may take to notice the end of its worker."""


def watch(shared: int, rank: int, parent: int, seconds: float, folder: Path) -> None:
    """Watch ``parent`` until it ends, or passes no boundary for ``seconds``: then it is killed, and torchrun's agent
    after it if that hangs too.

    Args:
        shared: the descriptor of the shared memory.
        rank: of the process, in the run.
        parent: its process number.
        seconds: how long it may take from one boundary to the next.
        folder: where the watchers of a run write.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # they are sent to whole groups, and mean the run
    agent = int(_stat(parent)[1]) if "TORCHELASTIC_RUN_ID" in os.environ else None
    memory = mmap.mmap(shared, RECORD.size, prot=mmap.PROT_READ)
    status: dict[str, Any] = {"rank": rank, "host": platform.node(), "process": parent, "gone": False}
    silent, passed, written, now = 0.0, -1, 0.0, time.monotonic()
    while True:
        time.sleep(TICK)
        # where the watcher was stopped too, as by Ctrl-Z, that time does not count
        before, now = now, time.monotonic()
        silent += min(now - before, 2 * TICK)
        count, step, place = RECORD.unpack(memory[: RECORD.size])
        if count != passed:
            passed, silent = count, 0.0
        ended = os.getppid() != parent
        if ended or silent > seconds or now - written >= 1:
            written = now
            at = {"count": count, "step": step, "place": PLACES[place], "silent": silent, "time": time.time()}
            status |= at | {"stopped": not ended and _is_stopped(parent), "gone": ended}
            with contextlib.suppress(OSError):  # a full disk, or a run that was discarded, is for the run to tell
                write_status(folder, status)
        if silent > seconds and not ended:
            tell(folder, verdict(read_status(folder) or [status], seconds))
            os.kill(parent, signal.SIGKILL)
            ended = True
        if ended:
            if agent is not None:
                end_stuck_agent(agent, parent)
            return


def write_status(folder: Path, status: dict[str, Any]) -> None:
    """Leave word of a process for the other watchers, over what was there: that spares a folder on a network two
    operations a second by each process.
    """
    with os.fdopen(os.open(folder / f"{status['rank']}.json", os.O_WRONLY | os.O_CREAT), "w") as file:
        file.write(json.dumps(status).ljust(300))


def read_status(folder: Path) -> list[dict[str, Any]]:
    """What the watchers wrote last, by rank."""
    found = []
    for path in folder.glob("*.json"):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, json.JSONDecodeError):  # being written
            continue
    return sorted(found, key=lambda status: int(status["rank"]))


def verdict(statuses: list[dict[str, Any]], seconds: float) -> str:
    """Which processes keep the others waiting: those that are gone or stopped; else those that are not heard of; else
    those that are behind the others.
    """
    newest = max(status["time"] for status in statuses)
    stopped = [status for status in statuses if status["stopped"] or status["gone"]]
    unheard = [status for status in statuses if newest - status["time"] > 10]
    least = min(status["count"] for status in statuses)
    behind = [status for status in statuses if status["count"] == least]
    blamed = stopped or unheard or behind
    if len(blamed) == len(statuses) and not stopped:
        ranks = ", ".join(f"rank {status['rank']} on {status['host']}" for status in statuses)
        return (
            f"all processes ({ranks}) wait for each other at step {blamed[0]['step']}, {blamed[0]['place']}, since "
            f"{seconds:.0f} s: is the network between them cut? They are ended"
        )
    return f"{'; '.join(map(describe, blamed))}. No process went on for {seconds:.0f} s: all are ended"


def describe(status: dict[str, Any]) -> str:
    """Which process it is, where it was last, and since when it has not moved."""
    since = status["silent"] + time.time() - status["time"]
    state = "is gone" if status["gone"] else "is stopped" if status["stopped"] else "hangs"
    return (
        f"rank {status['rank']} (process {status['process']} on {status['host']}) {state} at step {status['step']}, "
        f"{status['place']}, since {since:.0f} s"
    )


def tell(folder: Path, cause: str) -> None:
    """Say why the run ends, unless another process of it has."""
    try:
        with (folder / "cause").open("x") as file:
            file.write(cause)
    except FileExistsError:
        return
    except OSError:  # a full disk does not keep it from being said
        pass
    print(f"\nvisionlab: {cause}", file=sys.stderr, flush=True)


def end_stuck_agent(agent: int, worker: int) -> None:
    """Kill torchrun's agent if it takes no notice that its worker has ended: where the network is cut, torch 2.15's
    waits for ever for an answer of the store on another machine.
    """
    end = time.monotonic() + SECONDS_TO_NOTICE
    while _stat(worker)[1] == str(agent):
        if time.monotonic() > end:
            print(f"\nvisionlab: torchrun (process {agent}) hangs too, and is ended", file=sys.stderr, flush=True)
            os.kill(agent, signal.SIGKILL)
            return
        time.sleep(TICK)


def _is_stopped(process: int) -> bool:
    """Whether a process was stopped by a signal or a debugger."""
    return _stat(process)[0] in ("T", "t")


def _stat(process: int) -> list[str]:
    """The state of a process, the process that started it and more, as ``/proc`` has them; unknown where there is no
    such process, or no ``/proc``.
    """
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["?", "0"]


if __name__ == "__main__":
    shared, rank, parent, seconds, folder = sys.argv[1:]
    watch(int(shared), int(rank), int(parent), float(seconds), Path(folder))
