"""What the drills with real launchers share: processes that are all found again, two hosts, and a table of results."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

RECIPE = """
model:
  class_path: visionlab.tasks.classification.Classification
  init_args:
    net: {class_path: stand_ins.TinyNet}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
data: {class_path: stand_ins.FewDigits, init_args: {batch_size: 8}}
save_every_n_steps: 5
trainer:
  accelerator: cpu
  strategy: {class_path: lightning.pytorch.strategies.DDPStrategy, init_args: {timeout: "0:00:30"}}
  max_epochs: 100
  log_every_n_steps: 5
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  logger: false
  callbacks:
  - {class_path: stand_ins.SlowSteps, init_args: {seconds: 0.1}}
  - {class_path: stand_ins.NoteImages, init_args: {path: noted}}
"""
TIMEOUT = 30
"""Seconds that the recipe lets a process keep the others waiting."""

FIT = ["-m", "visionlab", "fit", "--config", "drill.yaml"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


class Drill:
    """A folder to work in, and all processes that were started in it.

    Args:
        folder: an empty one.
        judged: whether more seconds than a limit are a failure; they are not where the machine may be busy.
    """

    def __init__(self, folder: Path, *, judged: bool) -> None:
        self.judged = judged
        self.folder, self.mark = folder, f"VISIONLAB_DRILL={uuid.uuid4().hex}"
        (folder / "drill.yaml").write_text(RECIPE)
        name, value = self.mark.split("=")
        # PYTHONDONTWRITEBYTECODE makes each start compile a thousand modules again
        left_out = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "PYTHONDONTWRITEBYTECODE")
        self.environment = {k: v for k, v in os.environ.items() if k not in left_out} | {
            name: value,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
            "OMP_NUM_THREADS": "1",
            "VISIONLAB_CACHE": str(folder / "cache"),
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
        self.logs: list[Path] = []

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a command; what it says is kept for :meth:`said`."""
        self.logs.append(self.folder / f"log{len(self.logs)}")
        with self.logs[-1].open("w") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def within(self, seconds: float, limit: float) -> bool:
        """Whether something was fast enough."""
        return seconds <= limit or not self.judged

    def said(self) -> str:
        """All that was said by all that was started."""
        return "".join(log.read_text(errors="replace") for log in self.logs)

    def alive(self) -> dict[int, dict[str, str]]:
        """The environments of all processes that descend from those started here, by process number."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                if self.mark in words:
                    found[int(folder.name)] = dict(word.split("=", 1) for word in words if "=" in word)
        return found

    def worker(self, rank: int) -> int:
        """The process number of a rank: of those with its environment, the one that is no watcher or loader."""
        ranks = [n for n, e in self.alive().items() if e.get("RANK", e.get("LOCAL_RANK")) == str(rank)]
        return min(n for n in ranks if b"visionlab" in Path(f"/proc/{n}/cmdline").read_bytes())

    def steps(self) -> int:
        """How many batches rank 0 has noted, of all attempts."""
        noted = self.folder / "noted.0"
        return noted.read_text().count("\n") if noted.exists() else 0

    def wait_for_steps(self, more: int, seconds: float = 300) -> float:
        """Wait until rank 0 has noted so many more batches; returns the seconds that took."""
        goal = self.steps() + more
        return wait(lambda: self.steps() >= goal, seconds, self.said)

    def seconds_to_import(self) -> float:
        """How long an interpreter takes to start here and now, with all that a run imports."""
        start = time.monotonic()
        command = [sys.executable, "-c", "import visionlab.experiment, stand_ins"]
        subprocess.run(command, env=self.environment, check=True, stderr=subprocess.DEVNULL)
        return time.monotonic() - start

    def stop(self) -> None:
        """Kill whatever is left."""
        while left := self.alive():
            for number in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.1)


def wait(condition: Callable[[], Any], seconds: float, explain: Callable[[], str]) -> float:
    """Wait until something is true; returns the seconds that took.

    Raises:
        TimeoutError: with the end of what ``explain`` gives.
    """
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"waited {seconds:.0f} s in vain\n{explain()[-3000:]}")
        time.sleep(0.05)
    return time.monotonic() - start


HOSTS = {"nodea": "10.77.0.1", "nodeb": "10.77.0.2"}


@contextlib.contextmanager
def two_hosts() -> Iterator[None]:
    """Two network namespaces with a cable between them, ``nodea`` and ``nodeb``, who know each other by name."""
    existed = Path("/etc/netns").exists()
    try:
        for name in HOSTS:
            ip("netns", "add", name)
            hosts = Path("/etc/netns") / name / "hosts"
            hosts.parent.mkdir(parents=True)
            hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{a} {n}\n" for n, a in HOSTS.items()))
        ip("link", "add", "vlnodea", "type", "veth", "peer", "name", "vlnodeb")
        for name, address in HOSTS.items():
            ip("link", "set", f"vl{name}", "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"vl{name}")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", f"vl{name}", "up")
        yield
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)
        if not existed:
            shutil.rmtree("/etc/netns", ignore_errors=True)


def ip(*words: str) -> None:
    """Run ``ip``."""
    subprocess.run(["ip", *words], check=True)


def on_host(name: str, *command: str) -> list[str]:
    """A command as it is run on one of the two hosts."""
    return ["ip", "netns", "exec", name, "unshare", "--uts", "bash", "-c", f'hostname {name}; exec "$@"', "-", *command]


def why_not_two_hosts() -> str | None:
    """Why this machine cannot have two hosts; None if it can."""
    if os.geteuid() != 0:
        return "it takes root"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "iproute2 or util-linux is not installed"
    try:
        with two_hosts():
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces cannot be made here: {error}"
    return None


def print_table(rows: list[tuple[str, str, bool]]) -> int:
    """Print what was tried, what was seen and whether it held; returns the exit status."""
    print("| what | seen | holds |\n|---|---|---|")
    for what, seen, holds in rows:
        print(f"| {what} | {seen} | {'yes' if holds else 'NO'} |")
    return 0 if all(holds for *_, holds in rows) else 1
