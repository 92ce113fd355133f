"""What `test_gpu_steps` holds against the plain way."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Two directions of a cell, run together.

    Attributes:
        steps: of each direction.
        losses: whether hidden values and memory have a gradient.
        bfloat16: under autocast.
        tolerance: of each tensor, as a share of its norm.
    """

    steps: tuple[int, int]
    rows: int
    size: int
    losses: tuple[bool, bool] = (True, True)
    bfloat16: bool = False
    tolerance: float = 5e-6


CASES = {
    "batch": Case((7, 7), 3, 6),
    "one step of one row": Case((1, 1), 1, 5, (False, True)),
    "no steps": Case((0, 0), 3, 6),
    "no rows": Case((2, 2), 0, 6),
    "directions of different lengths": Case((1, 2), 1, 6),
    "cells of several programs": Case((2, 2), 1, 130, (True, False)),
    "bfloat16": Case((7, 7), 3, 40, (True, True), True, 0.04),
}
