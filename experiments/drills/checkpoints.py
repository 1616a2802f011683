"""Kill runs while they save, with temporary files on the same disk and on another, and fill their disk (R8, R9).

As root, for it mounts small disks.

Usage: uv run python experiments/drills/checkpoints.py [--count 100]
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))


def kills(folder: Path, count: int, environment: dict[str, str]) -> tuple[int, str]:
    """Kill ``count`` times while saving; how many left a bad checkpoint, and a note."""
    draw, target = random.Random(0), folder / "checkpoints" / "last.ckpt"
    steps, bad = set(), 0
    for _ in range(count):
        try:
            steps.add(kill_while_saving(target, draw, environment))
        except AssertionError:
            bad += 1
    left = [p.name for p in target.parent.iterdir() if p.name != "last.ckpt"]
    return bad, f"{len(steps)} different checkpoints; beside it lies {left or 'nothing'}"


def full(small: Path, recipe: Path, count: int, environment: dict[str, str], log: Path) -> tuple[int, str]:
    """Fill the disk ``count`` times at a random step; how often a run was lost, and a note."""
    draw, bad = random.Random(0), 0
    common = ["fit", "--config", str(recipe), "--trainer.logger", "false", "--runs", str(small)]
    for number in range(count):
        step = draw.randrange(8, 70)
        filler = f"{{class_path: stand_ins.FillsAt, init_args: {{step: {step}, path: {small / 'more'}}}}}"
        run = small / "tiny" / str(number)

        def fit(*words: str) -> int:
            with log.open("a") as file:  # in the child only
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            return visionlab([*common, *words])

        filled = in_child(lambda f=filler: fit("--save_every_n_steps", "7", "--trainer.callbacks+", f), environment)
        status = wait_for(filled)
        (small / "more").unlink()
        spared = all(is_whole(path) for path in (run / "checkpoints").glob("*.ckpt")) and run.is_dir()
        goes_on = wait_for(in_child(lambda r=run: fit("--resume", str(r)), environment)) == 0
        bad += not (status == 1 and spared and goes_on)
        subprocess.run(["rm", "-r", str(run / "checkpoints")], check=True)
    return bad, "status 1, no bad file, and each went on when there was room again" if not bad else "see above"


def main() -> int:
    """Run the drill; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="kills of each kind; a tenth as many full disks")
    count = parser.parse_args().count
    fills, bad_at_all = max(1, count // 10), 0
    print("| fault | temporary files | times | bad | | seconds |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        recipe = folder / "tiny.yaml"
        recipe.write_text(RECIPE)
        temporary = stack.enter_context(disk(folder / "temporary", 20_000))
        small = stack.enter_context(disk(folder / "small", 4_000))
        for fault, where, environment in [
            ("SIGKILL while saving", "same disk", {"TMPDIR": str(folder)}),
            ("SIGKILL while saving", "another disk", {"TMPDIR": str(temporary)}),
            ("disk full", "same disk", {"TMPDIR": str(small)}),
            ("disk full", "another disk", {"TMPDIR": str(temporary)}),
        ]:
            start = time.monotonic()
            if fault == "disk full":
                with tempfile.TemporaryDirectory(dir=small) as runs:
                    bad, note = full(Path(runs), recipe, fills, environment, folder / "log")
                times = fills
            else:
                bad, note = kills(folder / where.replace(" ", "_"), count, environment)
                times = count
            bad_at_all += bad
            print(f"| {fault} | {where} | {times} | {bad} | {note} | {time.monotonic() - start:.0f} |", flush=True)
    return 1 if bad_at_all else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("skipped: only root may mount small disks")
        sys.exit(0)
    from conftest import RECIPE, in_child, wait_for
    from saving import disk, kill_while_saving
    from visionlab.cli import main as visionlab
    from visionlab.run import is_whole

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started and mounted is ended
    sys.exit(main())
