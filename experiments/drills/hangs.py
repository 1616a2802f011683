"""Stop a process, cut the network, launch wrongly: all must end, and say why (R6, R12).

The link is between network namespaces, for which this takes root and iproute2. Seconds are from the fault until no
process is left.

Usage: uv run python experiments/drills/hangs.py [--short]
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from launching import FIT, TIMEOUT, TORCHRUN, Drill, ip, on_host, print_table, two_hosts, wait, why_not_two_hosts

HERE = [*TORCHRUN, "--standalone", "--nproc-per-node=2", *FIT]
SCRIPT = [sys.executable, *FIT, "--trainer.devices", "2"]
LIMIT = TIMEOUT + 15

Row = tuple[str, str, bool]


def stopped(drill: Drill, what: str, command: list[str], rank: int) -> Row:
    """SIGSTOP one of two processes on this machine."""
    started = drill.start(*command)
    drill.wait_for_steps(5)
    first_of_script = command is SCRIPT and rank == 0
    os.kill(started.pid if first_of_script else drill.worker(rank), signal.SIGSTOP)
    return ended(drill, f"SIGSTOP of rank {rank} of 2, {what}", f"rank {rank} (process", [started])


def two_nodes(drill: Drill) -> list["subprocess.Popen[bytes]"]:
    """Start a process on each of the two hosts."""
    common = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-endpoint=nodea:29400", "--rdzv-id=d"]
    started = [
        drill.start(*on_host(h, *TORCHRUN, *common, "--rdzv-conf=read_timeout=10", *FIT)) for h in ("nodea", "nodeb")
    ]
    drill.wait_for_steps(5)
    return started


def stopped_alone(drill: Drill) -> Row:
    """SIGSTOP the only process of a node."""
    started = two_nodes(drill)
    os.kill(drill.worker(1), signal.SIGSTOP)
    return ended(drill, "SIGSTOP of the only process of a node", "rank 1 (process", started)


def cut(drill: Drill) -> Row:
    """Cut the link between two nodes."""
    started = two_nodes(drill)
    ip("-n", "nodeb", "link", "set", "vlnodeb", "down")
    return ended(drill, "link between two nodes cut", "visionlab: ", started)


def ended(drill: Drill, what: str, named: str, started: list["subprocess.Popen[bytes]"]) -> Row:
    """Wait until all have ended, with a failure."""
    try:
        seconds = wait(lambda: all(p.poll() is not None for p in started) and not drill.alive(), 120, drill.said)
    except TimeoutError:
        left = len(drill.alive())
        return what, f"{left} processes are left after 120 s", False
    statuses = [process.returncode for process in started]
    said = next((line for line in drill.said().splitlines() if named in line), "nothing")
    holds = drill.within(seconds, LIMIT) and all(statuses) and said != "nothing"
    return what, f"{seconds:.0f} s (limit {LIMIT}), exit {statuses}: {said}", holds


def misused(what: str, named: str, command: list[str], **environment: str) -> Callable[[Drill], Row]:
    """A launch that cannot work."""

    def run(drill: Drill) -> Row:
        process = drill.start(*command, **environment)
        try:
            seconds = wait(lambda: process.poll() is not None and not drill.alive(), 120, drill.said)
        except TimeoutError:
            return what, f"{len(drill.alive())} processes are left after 120 s", False
        said = next((line for line in drill.said().splitlines() if named in line), "nothing")
        return (
            what,
            f"{seconds:.0f} s, exit {process.returncode}: {said}",
            drill.within(seconds, 20) and bool(process.returncode) and said != "nothing",
        )

    return run


def main() -> int:
    """Run the drill; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="four of these; seconds are shown, not judged")
    options = parser.parse_args()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = str(taken.getsockname()[1])
    fit = [sys.executable, *FIT]
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    launches = [
        misused("WORLD_SIZE and LOCAL_RANK left behind", "unset LOCAL_RANK", fit, WORLD_SIZE="2", LOCAL_RANK="0"),
        misused("MASTER_PORT taken", "another process of this machine", fit, **env),
        misused("MASTER_PORT taken, started by script", "another process of this machine", SCRIPT, MASTER_PORT=port),
        misused("MASTER_PORT taken, torchrun", port, [*TORCHRUN, "--nproc-per-node=2", f"--master-port={port}", *FIT]),
        misused("unknown host", "MASTER_ADDR is nowhere.invalid", fit, **env | {"MASTER_ADDR": "nowhere.invalid"}),
        misused("no such interface", "GLOO_SOCKET_IFNAME is nope0", SCRIPT, GLOO_SOCKET_IFNAME="nope0"),
        misused("other devices than torchrun's", "torchrun started 2", [*HERE, "--trainer.devices=4"]),
    ]
    here = [
        lambda drill: stopped(drill, "torchrun", HERE, 1),
        lambda drill: stopped(drill, "torchrun", HERE, 0),
        lambda drill: stopped(drill, "started by script", SCRIPT, 1),
        lambda drill: stopped(drill, "started by script", SCRIPT, 0),
    ]
    apart: list[Callable[[Drill], Row]] = [cut, stopped_alone]
    if (reason := why_not_two_hosts()) is not None:
        print(f"skipped: two nodes: {reason}")
        apart = []
    if options.short:
        launches, here, apart = launches[:2], here[:1], apart[:1]
    rows = []
    for what in (*launches, *here, *apart):
        with tempfile.TemporaryDirectory() as folder:
            drill = Drill(Path(folder), judged=not options.short)
            try:
                if what in apart:
                    with two_hosts():
                        try:
                            rows.append(what(drill))
                        finally:
                            drill.stop()
                else:
                    rows.append(what(drill))
            except TimeoutError as error:
                rows.append(("start of the run", str(error), False))
            finally:
                drill.stop()
    taken.close()
    return print_table(rows)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    sys.exit(main())
