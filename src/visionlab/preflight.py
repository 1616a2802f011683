"""What can be seen to be wrong with how a process was launched, before anything heavy is imported.

Lightning waits silently, and for half an hour, for processes that never come.
"""

import ctypes
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping

RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher tells each process; beside torchrun, LOCAL_RANK is what Lightning knows one by."""

LAUNCHED_BY = "VISIONLAB_LAUNCHED_BY"
"""The process number of the run's first process, which starts the others on its machine."""

SECONDS_TO_RESOLVE = 10
"""How long a name server may take: some know a host only after it has started."""


def check_launch(*, continues: bool) -> None:
    """See that the environment is one that a launcher made, or that none did; and end with the process that started
    this one.

    Args:
        continues: whether the run is continued when it is started again.

    Raises:
        ValueError: names the variable that is wrong, and what it should be.
    """
    environment = os.environ
    if by_torchrun(environment):
        _end_with_parent()
        if int(environment.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
            if not continues:
                raise ValueError("torchrun --max-restarts starts the run again, from its first step: add --resume auto")
            # torch 2.15 reuses one store for all attempts: processes find the addresses of those that died
            if environment.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE") != "1":
                raise ValueError("torchrun --max-restarts needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 to start again")
    elif environment.get(LAUNCHED_BY) == str(os.getppid()):
        _end_with_parent()
        return  # its launcher was checked
    elif "SLURM_NTASKS" in environment:
        return
    elif environment.get(LAUNCHED_BY) != str(os.getpid()):
        _refuse_leftovers(environment)
        environment[LAUNCHED_BY] = str(os.getpid())
    if int(environment.get("WORLD_SIZE", "1")) > 1:
        check_network()


def check_processes(devices: int | str, nodes: int) -> tuple[int, int] | None:
    """See that the trainer wants the processes that torchrun started, and that they can meet.

    Args:
        devices: of the trainer, on each node; "auto" or -1 leaves them open.
        nodes: of the trainer; 1 leaves them open.

    Returns:
        The processes on each machine and the machines that torchrun started; None without torchrun.

    Raises:
        ValueError: if the trainer wants others; and as :func:`check_network`.
    """
    started = processes_of_launcher(os.environ)
    if started is not None:
        each, machines = started
        if str(devices) not in ("auto", "-1", str(each)) or nodes not in (1, machines):
            raise ValueError(
                f"torchrun started {each} processes on each of {machines} machines, but trainer.devices is {devices} "
                f"and trainer.num_nodes {nodes}: leave both out of the recipe"
            )
    elif str(devices).isdigit() and int(devices) * nodes > 1:
        check_network()
    return started


def check_network() -> None:
    """See that the processes of a run can meet where the environment says.

    Raises:
        ValueError: if the network interface or the host that it names is not there, or the port is taken.
    """
    names = [name for _, name in socket.if_nameindex()]
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        given = os.environ.get(variable, "")
        if given and not any(_matches(variable, given, name) for name in names):
            raise ValueError(f"{variable} is {given}, but this machine's network interfaces are {', '.join(names)}")
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if host is not None:
        _resolve(host)
    # under torchrun the agent may hold the port already, for its workers, and elsewhere the first process
    rank = next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), "0")
    hosts_store = rank == "0" == os.environ.get("NODE_RANK", "0")
    if port is not None and hosts_store and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        _refuse_taken(port)


def by_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process: one that lacks any of these was started by something else within it."""
    return {"TORCHELASTIC_RUN_ID", "TORCHELASTIC_MAX_RESTARTS", "LOCAL_WORLD_SIZE", "WORLD_SIZE"} <= environment.keys()


def processes_of_launcher(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The processes on each machine and the machines that torchrun started; None without torchrun."""
    if not by_torchrun(environment):
        return None
    each = int(environment["LOCAL_WORLD_SIZE"])
    return each, int(environment["WORLD_SIZE"]) // each


def _refuse_leftovers(environment: Mapping[str, str]) -> None:
    given = " ".join(name for name in RANKS if name in environment)
    missing = " ".join(name for name in RANKS[1:] if name not in environment)
    if missing and {"RANK", "LOCAL_RANK"} & environment.keys():
        raise ValueError(
            f"the environment has {given} as if a launcher had started this process, but lacks {missing}: "
            f"unset {given}, or start it by torchrun or srun"
        )


def _matches(variable: str, given: str, name: str) -> bool:
    """Whether a network interface is one that gloo (by name) or NCCL (by prefix) would take."""
    exact, excluded = given.startswith("="), given.startswith("^")
    wanted = given.lstrip("^=").split(",")
    if variable == "GLOO_SOCKET_IFNAME" or exact:
        return name in wanted
    return name.startswith(tuple(wanted)) != excluded


def _resolve(host: str) -> None:
    end = time.monotonic() + SECONDS_TO_RESOLVE
    while True:
        try:
            socket.getaddrinfo(host, None)
            return
        except socket.gaierror as error:
            if time.monotonic() > end:
                raise ValueError(f"MASTER_ADDR is {host}, a host that this machine does not know: {error}") from error
            time.sleep(0.5)


def _refuse_taken(port: str) -> None:
    try:
        with socket.socket() as here:
            here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch does: of a run that has just ended
            here.bind(("", int(port)))  # and no more: a process that is early would take this for the run's first one
    except (ValueError, OverflowError) as error:
        raise ValueError(f"MASTER_PORT is {port}: expected a port, 1 to 65535") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ValueError(f"MASTER_PORT is {port}, which another process of this machine holds: give another") from error


def _end_with_parent() -> None:
    """Ask the system to kill this process when the one that started it ends: else it waits on for the others."""
    if sys.platform == "linux":
        parent = os.getppid()
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it ended meanwhile
            os.kill(os.getpid(), signal.SIGKILL)
