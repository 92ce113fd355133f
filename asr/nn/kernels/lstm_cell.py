"""One step of an LSTM's gates and cell, forward and backward, each in one pass over values that stay in the cache.

Arrays of uint16 hold bfloat16 (numpy has no such type); sums, gates and the cell are float32 in either case.
Each short loop writes one array, since the compiler gives up making vectors of a loop with many of them.
The logistic function is right to 3e-7; exp after the Cephes library's `expf` (Moshier 1992).
"""

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from asr.native import compiled

_F = np.float32
_LOG2_E = _F(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = _F(0.693359375), _F(-2.12194440e-4)
_LIMIT = _F(80)  # exp of more is no float32 for one over it
_EXP = tuple(
    _F(value) for value in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
)
_MANTISSA_BITS, _EXPONENT_BIAS = np.int32(23), _F(127)


@njit(inline="always")
def _exp(x: Any) -> Any:
    x = min(max(x, -_LIMIT), _LIMIT)
    power = np.floor(x * _LOG2_E + _F(0.5))
    rest = x - power * _LN2_HIGH
    rest = rest - power * _LN2_LOW
    series = _EXP[0] * rest + _EXP[1]
    series = series * rest + _EXP[2]
    series = series * rest + _EXP[3]
    series = series * rest + _EXP[4]
    series = series * rest + _EXP[5]
    series = series * rest * rest + rest + _F(1)
    bits = np.int32(power + _EXPONENT_BIAS) << _MANTISSA_BITS
    return series * np.int32(bits).view(np.float32)


@njit(inline="always")
def _sigmoid(x: Any) -> Any:
    return _F(1) / (_F(1) + _exp(-x))


@njit(inline="always")
def _tanh(x: Any) -> Any:
    return _F(2) * _sigmoid(_F(2) * x) - _F(1)


def _load(array: Any, k: int) -> Any:
    """Return array[k] as float32: a name for the compiler, which takes one of the two functions below for it."""
    raise NotImplementedError("only compiled code can call this")


@overload(_load, inline="always")
def _load_compiled(array: Any, k: int) -> Any:
    def whole(array: Any, k: int) -> Any:
        return array[k]

    def from_bfloat16(array: Any, k: int) -> Any:
        return np.uint32(np.uint32(array[k]) << np.uint32(16)).view(np.float32)

    return whole if array.dtype.bitwidth == 32 else from_bfloat16


def _rounded(array: Any, x: Any) -> Any:
    """Return float32 x as what array stores, rounded to the nearest even; a name for the compiler, as `_load`."""
    raise NotImplementedError("only compiled code can call this")


@overload(_rounded, inline="always")
def _rounded_compiled(array: Any, x: Any) -> Any:
    def whole(array: Any, x: Any) -> Any:
        return x

    def to_bfloat16(array: Any, x: Any) -> Any:
        bits = np.float32(x).view(np.uint32)
        return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    return whole if array.dtype.bitwidth == 32 else to_bfloat16


@compiled
def step_forward(gates: Any, from_past: Any, bias: Any, past_cell: Any, cell: Any, hidden: Any) -> None:
    """Turn gates (B, 4H: input, forget, cell input, output) from sums of the input into open gates; fill cell, hidden.

    Args: from_past (B, 4H) the recurrent product; bias (4H,); past_cell, cell (B, H) float32; hidden (B, H).
    """
    size = past_cell.shape[1]
    opened = np.empty(4 * size, np.float32)
    i, f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size : 3 * size], opened[3 * size :]
    for row in range(past_cell.shape[0]):
        gate, past, before, now, out = gates[row], from_past[row], past_cell[row], cell[row], hidden[row]
        for k in range(2 * size):
            opened[k] = _sigmoid(_load(gate, k) + _load(past, k) + bias[k])
        for k in range(2 * size, 3 * size):
            opened[k] = _tanh(_load(gate, k) + _load(past, k) + bias[k])
        for k in range(3 * size, 4 * size):
            opened[k] = _sigmoid(_load(gate, k) + _load(past, k) + bias[k])
        for k in range(size):
            now[k] = f[k] * before[k] + i[k] * g[k]
        for k in range(size):
            out[k] = _rounded(out, o[k] * _tanh(now[k]))
        for k in range(4 * size):
            gate[k] = _rounded(gate, opened[k])


@compiled
def step_backward(
    gates: Any, from_above: Any, from_future: Any, past_cell: Any, cell: Any, d_cell: Any, deltas: Any
) -> None:
    """Fill deltas (B, 4H), the gradient of the sums that opened the gates, and take d_cell (B, H) a step back.

    Args: from_above, from_future (B, H) the two gradients of the hidden values; the others as `step_forward` left them.
    """
    size = past_cell.shape[1]
    opened = np.empty(4 * size, np.float32)
    i, f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size : 3 * size], opened[3 * size :]
    d_hidden, squashed = np.empty(size, np.float32), np.empty(size, np.float32)
    for row in range(past_cell.shape[0]):
        gate, above, future = gates[row], from_above[row], from_future[row]
        before, now, d_now, delta = past_cell[row], cell[row], d_cell[row], deltas[row]
        for k in range(4 * size):
            opened[k] = _load(gate, k)
        for k in range(size):
            squashed[k] = _tanh(now[k])
        for k in range(size):
            d_hidden[k] = _load(above, k) + _load(future, k)
        for k in range(size):
            d_now[k] += d_hidden[k] * o[k] * (_F(1) - squashed[k] * squashed[k])
        d_i, d_f, d_g, d_o = delta[:size], delta[size : 2 * size], delta[2 * size : 3 * size], delta[3 * size :]
        for k in range(size):
            d_i[k] = _rounded(d_i, d_now[k] * g[k] * i[k] * (_F(1) - i[k]))
        for k in range(size):
            d_f[k] = _rounded(d_f, d_now[k] * before[k] * f[k] * (_F(1) - f[k]))
        for k in range(size):
            d_g[k] = _rounded(d_g, d_now[k] * i[k] * (_F(1) - g[k] * g[k]))
        for k in range(size):
            d_o[k] = _rounded(d_o, d_hidden[k] * squashed[k] * o[k] * (_F(1) - o[k]))
        for k in range(size):
            d_now[k] *= f[k]
