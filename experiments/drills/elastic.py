"""Kill workers under torchrun, and lose a node and get it back (R4, R5).

The nodes are network namespaces, for which this takes root and iproute2. Seconds are from the fault, or the return of
the node, to the first training step after it, the start of the interpreter and all imports included.

Usage: uv run python experiments/drills/elastic.py [--count 5] [--short]
"""

import argparse
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from launching import FIT, TORCHRUN, Drill, on_host, print_table, two_hosts, wait, why_not_two_hosts

SAVED_EVERY, EPOCH = 5, 18
ELASTIC = [
    "--nnodes=1:2",
    "--nproc-per-node=1",
    "--max-restarts=9",
    "--rdzv-backend=c10d",
    "--rdzv-endpoint=nodea:29400",
    "--rdzv-id=drill",
    "--rdzv-conf=last_call_timeout=3",
]


def positions(drill: Drill) -> list[int]:
    """The global batches that rank 0 trained on, in the order of time."""
    lines = (drill.folder / "noted.0").read_text().splitlines()
    return [EPOCH * int(epoch) + int(batch) for epoch, batch, *_ in map(str.split, lines)]


def redone(drill: Drill) -> list[int]:
    """How many batches were done again after each interruption; one that began anew would have done them all."""
    at = positions(drill)
    return [before + 1 - now for before, now in itertools.pairwise(at) if now != before + 1]


def kill_workers(drill: Drill, count: int) -> list[tuple[str, str, bool]]:
    """SIGKILL a random rank of two, again and again."""
    draw, rows = random.Random(0), [("interpreter and imports alone", f"{drill.seconds_to_import():.0f} s", True)]
    restarts = f"--max-restarts={count}"
    drill.start(*TORCHRUN, "--standalone", "--nproc-per-node=2", restarts, *FIT, "--resume", "auto")
    drill.wait_for_steps(draw.randint(SAVED_EVERY + 1, 20))
    for _ in range(count):
        rank = draw.randrange(2)
        os.kill(drill.worker(rank), signal.SIGKILL)
        seconds = drill.wait_for_steps(1)
        seen = f"training again after {seconds:.0f} s"
        rows.append((f"rank {rank} of 2 killed under torchrun", seen, drill.within(seconds, 30)))
        drill.wait_for_steps(draw.randint(SAVED_EVERY + 1, 20))
    again = redone(drill)
    held = len(again) <= count and max(again, default=0) <= SAVED_EVERY + 1
    rows.append(("steps done again", f"{again}, saved every {SAVED_EVERY}", held))
    return rows


def lose_a_node(drill: Drill, count: int) -> list[tuple[str, str, bool]]:
    """Kill all that runs on one of two nodes, and start it again."""
    rows = []

    def join(host: str) -> None:
        drill.start(*on_host(host, *TORCHRUN, *ELASTIC, *FIT, "--resume", "auto"))

    def worlds() -> set[str]:
        return {e["WORLD_SIZE"] for e in drill.alive().values() if "LOCAL_RANK" in e}

    join("nodea")
    join("nodeb")
    drill.wait_for_steps(10)
    assert worlds() == {"2"}, worlds()
    for _ in range(count):
        for number in drill.alive():
            with contextlib.suppress(ProcessLookupError):
                if on_which(number) == "nodeb":
                    os.kill(number, signal.SIGKILL)
        before = drill.steps()
        seconds = wait(lambda b=before: worlds() == {"1"} and drill.steps() > b, 300, drill.said)
        rows.append(("one of two nodes lost", f"one goes on after {seconds:.0f} s", drill.within(seconds, 30)))
        drill.wait_for_steps(10)
        join("nodeb")
        seconds = wait(lambda: worlds() == {"2"}, 300, drill.said)
        seconds += drill.wait_for_steps(1)
        rows.append(("the node is back", f"two go on after {seconds:.0f} s", drill.within(seconds, 30)))
        drill.wait_for_steps(10)
    again = redone(drill)
    rows.append(("steps done again", f"{again}, saved every {SAVED_EVERY}", max(again, default=0) <= SAVED_EVERY + 1))
    said = drill.said()
    constant = said.count("so that 16 stay a global batch")
    rows.append(("the global batch stays", f"said {constant} times", constant >= count))
    return rows


def on_which(number: int) -> str:
    """The host that a process runs on.

    Raises:
        ProcessLookupError: if it has ended.
    """
    try:
        inode = Path(f"/proc/{number}/ns/net").stat().st_ino
    except FileNotFoundError as error:
        raise ProcessLookupError(number) from error
    hosts = [name for name in ("nodea", "nodeb") if Path(f"/run/netns/{name}").stat().st_ino == inode]
    return hosts[0] if hosts else "neither"


def main() -> int:
    """Run the drill; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5, help="workers killed, and nodes lost")
    parser.add_argument("--short", action="store_true", help="one of each; seconds are shown, not judged")
    options = parser.parse_args()
    count = 1 if options.short else options.count
    rows = []
    for what in (kill_workers, lose_a_node):
        if what is lose_a_node and (reason := why_not_two_hosts()) is not None:
            print(f"skipped: {what.__name__}: {reason}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            drill = Drill(Path(folder), judged=not options.short)
            try:
                if what is lose_a_node:
                    with two_hosts():
                        try:
                            rows += what(drill, count)
                        finally:
                            drill.stop()
                else:
                    rows += what(drill, count)
            except TimeoutError as error:
                rows.append((what.__name__, str(error), False))
            finally:
                drill.stop()
    return print_table(rows)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    sys.exit(main())
