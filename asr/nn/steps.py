"""Cells on CPU: one matrix product and one compiled function a step, forwards and backwards.

Products over all steps are taken at once; the loop over time keeps to the recurrent product and to the gates,
whose values stay in the cache.  Forwards, the compiled function takes a row alone (and a cell without a recurrent
product) over all steps in one call.  See docs/decisions/004-lstm-steps-of-our-own.md.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr.nn.cells.cell import Cell, History, State, StepKernel

_Result = TypeVar("_Result")
_FEW = 32  # rows of all steps together
_OPERANDS = 6  # sums, recurrent matrix, projection, vectors, hidden values and memory at the start


def run_steps(cells: Sequence[Cell], inputs: Sequence[Tensor], states: Sequence[State]) -> list[History]:
    """Return the states of cells after each step, each of its inputs (E, N, D) on CPU and from its own state.

    Under autocast to bfloat16 the products take bfloat16 where the CPU multiplies it, while sums in the gates and the
    memory stay in float32.  The cells share torch's threads.  The gradient has no gradient.
    """
    dtype = _product_type()
    with torch.autocast("cpu", enabled=False):
        pairs = [
            tensor
            for cell, values in zip(cells, inputs, strict=True)
            for tensor in (values.to(dtype), cell.input_matrix())
        ]
        products: tuple[Tensor, ...] = _InputProducts.apply(*pairs)  # type: ignore[no-untyped-call]
        tensors: list[Tensor | None] = []
        for cell, product, (hidden, memory) in zip(cells, products, states, strict=True):
            tensors += [cell.normed(product), *cell.operands(), hidden.to(dtype), memory]
        kernels = [cell.kernel("cpu") for cell in cells]
        found: tuple[Tensor, ...] = _Steps.apply(kernels, *tensors)  # type: ignore[no-untyped-call]
    return [(hidden, memory) for hidden, memory in _grouped(found, 2)]


def _product_type() -> torch.dtype:
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return torch.bfloat16 if half and multiplies_bfloat16() else torch.float32


@cache
def multiplies_bfloat16() -> bool:
    """Return whether this CPU and this torch multiply bfloat16 matrices by oneDNN (AVX-512 and newer, not AVX2).

    Elsewhere torch's plain loop takes their products, two hundred times slower than float32.
    """
    try:
        matrix = torch.zeros(16, 16, dtype=torch.bfloat16)
        _products(matrix, 1)(matrix[:1], matrix[1:2])
    except (AttributeError, RuntimeError):
        return False
    return True


class _InputProducts(torch.autograd.Function):
    """Products of inputs (E, N, D) and matrices (G * H, D), side by side, and their gradients."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tensors)
        return tuple(_side_by_side(_product, _grouped(tensors, 2)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        jobs = [(*pair, gradient) for pair, gradient in zip(_grouped(ctx.saved_tensors, 2), gradients, strict=True)]
        with torch.autocast("cpu", enabled=False):
            return tuple(tensor for found in _side_by_side(_product_back, jobs) for tensor in found)


def _product(inputs: Tensor, matrix: Tensor) -> Tensor:
    product = torch.mm(inputs.flatten(0, 1), matrix.to(inputs.dtype).t())
    return product.view(*inputs.shape[:2], len(matrix))


def _product_back(inputs: Tensor, matrix: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    d_inputs = torch.mm(gradient.flatten(0, 1), matrix.to(inputs.dtype)).view_as(inputs)
    return d_inputs, _outer(gradient, inputs)


class _Steps(torch.autograd.Function):
    """Recurrences side by side, and their gradients (backpropagation through time, Werbos 1990).

    The open gates are written where the sums stood: nobody else has them, and no gradient needs the sums.
    """

    @staticmethod
    def forward(ctx: Any, kernels: list[StepKernel], *tensors: Tensor | None) -> tuple[Tensor, ...]:
        jobs = [(kernel, *job) for kernel, job in zip(kernels, _grouped(tensors, _OPERANDS), strict=True)]
        found = _side_by_side(_ahead, jobs)
        ctx.kernels = kernels
        ctx.set_materialize_grads(False)
        # sums, recurrent matrix, projection and vectors; then hidden, memory, inner and kept
        saved = [tensor for job, values in zip(jobs, found, strict=True) for tensor in (*job[1:5], *values)]
        ctx.save_for_backward(*saved)
        return tuple(tensor[1:] for hidden, memory, _, _ in found for tensor in (hidden, memory))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = _grouped(ctx.saved_tensors, 8)
        jobs = [
            (kernel, *above, *tensors)
            for kernel, above, tensors in zip(ctx.kernels, _grouped(gradients, 2), saved, strict=True)
        ]
        with torch.autocast("cpu", enabled=False):
            return (None, *(tensor for found in _side_by_side(_back, jobs) for tensor in found))


def _ahead(
    kernel: StepKernel,
    sums: Tensor,
    recurrent: Tensor | None,
    projection: Tensor | None,
    vectors: Tensor,
    start: Tensor,
    memory_start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return hidden (E + 1, N, P) and memory (E + 1, N, M), the start first, hidden before projection, and kept."""
    steps, rows, width = sums.shape
    dtype = sums.dtype
    hidden = sums.new_empty(steps + 1, rows, start.shape[1])
    memory = torch.empty(steps + 1, rows, memory_start.shape[1])
    kept = sums.new_empty(steps, rows, kernel.kept)
    hidden[0], memory[0] = start, memory_start
    inner = hidden[1:] if projection is None else sums.new_empty(steps, rows, projection.shape[1])
    past = sums.new_empty(rows, width)
    matrix = sums.new_empty(0, 0) if recurrent is None else recurrent.to(dtype)
    # The kernel takes the products of a row as fast as a library, and those of a few without turning the matrix.
    itself = recurrent is None or rows == 1 or rows * steps <= _FEW
    arrays = list(map(_array, (sums, past, matrix if itself else matrix[:0], vectors, kept, memory, hidden, inner)))
    if itself and projection is None:
        kernel.forward(0, steps, *arrays)
        return hidden, memory, inner, kept
    multiply = None if itself else _products(matrix, rows)
    project = None if projection is None else _products(projection.to(dtype), rows)
    for step, (before, after) in enumerate(pairwise(hidden.unbind())):
        if multiply is not None:
            multiply(before, past)
        kernel.forward(step, step + 1, *arrays)
        if project is not None:
            project(inner[step], after)
    return hidden, memory, inner, kept


def _back(
    kernel: StepKernel,
    from_above: Tensor | None,
    from_memory: Tensor | None,
    gates: Tensor,
    recurrent: Tensor | None,
    projection: Tensor | None,
    vectors: Tensor,
    hidden: Tensor,
    memory: Tensor,
    inner: Tensor,
    kept: Tensor,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of sums, recurrent matrix, projection, vectors, hidden and memory at the start."""
    dtype, rows = gates.dtype, gates.shape[1]
    above = torch.zeros_like(hidden[1:]) if from_above is None else from_above.to(dtype).contiguous()
    multiply = None if recurrent is None else _products(recurrent.to(dtype).t(), rows)
    unproject = None if projection is None else _products(projection.to(dtype).t(), rows)
    d_gates, d_vectors, d_memory = torch.empty_like(gates), torch.zeros_like(vectors), torch.zeros_like(memory[0])
    d_past = torch.empty_like(gates) if kernel.splits else d_gates
    future = torch.zeros_like(hidden[0])
    # the gradients of what the layer puts out, and of its hidden values before projection
    shown, d_inner, from_future = above, above, future
    if unproject is not None:
        shown, d_inner, from_future = torch.empty_like(above), torch.empty_like(inner), torch.zeros_like(inner[0])
    tensors = (gates, vectors, kept, memory, inner, d_inner, from_future, d_memory, d_gates, d_past, d_vectors)
    arrays = list(map(_array, tensors))
    stride = 1 if multiply is not None or from_memory is not None else max(1, len(gates))
    back = d_past.unbind()
    for step in range(len(gates) - stride, -1, -stride):
        if from_memory is not None:
            d_memory += from_memory[step]
        if unproject is not None:
            torch.add(above[step], future, out=shown[step])
            unproject(shown[step], d_inner[step])
        kernel.backward(step, step + stride, *arrays)
        if multiply is not None:
            multiply(back[step], future)
    d_recurrent = None if recurrent is None else _outer(d_past, hidden[:-1])
    d_projection = None if projection is None else _outer(shown, inner)
    return d_gates, d_recurrent, d_projection, d_vectors, future, d_memory


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Return the sum of outer products over steps and rows, (..., ...) float32."""
    return torch.mm(left.flatten(0, 1).t(), right.flatten(0, 1)).float()


def _products(matrix: Tensor, rows: int) -> Callable[[Tensor, Tensor], Any]:
    """Return the function that fills its second argument with the product of the first and a transposed matrix (M, K).

    The first is (rows, K); the function is to be called often.  oneDNN reorders a bfloat16 matrix on every call of a
    plain product, which takes as long as the product itself.
    """
    if matrix.dtype == torch.bfloat16:
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), rows)
        product = torch.ops.mkldnn._linear_pointwise
        return lambda vectors, into: into.copy_(product(vectors, packed, None, "none", [], ""))
    transposed = matrix.t().contiguous()
    return lambda vectors, into: torch.mm(vectors, transposed, out=into)


def _array(tensor: Tensor) -> np.ndarray:
    """Return the memory of a tensor; bfloat16 as uint16, which is what the kernels read."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _grouped(tensors: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    return [tuple(tensors[start : start + size]) for start in range(0, len(tensors), size)]


_workers = ThreadPoolExecutor(thread_name_prefix="cells")


def _side_by_side(work: Callable[..., _Result], jobs: Sequence[tuple[Any, ...]]) -> list[_Result]:
    """Return work(*job) for each job, each on its share of torch's threads: one step is too short to be shared."""
    threads = torch.get_num_threads()
    if threads == 1 or len(jobs) == 1:
        return [work(*job) for job in jobs]
    share = max(1, threads // len(jobs))

    def run(job: tuple[Any, ...]) -> _Result:
        if torch.get_num_threads() != share:
            torch.set_num_threads(share)  # of this worker, and of threads that start before it is put back below
        with torch.no_grad():
            return work(*job)

    try:
        return list(_workers.map(run, jobs))
    finally:
        torch.set_num_threads(threads)
