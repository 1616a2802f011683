"""Random numbers of which each image has its own, whatever the batch, the device and the number of processes."""

import math

import torch
from torch import Tensor


def uniform(seed: int, ids: Tensor, shape: tuple[int, ...], draw: int = 0) -> Tensor:
    """Random numbers that are a function of the seed, the image's id, the draw and the place alone.

    SplitMix64 (Steele, Lea and Flood 2014, figure 19, with Stafford's constants as in Java) in its counter-based form.

    Args:
        seed: any number.
        ids: ``(n,)`` ``int64``.
        shape: of the numbers of one image.
        draw: which draw it is, for those who need several.

    Returns:
        ``(n, *shape)`` ``float32``, uniform in [0, 1), on the device of the ids.
    """
    key = mix(mix(mix(torch.full_like(ids, seed)) + ids) + draw)
    places = torch.arange(1, math.prod(shape) + 1, device=ids.device) * -0x61C8864680B583EB  # 2**64 by the golden ratio
    bits = mix(key[:, None] + places)
    return (shift(bits, 40).to(torch.float32) / 2**24).view(len(ids), *shape)


def mix(z: Tensor) -> Tensor:
    """Scatter 64 bits; ``int64`` wraps around."""
    z = (z ^ shift(z, 30)) * -0x40A7B892E31B1A47
    z = (z ^ shift(z, 27)) * -0x6B2FB644ECCEEE15
    return z ^ shift(z, 31)


def shift(z: Tensor, bits: int) -> Tensor:
    """A shift to the right that brings in zeros, which torch has not."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
