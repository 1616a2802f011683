"""A real Slurm of two nodes on this machine, all of it on the loopback, and the processes that it starts."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

CONFIGURATION = """
ClusterName=drill
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
SlurmctldPort={ports[0]}
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=2,requeue_setup_env_fail
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=15
MinJobAge=86400
JobRequeue=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=2000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=600 State=UP OverSubscribe=NO
"""


def run(*words: str) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def cancel(job: str) -> None:
    """End a job at once, if it has not ended."""
    for how in (["--signal=KILL", "--full"], []):
        subprocess.run(("scancel", *how, job), capture_output=True, timeout=60)


def wait(what: str, seconds: float, reached: Callable[[], bool]) -> float:
    """Wait until something is reached; returns how many seconds it took."""
    begun = time.monotonic()
    while not reached():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - begun


class Cluster:
    """Two nodes, their controller and their munge, from ``with`` to its end.

    Raises:
        RuntimeError, TimeoutError: if they do not start here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except (RuntimeError, TimeoutError):
            self._end_daemons()
            raise
        return self

    def _start(self) -> None:
        folder = self.folder
        folder.chmod(0o755)
        for name in ("munge", "state"):
            (folder / name).mkdir()
        (folder / "munge" / "key").write_bytes(os.urandom(128))
        (folder / "munge" / "key").chmod(0o400)
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        text = CONFIGURATION.format(host=socket.gethostname(), folder=folder, ports=ports)
        (folder / "slurm.conf").write_text(text)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        munge = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "pid", "log", "seed")]
        run("/usr/sbin/munged", "--force", f"--socket={folder}/munge/socket", *munge)
        run("/usr/sbin/slurmctld", "-c", "-f", str(folder / "slurm.conf"))
        for node in ("n1", "n2"):
            self.start_node(node)
        wait("both nodes are idle", 60, lambda: run("sinfo", "-h", "-N", "-o", "%t").split() == ["idle", "idle"])

    def start_node(self, node: str) -> None:
        run("/usr/sbin/slurmd", "-f", str(self.folder / "slurm.conf"), "-N", node)

    def kill_node(self, node: str) -> None:
        """What a power cut does to a node: its daemon, its steps and their tasks are gone at once."""
        daemon = int((self.folder / f"slurmd.{node}.pid").read_text())
        victims = [daemon]
        for pid, words in processes():
            if words[0].startswith("slurmstepd") and node_of(pid) == node:
                victims += [pid, *descendants(pid)]
        for pid in victims:
            kill(pid)

    def __exit__(self, *exception: object) -> None:
        try:
            for job in run("squeue", "-h", "-o", "%A").split():
                cancel(job)
            wait("the queue is empty", 60, lambda: run("squeue", "-h") == "")
        finally:
            self._end_daemons()

    def _end_daemons(self) -> None:
        files = [self.folder / name for name in ("slurmctld.pid", "slurmd.n1.pid", "slurmd.n2.pid", "munge/pid")]
        daemons = [int(file.read_text()) for file in files if file.exists()]
        for daemon in daemons:
            kill(daemon, signal.SIGTERM)
        # one that has ended but was not yet waited for has no command line
        wait("the daemons are gone", 30, lambda: not [p for p, words in processes() if p in daemons and words[0]])


def processes() -> list[tuple[int, list[str]]]:
    """All processes: their numbers and their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            found.append((int(entry.name), words))
    return found


def environment(pid: int) -> dict[str, str]:
    """What a process found in its environment; nothing if it is gone."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in content.split("\0") if "=" in entry)


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    try:
        children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [each for child in children for each in descendants(child)]


def node_of(stepd: int) -> str | None:
    """The node of a step: its tasks know."""
    return next((n for p in descendants(stepd) if (n := environment(p).get("SLURMD_NODENAME"))), None)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def why_no_slurm() -> str | None:
    """Why this machine cannot have a Slurm of its own; None if it can."""
    if os.geteuid() != 0:
        return "it takes root"
    programs = ("slurmctld", "slurmd", "munged")
    missing = [name for name in programs if shutil.which(name, path="/usr/sbin:/usr/bin") is None]
    return f"not installed: {', '.join(missing)}" if missing else None
