"""SIGKILL a random process at a random step or in a validation, continue, and compare with a run that nothing
interrupted (R1, R2).

Rows with one number of processes want weights, logged numbers and images to be equal, bit by bit; those in which it
changes want each global batch to have the same images, each once.

Usage: uv run python experiments/drills/kills.py [--count 100]
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from kills import SAVED_EVERY, Kills

# processes, processes that continue, loader processes of each; the share of the kills
CASES = [((1, 1, 0), 4), ((1, 1, 2), 4), ((2, 2, 0), 4), ((2, 2, 2), 4), ((1, 2, 0), 2), ((2, 1, 2), 2)]


def main() -> int:
    """Run the drill; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shares = sum(share for _, share in CASES)
    good = True
    print(
        "| processes | workers | kills | equal | redone steps, at most | seconds |\n|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        for number, ((world, then, workers), share) in enumerate(CASES):
            count, start = max(1, round(options.count * share / shares)), time.monotonic()
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                kills = Kills(Path(folder) / str(number), world, then, workers, options.seed)
                outcomes = [kills.kill_and_continue() for _ in range(count)]
            equal, redone = sum(o.equal for o in outcomes), [o.redone for o in outcomes]
            good &= equal == count and max(redone) <= SAVED_EVERY
            row = (f"{world} to {then}", workers, count, equal, max(redone), time.monotonic() - start)
            print("| {} | {} | {} | {} | {} | {:.0f} |".format(*row), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started and mounted is ended
    sys.exit(main())
