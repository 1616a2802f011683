"""What Slurm says about the job that this process is part of, what can be wrong with how it was started, and how it is
queued again.
"""

import contextlib
import os
import re
import socket
import subprocess
import threading
from typing import Any

SECONDS_TO_RESOLVE = 10
"""How long a host may take to be found by its name."""


def job() -> str | None:
    """The number of the job, the same after it was requeued; None outside Slurm, and in an interactive shell within it,
    where programs are started by hand.
    """
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):  # the names by which Lightning tells them
        return None
    return os.environ.get("SLURM_JOB_ID")


def check_launch() -> None:
    """See that every task of the job runs this program, and finds the first of them.

    Raises:
        ValueError: if the job has several tasks and ``srun`` was not used, if it does not say how many tasks a node
            has, or if the host where the processes meet has no address.
    """
    if job() is None or "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun brings its own processes
        return
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    if tasks == 1:
        return
    if "SLURM_STEP_ID" not in os.environ:
        raise ValueError(
            f"this Slurm job has {tasks} tasks, and visionlab runs in one of them only: put srun before it"
        )
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        raise ValueError(
            f"this Slurm job has --ntasks={tasks}, which leaves open how many a node gets: give "
            f"--nodes={nodes} --ntasks-per-node={-(-tasks // nodes)}"
        )
    host = os.environ.get("MASTER_ADDR") or first_host(os.environ["SLURM_JOB_NODELIST"])
    if not _resolves(host):
        origin = "MASTER_ADDR" if "MASTER_ADDR" in os.environ else "the first of the job's nodes"
        raise ValueError(
            f"the host {host} ({origin}), where the processes are to meet, has no address on "
            f"{socket.gethostname()}: set MASTER_ADDR to a name or address of the job's first node"
        )


def check_tasks(devices: int, nodes: int) -> None:
    """See that Slurm started one task a device.

    Args:
        devices: of the trainer, on each node.
        nodes: of the trainer.

    Raises:
        ValueError: if it started more or fewer.
    """
    if job() is None or "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_NTASKS" not in os.environ:
        return
    tasks, hosts = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
    if tasks != devices * nodes or hosts != nodes:
        raise ValueError(
            f"the trainer wants {devices} tasks on each of {nodes} nodes, but Slurm started {tasks} on {hosts}: "
            f"give Slurm --nodes={nodes} --ntasks-per-node={devices}, or visionlab --trainer.num_nodes {hosts} "
            f"--trainer.devices {-(-tasks // hosts)}"
        )


def first_host(nodes: str) -> str:
    """The first name of a list of hosts as Slurm writes it: ``n[07-09,12],m3`` begins with ``n07``."""
    return re.sub(r"\[([^,\]-]+)[^\]]*\]", r"\1", nodes).split(",")[0]


def requeue() -> str | None:
    """Put the job back into the queue, which soon ends all its tasks.

    Returns:
        What went wrong; None if nothing did.
    """
    try:
        subprocess.run(
            ("scontrol", "requeue", os.environ["SLURM_JOB_ID"]), check=True, capture_output=True, text=True, timeout=30
        )
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip() or f"scontrol ended with status {error.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


def _resolves(host: str) -> bool:
    """Whether a host has an address, found out in bounded time: a resolver may try for minutes."""
    found: list[Any] = []

    def resolve() -> None:
        with contextlib.suppress(OSError):
            found.extend(socket.getaddrinfo(host, None))

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_RESOLVE)
    return bool(found)
