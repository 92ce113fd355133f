"""Steps of the LSTM whose input gate is 1 - forget gate; gates: forget, cell input, output.

Arguments: see `asr.nn.triton_kernels`.
"""

import triton.language as tl

from asr.nn.triton_kernels.common import cells_of, from_later, load, places_of, step_kernel, store, tanh, total


@step_kernel
def step_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Open the gates; fill memory and inner."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    gate, product, bias = gates + here * (3 * size), past + row * (3 * size), vectors + direction * (3 * size)
    f = tl.sigmoid(total(gate, product, bias, k, there))
    g = tanh(total(gate, product, bias, k + size, there))
    o = tl.sigmoid(total(gate, product, bias, k + 2 * size, there))
    cell = f * load(memory + before * size, k, there) + (1 - f) * g
    after = (before + rows) * size
    store(memory + after, k, cell, there)
    store(inner + after, k, o * tanh(cell), there)
    store(gate, k, f, there)
    store(gate, k + size, g, there)
    store(gate, k + 2 * size, o, there)


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
    gate, delta, d_old = gates + here * (3 * size), d_gates + here * (3 * size), d_memory + row * size
    f, g, o = load(gate, k, there), load(gate, k + size, there), load(gate, k + 2 * size, there)
    cell, squashed = load(memory + before * size, k, there), tanh(load(memory + (before + rows) * size, k, there))
    d_hidden = load(above + here * size, k, there)
    d_cell = from_later(d_old, from_memory + here * size, k, there, remembers)
    d_cell += d_hidden * o * (1 - squashed * squashed)
    store(delta, k, d_cell * (cell - g) * f * (1 - f), there)
    store(delta, k + size, d_cell * (1 - f) * (1 - g * g), there)
    store(delta, k + 2 * size, d_hidden * squashed * o * (1 - o), there)
    store(d_old, k, d_cell * f, there)
