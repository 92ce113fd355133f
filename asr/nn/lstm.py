"""LSTMs in training on CPU: torch's own backward pass there takes four times its forward pass.

Products over all steps are taken at once; the loop over time keeps to the recurrent product and to the gates,
whose values stay in the cache.  Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asr.nn.kernels.lstm_cell import step_backward, step_forward

_PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")

_Result = TypeVar("_Result")


def can_train(lstms: Sequence[nn.LSTM]) -> bool:
    """Return whether `train_lstms` takes these: its kernels add float32 numbers."""
    return all(parameter.dtype == torch.float32 for lstm in lstms for parameter in lstm.parameters())


def train_lstms(lstms: Sequence[nn.LSTM], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the outputs (E, B, H) of one-layer, one-way LSTMs from a zero state, each of its inputs (E, B, D) on CPU.

    The same values and gradients as `lstm(inputs)`; under autocast to bfloat16 the products take bfloat16 where the
    CPU multiplies it, while the sums in the gates and the memory cell stay in float32.  The LSTMs share torch's
    threads.  Their hooks are not called, and the gradient has no gradient.
    """
    dtype = _product_type()
    with torch.autocast("cpu", enabled=False):
        tensors: list[Tensor] = []
        for lstm, values in zip(lstms, inputs, strict=True):
            weight_in, weight_rec, bias_in, bias_rec = (getattr(lstm, name) for name in _PARAMETERS)
            tensors += [values.to(dtype), weight_in, weight_rec, bias_in + bias_rec]
        outputs: tuple[Tensor, ...] = _Steps.apply(*tensors)  # type: ignore[no-untyped-call]
    return outputs


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
        _products(matrix, 1)(matrix[:1])
    except (AttributeError, RuntimeError):
        return False
    return True


class _Steps(torch.autograd.Function):
    """Recurrences side by side, and their gradients (backpropagation through time, Werbos 1990)."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        jobs = _grouped(tensors, 4)
        states = _side_by_side(_ahead, jobs)
        ctx.save_for_backward(*(tensor for job, state in zip(jobs, states, strict=True) for tensor in job[:3] + state))
        return tuple(hidden[1:] for hidden, _, _ in states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        jobs = [(gradient, *saved) for gradient, saved in zip(gradients, _grouped(ctx.saved_tensors, 6), strict=True)]
        with torch.autocast("cpu", enabled=False):
            return tuple(tensor for result in _side_by_side(_back, jobs) for tensor in result)


def _ahead(inputs: Tensor, weight_in: Tensor, weight_rec: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hidden (E + 1, B, H), cells (E + 1, B, H) and open gates (E, B, 4H); the first row is the zero state."""
    steps, batch, _ = inputs.shape
    size, dtype = weight_rec.shape[1], inputs.dtype
    product = _products(weight_rec.to(dtype), batch)
    gates = torch.mm(inputs.flatten(0, 1), weight_in.to(dtype).t()).view(steps, batch, 4 * size)
    hidden = inputs.new_zeros(steps + 1, batch, size)
    cells = torch.zeros(steps + 1, batch, size)
    g, b, c, h = map(_array, (gates, bias, cells, hidden))
    for step, past in enumerate(hidden[:-1].unbind()):
        step_forward(g[step], _array(product(past)), b, c[step], c[step + 1], h[step + 1])
    return hidden, cells, gates


def _back(
    gradient: Tensor,
    inputs: Tensor,
    weight_in: Tensor,
    weight_rec: Tensor,
    hidden: Tensor,
    cells: Tensor,
    gates: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of inputs, input weights, recurrent weights and bias."""
    _, batch, size = gradient.shape
    dtype = inputs.dtype
    product = _products(weight_rec.to(dtype).t().contiguous(), batch)
    deltas = torch.empty_like(gates)
    d_cell = np.zeros((batch, size), np.float32)
    g, a, c, d = map(_array, (gates, gradient.to(dtype).contiguous(), cells, deltas))
    from_future = inputs.new_zeros(batch, size)
    for step, delta in reversed(list(enumerate(deltas.unbind()))):
        step_backward(g[step], a[step], _array(from_future), c[step], c[step + 1], d_cell, d[step])
        from_future = product(delta)
    flat = deltas.flatten(0, 1)
    d_inputs = torch.mm(flat, weight_in.to(dtype)).view_as(inputs)
    d_in = torch.mm(flat.t(), inputs.flatten(0, 1)).float()
    d_rec = torch.mm(flat.t(), hidden[:-1].flatten(0, 1)).float()
    d_bias = torch.mv(flat.t(), flat.new_ones(len(flat))).float()
    return d_inputs, d_in, d_rec, d_bias


def _products(matrix: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    """Return the function from (rows, K) to its product with the transpose of a matrix (N, K), to be called often.

    oneDNN reorders a bfloat16 matrix on every call of a plain product, which takes as long as the product itself.
    """
    if matrix.dtype == torch.bfloat16:
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix, rows)
        product = torch.ops.mkldnn._linear_pointwise
        return lambda vectors: product(vectors, packed, None, "none", [], "")
    transposed = matrix.t().contiguous()
    return lambda vectors: torch.mm(vectors, transposed)


def _array(tensor: Tensor) -> np.ndarray:
    """Return the memory of a tensor; bfloat16 as uint16, which is what the kernels read."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _grouped(tensors: Sequence[Tensor], size: int) -> list[tuple[Tensor, ...]]:
    return [tuple(tensors[start : start + size]) for start in range(0, len(tensors), size)]


_workers = ThreadPoolExecutor(thread_name_prefix="lstm")


def _side_by_side(work: Callable[..., _Result], jobs: Sequence[tuple[Tensor, ...]]) -> list[_Result]:
    """Return work(*job) for each job, each on its share of torch's threads: one step is too short to be shared."""
    threads = torch.get_num_threads()
    if threads == 1 or len(jobs) == 1:
        return [work(*job) for job in jobs]
    share = max(1, threads // len(jobs))

    def run(job: tuple[Tensor, ...]) -> _Result:
        if torch.get_num_threads() != share:
            torch.set_num_threads(share)  # of this worker, and of threads that start before it is put back below
        with torch.no_grad():
            return work(*job)

    try:
        return list(_workers.map(run, jobs))
    finally:
        torch.set_num_threads(threads)
