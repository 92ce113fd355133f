"""Launching a kernel step after step, at the least that Python can take."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from asr.nn.cells.cell import StepKernel

_BLOCK = 128  # cells of a program
_PER_WARP = 64  # cells: two for each thread
_MOST_WARPS = 16


def launcher(
    kernel: StepKernel, function: Any, tensors: Sequence[Tensor], inner: Tensor, *flags: bool
) -> Callable[[int], Any]:
    """Return what launches a function of a kernel for the step that it is given; all else stays as it is.

    Triton takes longer to look at the arguments of a launch than a GPU at the step: it looks once, and what it has
    compiled is then given bare pointers.

    Args:
        tensors: in the order of the function's arguments, contiguous.
        inner: (C, E + 1, N, H), which has all the numbers in its shape.
    """
    directions, places, rows, size = inner.shape
    whole = 1 << (size - 1).bit_length()
    block = whole if kernel.whole_rows else min(whole, _BLOCK)
    grid = (directions * rows, -(-size // block), 1)
    arguments = (*tensors, places - 1, rows, size, block, *flags)
    warps = max(1, min(block // _PER_WARP, _MOST_WARPS))
    compiled = function.warmup(0, *arguments, grid=grid, num_warps=warps)
    if compiled is None:  # by Triton's interpreter, as the tests have it
        return lambda step: function[grid](step, *arguments)
    launch, stream = compiled[grid], torch.cuda.current_stream().cuda_stream
    fixed = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
    return lambda step: launch(step, *fixed, stream=stream)
