"""Cells on a GPU: one matrix product and one Triton kernel a step, forwards and backwards.

What a step costs there is its launches, so directions of one shape are stacked and share them, and nothing else is
launched in the loop over time.  Products with the inputs and gradients of weights are taken over all steps at once.
See docs/decisions/009-triton-steps.md.
"""

import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr.nn.cells.cell import Cell, History, State, StepKernel, step_kernels
from asr.nn.triton_kernels.launch import launcher

_LOGGER = logging.getLogger("asr")
_TOLERANCE = 0.02  # what bfloat16 rounds, several times


def run_steps(cells: Sequence[Cell], inputs: Sequence[Tensor], states: Sequence[State]) -> list[History]:
    """Return the states of cells after each step, each of its inputs (E, N, D) and from its own state.

    Under autocast the products take its type, while sums in the gates and the memory stay in float32.  The gradient
    has no gradient.
    """
    jobs = list(zip(cells, inputs, states, strict=True))
    shapes = {(values.shape[:2], cell.hidden_size, cell.output_size) for cell, values, _ in jobs}
    if len({cell.kernel("cuda") for cell in cells}) == len(shapes) == 1:
        return _run_stacked(jobs)
    return [history for job in jobs for history in _run_stacked([job])]


def _run_stacked(jobs: Sequence[tuple[Cell, Tensor, State]]) -> list[History]:
    """Return the states of cells of one kind and shape after each step."""
    device = jobs[0][1].device
    dtype = product_type(device)
    with torch.autocast(device.type, enabled=False), torch.cuda.device_of(jobs[0][1]):
        operands = [_operands(*job, dtype) for job in jobs]
        stacked = [None if tensors[0] is None else torch.stack(tensors) for tensors in zip(*operands, strict=True)]
        hidden, memory = _Steps.apply(jobs[0][0].kernel("cuda"), *stacked)  # type: ignore[no-untyped-call]
    return list(zip(hidden.unbind(), memory.unbind(), strict=True))


def _operands(cell: Cell, inputs: Tensor, state: State, dtype: torch.dtype) -> tuple[Any, ...]:
    """Return sums, recurrent matrix, projection, vectors, hidden values and memory at the start."""
    product = torch.nn.functional.linear(inputs.to(dtype), cell.input_matrix().to(dtype))
    return cell.normed(product), *cell.operands(), state[0].to(dtype), state[1].float()


def product_type(device: torch.device) -> torch.dtype:
    """Return the type that products take: autocast's, or float32."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


class _Steps(torch.autograd.Function):
    """Recurrences of C directions, and their gradients (backpropagation through time, Werbos 1990).

    The open gates are written where the sums stood: nobody else has them, and no gradient needs the sums.
    """

    @staticmethod
    def forward(ctx: Any, kernel: StepKernel, *tensors: Any) -> tuple[Tensor, Tensor]:
        found = _ahead(kernel, *tensors)
        ctx.kernel = kernel
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors[:4], *found)
        return found[0][:, 1:], found[1][:, 1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, from_above: Tensor | None, from_memory: Tensor | None) -> tuple[Tensor | None, ...]:
        gates = ctx.saved_tensors[0]
        with torch.autocast(gates.device.type, enabled=False), torch.cuda.device_of(gates):
            return None, *_back(ctx.kernel, from_above, from_memory, *ctx.saved_tensors)


def _ahead(
    kernel: StepKernel,
    sums: Tensor,
    recurrent: Tensor | None,
    projection: Tensor | None,
    vectors: Tensor,
    start: Tensor,
    memory_start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return hidden (C, E + 1, N, P) and memory (C, E + 1, N, M), the start first, hidden before projection, kept."""
    cells, steps, rows, width = sums.shape
    hidden = sums.new_empty(cells, steps + 1, rows, start.shape[-1])
    memory = memory_start.new_empty(cells, steps + 1, rows, memory_start.shape[-1])
    hidden[:, 0], memory[:, 0] = start, memory_start
    inner = hidden if projection is None else sums.new_empty(cells, steps + 1, rows, projection.shape[-1])
    past, kept = sums.new_empty(cells, rows, width), sums.new_empty(cells, steps, rows, kernel.kept)
    launch = launcher(kernel, kernel.forward, (sums, past, vectors, kept, memory, inner), inner)
    if recurrent is None:
        launch(0)
        return hidden, memory, inner, kept
    turned = recurrent.to(sums.dtype).transpose(1, 2)
    project = None if projection is None else projection.to(sums.dtype).transpose(1, 2)
    shown, inside = hidden.unbind(1), inner.unbind(1)
    for step in range(steps):
        torch.bmm(shown[step], turned, out=past)
        launch(step)
        if project is not None:
            torch.bmm(inside[step + 1], project, out=shown[step + 1])
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
    dtype, width = gates.dtype, gates.shape[-1]
    # the gradient of what the layer puts out, to which each step adds what comes from the next
    shown = torch.zeros_like(hidden[:, 1:], memory_format=torch.contiguous_format)
    if from_above is not None:
        shown.copy_(from_above)
    d_inner = shown if projection is None else torch.empty_like(inner[:, 1:], memory_format=torch.contiguous_format)
    d_gates, d_memory = torch.empty_like(gates), memory.new_zeros(memory[:, 0].shape)
    d_past = torch.empty_like(gates) if kernel.splits else d_gates
    d_extra = vectors.new_zeros(*d_memory.shape[:2], vectors.shape[-1] - width)
    outside = d_memory if from_memory is None else from_memory.contiguous()
    tensors = (gates, vectors, kept, memory, inner, d_inner, outside, d_memory, d_gates, d_past, d_extra)
    launch = launcher(kernel, kernel.backward, tensors, inner, from_memory is not None)
    d_start = torch.zeros_like(hidden[:, 0])
    if recurrent is None:
        launch(0)
    else:
        matrix = recurrent.to(dtype)
        above, inside, back = shown.unbind(1), d_inner.unbind(1), d_past.unbind(1)
        project = None if projection is None else projection.to(dtype)
        before = [d_start, *above]
        for step in reversed(range(gates.shape[1])):
            if project is not None:
                torch.bmm(above[step], project, out=inside[step])
            launch(step)
            before[step].baddbmm_(back[step], matrix)
    d_recurrent = None if recurrent is None else _outer(d_past, hidden[:, :-1])
    d_projection = None if projection is None else _outer(shown, inner[:, 1:])
    d_bias = d_gates.sum((1, 2), dtype=torch.float32)
    return d_gates, d_recurrent, d_projection, torch.cat([d_bias, d_extra.sum(1)], -1), d_start, d_memory


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Return the sums of outer products over steps and rows, (C, ..., ...) float32."""
    return torch.bmm(left.flatten(1, 2).transpose(1, 2), right.flatten(1, 2)).float()


@cache
def works_on(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether Triton runs our kernels on a device with products of a type.

    It needs its package, a C compiler or what one has left in its cache, and a card that it knows; whatever it says
    where it lacks one of them, the plain way is there.  Raises: torch.cuda.OutOfMemoryError.
    """
    try:
        return _right_on(device, dtype)
    except torch.cuda.OutOfMemoryError:  # of this moment: it is asked again, as an answer alone is remembered
        raise
    except Exception as error:  # of a compiler, a driver, a cache: nobody lists them
        _LOGGER.warning("Triton does not run on %s: cells take their plain way (%s)", device, error)
        return False


def _right_on(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether two steps of the plain recurrent layer, forwards and backwards, give what they should."""
    kernels = step_kernels("rnn", "cuda")
    kernel = StepKernel(kernels.tanh_forward, kernels.tanh_backward)
    sums, vectors = torch.full((1, 2, 1, 1), 0.5, dtype=dtype, device=device), torch.zeros(1, 1, device=device)
    with torch.autocast(device.type, enabled=False), torch.cuda.device_of(sums):
        weight, start = torch.ones(1, 1, 1, device=device), torch.zeros(1, 1, 1, dtype=dtype, device=device)
        values = _ahead(kernel, sums, weight, None, vectors, start, vectors.new_empty(1, 1, 0))
        _, d_weight, *_ = _back(kernel, torch.ones_like(sums), None, sums, weight, None, vectors, *values)
    first = math.tanh(0.5)
    second = math.tanh(0.5 + first)
    assert d_weight is not None
    found = [*values[0][0, 1:].flatten().tolist(), float(d_weight)]
    return all(abs(a - b) < _TOLERANCE for a, b in zip(found, (first, second, first * (1 - second**2)), strict=True))
