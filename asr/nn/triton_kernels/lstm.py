"""Steps of the LSTM; gates in torch's order: input, forget, cell input, output.  See `asr.nn.triton_kernels`."""

import triton.language as tl

from asr.nn.triton_kernels.common import (
    cells_of,
    from_later,
    load,
    load_four,
    places_of,
    step_kernel,
    store,
    store_four,
    tanh,
    total,
)


@step_kernel
def step_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Open the gates; fill memory and inner."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    gate, product, bias = gates + here * (4 * size), past + row * (4 * size), vectors + direction * (4 * size)
    i = tl.sigmoid(total(gate, product, bias, k, there))
    f = tl.sigmoid(total(gate, product, bias, k + size, there))
    g = tanh(total(gate, product, bias, k + 2 * size, there))
    o = tl.sigmoid(total(gate, product, bias, k + 3 * size, there))
    cell = f * load(memory + before * size, k, there) + i * g
    after = (before + rows) * size
    store(memory + after, k, cell, there)
    store(inner + after, k, o * tanh(cell), there)
    store_four(gate, k, i, f, g, o, size, there)


@step_kernel
def step_backward(
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
    """Fill d_gates; take d_memory back."""
    k, there = cells_of(size, block)
    here, before, row, _ = places_of(step, steps, rows)
    gate, delta, d_old = gates + here * (4 * size), d_gates + here * (4 * size), d_memory + row * size
    i, f, g, o = load_four(gate, k, size, there)
    cell, squashed = load(memory + before * size, k, there), tanh(load(memory + (before + rows) * size, k, there))
    d_hidden = load(above + here * size, k, there)
    d_cell = from_later(d_old, from_memory + here * size, k, there, remembers)
    d_cell += d_hidden * o * (1 - squashed * squashed)
    d_i, d_f = d_cell * g * i * (1 - i), d_cell * cell * f * (1 - f)
    d_g, d_o = d_cell * i * (1 - g * g), d_hidden * squashed * o * (1 - o)
    store_four(delta, k, d_i, d_f, d_g, d_o, size, there)
    store(d_old, k, d_cell * f, there)
