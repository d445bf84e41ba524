"""Random numbers as functions of a counter: for many images at once, on any device, in any order."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def uniform(seed: int, positions: Int64[Tensor, " P"], number: int) -> Float[Tensor, "P {number}"]:
    """`number` numbers in [0, 1) for each position, `(P, number)` of float32 on the positions' device.

    Each is a function of (seed, position, column) alone, whatever the others are and wherever it is computed:
    SplitMix64's finaliser (Steele, Lea and Flood, 2014) of a counter, in integers that wrap.
    """
    columns = torch.arange(number, device=positions.device)
    value = (positions[:, None] * number + columns + 1) * _signed(0x9E3779B97F4A7C15) + _signed(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ _shifted(value, shift)) * _signed(factor)
    value = value ^ _shifted(value, 31)
    return _shifted(value, 40).float() / 2**24


def _signed(value: int) -> int:
    """The 64 bits of an unsigned number as a signed one."""
    return (value + 2**63) % 2**64 - 2**63


def _shifted(value: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (value >> bits) & (2 ** (64 - bits) - 1)
