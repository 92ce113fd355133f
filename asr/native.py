"""Functions compiled by numba, the machine code kept on disk, so that no compiler is ever needed."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

_ROOMS = ("decoding", "lm", "nn/kernels")  # whose compiled functions call each other

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_UNCOUNTED: dict[str, Any] = {"_nrt": False}  # numba's option for functions that make no arrays


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function for the use of compiled functions alone, without counting references to arrays.

    It can be given arrays but makes none.  Tuples of twenty arrays, as searches have, are handed on five times faster.
    """
    decorated: Callable[..., Any] = njit(**_OPTIONS, **_UNCOUNTED)(function)
    return decorated


def outer(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function compiled as `compiled` does, but like `inner`: it makes no arrays, so it counts none."""
    return compiled(function, **_UNCOUNTED)


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return the function compiled at its first call, the machine code kept on disk for the next process.

    Where it cannot be kept (a read-only or a full disk), it is compiled for this process alone.

    Args: options: of numba, over those for loops over numbers that hold no GIL.
    """
    options = {**_OPTIONS, **options}
    try:
        kept = _keeping(function, options)
    except RuntimeError:  # neither this folder nor the home can be written to
        kept = njit(**options)(function)

    def run(*arguments: Any) -> Any:
        nonlocal kept
        try:
            return kept(*arguments)
        except OSError:  # from keeping the code, before anything was computed
            kept = njit(**options)(function)
            return kept(*arguments)

    return run


def _keeping(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Return the function as numba compiles it, the machine code kept until one of our files changes.

    numba itself looks at the file of the function alone, not at those of the functions that it calls.
    """
    kept = njit(cache=True, **options)(function)
    file = getattr(getattr(kept, "_cache", None), "_cache_file", None)
    if file is not None:  # numba's own, not an interface of its
        file._source_stamp = (file._source_stamp, _sources())
    return kept


@cache
def _sources() -> tuple[tuple[str, int, int], ...]:
    """Return name, time and size of every file whose functions are compiled."""
    root = Path(__file__).parent
    files = sorted(file for room in _ROOMS for file in (root / room).glob("*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
