"""What the processes of one run tell each other."""

from typing import Any

import torch.distributed


def gather(value: Any) -> list[Any]:
    """Collect one object from every process, on every process, by rank. Every process must call it. ``[value]`` where there is one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
