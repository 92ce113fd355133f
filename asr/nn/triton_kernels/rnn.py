"""Steps of a plain recurrent layer, by tanh or ReLU; arguments: see `asr.nn.triton_kernels`."""

import triton.language as tl

from asr.nn.triton_kernels.common import cells_of, load, places_of, relu, step_kernel, store, tanh, total


@step_kernel
def tanh_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Fill inner."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    sums = total(gates + here * size, past + row * size, vectors + direction * size, k, there)
    store(inner + (before + rows) * size, k, tanh(sums), there)


@step_kernel
def relu_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Fill inner."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    sums = total(gates + here * size, past + row * size, vectors + direction * size, k, there)
    store(inner + (before + rows) * size, k, relu(sums), there)


@step_kernel
def tanh_backward(
    step,
    gates,
    vectors,
    kept,
    memory,
    inner,
    above,
    from_memory,
    d_memory,
    d_gates,
    d_past,
    d_extra,
    steps,
    rows,
    size: tl.constexpr,
    block: tl.constexpr,
    remembers: tl.constexpr,
):
    """Fill d_gates."""
    k, there = cells_of(size, block)
    here, before, _, _ = places_of(step, steps, rows)
    out, d_hidden = load(inner + (before + rows) * size, k, there), load(above + here * size, k, there)
    store(d_gates + here * size, k, d_hidden * (1 - out * out), there)


@step_kernel
def relu_backward(
    step,
    gates,
    vectors,
    kept,
    memory,
    inner,
    above,
    from_memory,
    d_memory,
    d_gates,
    d_past,
    d_extra,
    steps,
    rows,
    size: tl.constexpr,
    block: tl.constexpr,
    remembers: tl.constexpr,
):
    """Fill d_gates."""
    k, there = cells_of(size, block)
    here, before, _, _ = places_of(step, steps, rows)
    out, d_hidden = load(inner + (before + rows) * size, k, there), load(above + here * size, k, there)
    store(d_gates + here * size, k, tl.where(out > 0, d_hidden, 0.0), there)
