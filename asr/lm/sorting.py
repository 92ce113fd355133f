"""Sorted numbers in compiled code: a radix sort of 64-bit keys that carries where each came from, and a search."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.native import compiled, inner

_DIGIT_BITS = 10  # 1,024 places to write to at once: what the first caches hold


def sort_keys(keys: NDArray[np.uint64], num_bits: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Return (keys in ascending order; the place of each in `keys`, equal ones in their old order).

    Args: keys: (n,), used as scratch space; num_bits: how many low bits they use.
    """
    places = np.arange(len(keys), dtype=np.int32)
    return _sort(keys, places, num_bits)  # type: ignore[no-any-return]


@inner
def place_of(values: Any, low: Any, high: Any, value: Any) -> Any:
    """Return the place of a value among ascending ones, values[low:high]; -1 if it is not there."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < end and values[low] == value else -1


@compiled
def _sort(keys: Any, places: Any, num_bits: int) -> Any:
    new_keys, new_places = np.empty_like(keys), np.empty_like(places)
    for shift in range(0, num_bits, _DIGIT_BITS):
        _sort_digit(keys, places, new_keys, new_places, np.uint64(shift))
        keys, new_keys = new_keys, keys
        places, new_places = new_places, places
    return keys, places


@njit(nogil=True, error_model="numpy")
def _sort_digit(keys: Any, places: Any, new_keys: Any, new_places: Any, shift: Any) -> None:
    mask = np.uint64((1 << _DIGIT_BITS) - 1)
    starts = np.zeros((1 << _DIGIT_BITS) + 1, np.int64)
    for k in range(len(keys)):
        starts[np.int64((keys[k] >> shift) & mask) + 1] += 1
    for digit in range(1 << _DIGIT_BITS):
        starts[digit + 1] += starts[digit]
    for k in range(len(keys)):
        place = np.int64((keys[k] >> shift) & mask)
        at = starts[place]
        starts[place] = at + 1
        new_keys[at], new_places[at] = keys[k], places[k]
