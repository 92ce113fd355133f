"""Functions compiled by numba, the machine code kept on disk, so that no compiler is ever needed."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return the function compiled at its first call, the machine code kept on disk for the next process.

    Where it cannot be kept (a read-only or a full disk), it is compiled for this process alone.

    Args: options: of numba, over those for loops over numbers that hold no GIL.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}, **options}
    try:
        kept = njit(cache=True, **options)(function)
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
