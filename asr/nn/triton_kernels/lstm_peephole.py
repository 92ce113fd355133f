"""Steps of the LSTM with peepholes; gates: input, forget, cell input, output.  See `asr.nn.triton_kernels`.

Vectors: the bias (4H), then the peepholes of the input, forget and output gates (3H).
"""

import triton.language as tl

from asr.nn.triton_kernels.common import (
    add,
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
    gate, product, bias = gates + here * (4 * size), past + row * (4 * size), vectors + direction * (7 * size)
    peep, old = bias + 4 * size, load(memory + before * size, k, there)
    i = tl.sigmoid(total(gate, product, bias, k, there) + load(peep, k, there) * old)
    f = tl.sigmoid(total(gate, product, bias, k + size, there) + load(peep, k + size, there) * old)
    g = tanh(total(gate, product, bias, k + 2 * size, there))
    cell = f * old + i * g
    o = tl.sigmoid(total(gate, product, bias, k + 3 * size, there) + load(peep, k + 2 * size, there) * cell)
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
    here, before, row, direction = places_of(step, steps, rows)
    gate, delta, d_old = gates + here * (4 * size), d_gates + here * (4 * size), d_memory + row * size
    peep, d_peep = vectors + direction * (7 * size) + 4 * size, d_extra + row * (3 * size)
    i, f, g, o = load_four(gate, k, size, there)
    old, cell = load(memory + before * size, k, there), load(memory + (before + rows) * size, k, there)
    squashed, d_hidden = tanh(cell), load(above + here * size, k, there)
    d_o = d_hidden * squashed * o * (1 - o)
    d_cell = from_later(d_old, from_memory + here * size, k, there, remembers)
    d_cell += d_hidden * o * (1 - squashed * squashed) + d_o * load(peep, k + 2 * size, there)
    d_i, d_f = d_cell * g * i * (1 - i), d_cell * old * f * (1 - f)
    store_four(delta, k, d_i, d_f, d_cell * i * (1 - g * g), d_o, size, there)
    add(d_peep, k, d_i * old, there)
    add(d_peep, k + size, d_f * old, there)
    add(d_peep, k + 2 * size, d_o * cell, there)
    store(d_old, k, d_cell * f + d_i * load(peep, k, there) + d_f * load(peep, k + size, there), there)
