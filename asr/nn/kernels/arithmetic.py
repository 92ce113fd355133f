"""Numbers inside the kernels: bfloat16 in and out of memory, and the functions that gates are made of.

Arrays of uint16 hold bfloat16 (numpy has no such type); what is computed is float32 in either case.
The logistic function is right to 3e-7; exp and log after the Cephes library's `expf` and `logf` (Moshier 1992).
"""

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

f32 = np.float32
_LOG2_E = f32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = f32(0.693359375), f32(-2.12194440e-4)
_LIMIT = f32(80)  # exp of more is no float32 for one over it
_EXP = tuple(
    f32(value) for value in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
)
_MANTISSA_BITS, _EXPONENT_BIAS = np.int32(23), f32(127)
_SQRT_2 = f32(1.4142135623730951)
_LOG = tuple(
    f32(value)
    for value in (
        *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
        *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
    )
)


@njit(inline="always")
def exp(x: Any) -> Any:
    x = min(max(x, -_LIMIT), _LIMIT)
    power = np.floor(x * _LOG2_E + f32(0.5))
    rest = x - power * _LN2_HIGH
    rest = rest - power * _LN2_LOW
    series = _EXP[0] * rest + _EXP[1]
    series = series * rest + _EXP[2]
    series = series * rest + _EXP[3]
    series = series * rest + _EXP[4]
    series = series * rest + _EXP[5]
    series = series * rest * rest + rest + f32(1)
    bits = np.int32(power + _EXPONENT_BIAS) << _MANTISSA_BITS
    return series * np.int32(bits).view(np.float32)


@njit(inline="always")
def sigmoid(x: Any) -> Any:
    return f32(1) / (f32(1) + exp(-x))


@njit(inline="always")
def tanh(x: Any) -> Any:
    return f32(2) * sigmoid(f32(2) * x) - f32(1)


@njit(inline="always")
def relu(x: Any) -> Any:
    return f32(0) if x < f32(0) else x  # not max, which may lose a NaN


@njit(inline="always")
def log_sigmoid(x: Any) -> Any:
    ratio = f32(1) + exp(-abs(x))  # from 1 to 2
    halved = ratio > _SQRT_2
    rest = (f32(0.5) * ratio if halved else ratio) - f32(1)
    series = _LOG[0] * rest + _LOG[1]
    series = series * rest + _LOG[2]
    series = series * rest + _LOG[3]
    series = series * rest + _LOG[4]
    series = series * rest + _LOG[5]
    series = series * rest + _LOG[6]
    series = series * rest + _LOG[7]
    series = series * rest + _LOG[8]
    log = rest + (series * rest - f32(0.5)) * rest * rest
    return min(x, f32(0)) - (log + (_LN2_HIGH + _LN2_LOW if halved else f32(0)))


def load(array: Any, k: int) -> Any:
    """Return array[k] as float32: a name for the compiler, which takes one of the two functions below for it."""
    raise NotImplementedError("only compiled code can call this")


@overload(load, inline="always")
def _load_compiled(array: Any, k: int) -> Any:
    def whole(array: Any, k: int) -> Any:
        return array[k]

    def from_bfloat16(array: Any, k: int) -> Any:
        return np.uint32(np.uint32(array[k]) << np.uint32(16)).view(np.float32)

    return whole if array.dtype.bitwidth == 32 else from_bfloat16


def rounded(array: Any, x: Any) -> Any:
    """Return float32 x as what array stores, rounded to the nearest even; a name for the compiler, as `load`."""
    raise NotImplementedError("only compiled code can call this")


@overload(rounded, inline="always")
def _rounded_compiled(array: Any, x: Any) -> Any:
    def whole(array: Any, x: Any) -> Any:
        return x

    def to_bfloat16(array: Any, x: Any) -> Any:
        bits = np.float32(x).view(np.uint32)
        return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    return whole if array.dtype.bitwidth == 32 else to_bfloat16


@njit(fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
def multiply(rows: Any, matrix: Any, products: Any) -> None:
    """Fill products (N, M) with those of rows (N, K) and a matrix (M, K), which is read as it lies; N is small.

    Four sums at once read a row's values a quarter as often, and add the ends of their vectors together.
    """
    for row in range(rows.shape[0]):
        vector, out = rows[row], products[row]
        whole = matrix.shape[0] - matrix.shape[0] % 4
        for m in range(0, whole, 4):
            p, q, r, s = matrix[m], matrix[m + 1], matrix[m + 2], matrix[m + 3]
            a, b, c, d = f32(0), f32(0), f32(0), f32(0)
            for k in range(matrix.shape[1]):
                value = load(vector, k)
                a += value * load(p, k)
                b += value * load(q, k)
                c += value * load(r, k)
                d += value * load(s, k)
            out[m], out[m + 1] = rounded(out, a), rounded(out, b)
            out[m + 2], out[m + 3] = rounded(out, c), rounded(out, d)
        for m in range(whole, matrix.shape[0]):
            p, a = matrix[m], f32(0)
            for k in range(matrix.shape[1]):
                a += load(vector, k) * load(p, k)
            out[m] = rounded(out, a)
