"""What the processes of one run tell each other."""

import os
from typing import Any

import torch.distributed
from lightning_utilities.core.rank_zero import rank_zero_only


def place() -> tuple[int, int]:
    """The rank of this process among those that have met, and their number."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def gather(value: Any) -> list[Any]:
    """Collect one object from every process, on every process, by rank. Every process must call it. ``[value]`` where
    there is one.
    """
    _, number = place()
    if number == 1:
        return [value]
    values: list[Any] = [None] * number
    torch.distributed.all_gather_object(values, value)
    return values


def is_first() -> bool:
    """Whether this is the process that writes: rank 0, known even before the processes have met."""
    # Lightning sets the rank when it is imported, and takes the first process of every machine started by hand for 0
    return bool(rank_zero_only.rank == 0) and os.environ.get("NODE_RANK", "0") == "0"  # type: ignore[attr-defined]
