"""Weights & Biases, without ever waiting long for it. Loads no torch, so that runs can be sent from a login node."""

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # where its server is away, it holds the exit up for 20 s

SECONDS_TO_WAIT = 9
"""How long a W&B server may keep a run from starting, and from ending: with the rest of it, 10 s."""

SECONDS_TO_LOSE = 1
"""How much of an offline file a kill may lose; by default it is 15."""


def key_is_configured() -> bool:
    """Whether W&B would find an API key, in the environment or where ``wandb login`` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    host = urlsplit(server()).hostname
    try:
        return path.exists() and host is not None and netrc.netrc(path).authenticators(host) is not None
    except netrc.NetrcParseError:
        return False


def server() -> str:
    """The address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def begin(folder: Path, run_id: str, name: str, config: dict[str, Any], mode: Any, **settings: Any) -> wandb.Run:
    """Start a W&B run, or go on with the one of this id, with the number of optimizer steps as the x-axis.

    Args:
        folder: in which W&B makes ``wandb/``.
        run_id: of W&B.
        name: shown by W&B.
        config: the resolved configuration.
        mode: ``online`` or ``offline``, or another of W&B's.
        settings: more of W&B's settings.

    Raises:
        wandb.Error: if the server does not answer within :data:`SECONDS_TO_WAIT`.
    """
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "visionlab"),
        dir=folder,
        id=run_id,
        name=name,
        config=config,
        resume="allow",
        mode=mode,
        settings=wandb.Settings(
            init_timeout=SECONDS_TO_WAIT,
            console="off",
            silent=True,
            x_disable_stats=True,
            x_transaction_log_flush_interval=SECONDS_TO_LOSE,
            **{"finish_timeout": SECONDS_TO_WAIT, **settings},
        ),
    )
    # W&B drops what is logged below its own step; our step is logged as a value, and is the x-axis
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return run
