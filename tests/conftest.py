import os

# bits depend on the number of threads, and a process that forks after OpenMP used two of them deadlocks its child
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "offline"

import functools
import pkgutil
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb.sdk.launch.inputs.internal  # noqa: F401  # before any fork, for wandb.init imports it, which takes seconds
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from matplotlib.backends.backend_agg import FigureCanvasAgg

import stand_ins  # noqa: F401  # likewise
import visionlab.cli.fit  # likewise
import visionlab.experiment  # noqa: F401
from visionlab.cli import main
from visionlab.cli.data import read_card

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Small real data that lies beside the repository on some machines; tests that want it are skipped elsewhere."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real samples is not here")
    return folder


@pytest.fixture(scope="session")
def twins(tmp_path_factory) -> Callable[..., Path]:
    """Gives the twin of a data set, written at most once: not to be changed, but copied."""

    @functools.cache
    def twin(name: str, images: int = 24, seed: int = 0) -> Path:
        root = tmp_path_factory.mktemp("twin") / name
        pkgutil.resolve_name(str(read_card(name).make))(root, images, seed)
        return root

    return twin


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Each test works in a folder of its own, keeps no index elsewhere, and leaves the environment's seed as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")


@pytest.fixture(autouse=True)
def _blank_figures(request, monkeypatch):
    """Figures stay white but in tests of pictures, and slow ones: matplotlib would take half of the time of others."""
    if "pictures" not in request.path.as_posix() and request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(FigureCanvasAgg, "draw", FigureCanvasAgg.get_renderer)


RECIPE = """
model:
  class_path: visionlab.tasks.classification.Classification
  init_args:
    net: {class_path: stand_ins.TinyNet}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
    lr_schedulers:
    - {scheduler: {class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: 72}}, interval: step}
data: {class_path: stand_ins.FewDigits}
trainer:
  max_epochs: 4
  accelerator: cpu
  devices: 1
  log_every_n_steps: 5
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
"""


@pytest.fixture
def recipe() -> Path:
    """A recipe of 4 epochs of 18 steps, which take half a second."""
    path = Path("tiny.yaml")
    path.write_text(RECIPE)
    return path


def in_child(function: Callable[[], int], environment: dict[str, str] | None = None) -> int:
    """Fork, run ``function`` in the child, and return the child's process number. A fork starts at once; an interpreter
    takes ten seconds.

    The child exits with the status that ``function`` returns.
    """
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.environ.update(environment or {})
            status = function()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def wait_for(child: int, seconds: float = 60) -> int:
    """The exit status of a child; the negative number of the signal that killed it. It is killed itself when it takes
    too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError(f"the child took more than {seconds} s")


def by_rank(function: Callable[[int], Any], world: int) -> list[Any]:
    """What ``function`` gives for each rank, in ``world`` forked processes of one gloo group."""
    folder = Path(tempfile.mkdtemp())

    def as_rank(rank: int) -> int:
        store = torch.distributed.FileStore(str(folder / "store"), world)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
        torch.save(function(rank), folder / f"{rank}.pt")
        torch.distributed.destroy_process_group()
        return 0

    children = [in_child(functools.partial(as_rank, rank), {"GLOO_SOCKET_IFNAME": "lo"}) for rank in range(world)]
    assert [wait_for(child) for child in children] == [0] * world
    results = [torch.load(folder / f"{rank}.pt") for rank in range(world)]
    shutil.rmtree(folder)
    return results


def in_processes(function: Callable[[], int], world: int) -> list[int]:
    """Run ``function`` in ``world`` forked processes that find each other as one distributed run; returns their exit
    statuses."""
    return [wait_for(child, 120) for child in start_processes(function, world)]


def start_processes(function: Callable[[], int], world: int) -> list[int]:
    """As :func:`in_processes`, and returns their process numbers at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world), "NODE_RANK": "0"}

    def start(rank: int) -> int:
        def as_rank() -> int:
            rank_zero_only.rank = rank  # Lightning read it when it was imported
            return function()

        return in_child(as_rank, {**common, "LOCAL_RANK": str(rank), "RANK": str(rank)})

    return [start(rank) for rank in range(world)]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The run folder of ``RECIPE`` after two epochs and the closing test. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(RECIPE)
    short = ["--trainer.max_epochs", "2", "--trainer.logger", "false", "--runs", str(folder)]
    assert main(["fit", "--config", str(folder / "tiny.yaml"), *short]) == 0
    return folder / "tiny" / "0"
