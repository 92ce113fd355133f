"""Random numbers that depend on nothing but a seed and a position: SplitMix64 as a counter-based generator.

The same numbers come out on CPU and GPU, for a row alone and in any batch.
Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", the mixing function.
"""

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_FLOAT_BITS = 24


def uniform(seeds: Tensor, stream: int, count: int) -> Tensor:
    """Return (B, count) float32 numbers in [0, 1).

    Args:
        seeds: (B,) int64, one an utterance.
        stream: which use of the seed this is; different streams are independent.
        count: how many numbers; the first n are the same for every count >= n.
    """
    start = _mix(seeds + _wrapped((stream + 1) * _GOLDEN))
    positions = torch.arange(1, count + 1, device=seeds.device, dtype=torch.int64) * _GOLDEN
    bits = _shift(_mix(start[:, None] + positions), 64 - _FLOAT_BITS)
    return bits.to(torch.float32) * 2.0**-_FLOAT_BITS


def normal(seeds: Tensor, stream: int, count: int) -> Tensor:
    """Return (B, count) float32 numbers of the standard normal distribution (Box & Muller 1958)."""
    radius = torch.sqrt(-2 * torch.log1p(-uniform(seeds, stream, count)))
    return radius * torch.cos(2 * math.pi * uniform(seeds, ~stream, count))


def _mix(values: Tensor) -> Tensor:
    values = (values ^ _shift(values, 30)) * _MIX_1
    values = (values ^ _shift(values, 27)) * _MIX_2
    return values ^ _shift(values, 31)


def _wrapped(value: int) -> int:
    """Return a Python integer as int64 arithmetic would leave it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _shift(values: Tensor, bits: int) -> Tensor:
    """Shift right without copying the sign bit."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
