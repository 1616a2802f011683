"""What the processes of one run tell each other."""

from typing import Any

import torch.distributed
from lightning_utilities.core.rank_zero import rank_zero_only


def gather(value: Any) -> list[Any]:
    """Collect one object from every process, on every process, by rank. Every process must call it. ``[value]`` where
    there is one.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def is_first() -> bool:
    """Whether this is the process that writes: rank 0, known even before the processes have met."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]  # Lightning sets it when it is imported
