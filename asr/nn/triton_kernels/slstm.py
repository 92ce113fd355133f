"""Steps of the sLSTM; gates: input (exponential), forget, cell input, output.  Arguments: see `asr.nn.triton_kernels`.

The memory holds cell, normaliser and stabiliser (3H).  Kept: the forget gate before the stabiliser scales it (H).
The hidden values do not depend on the stabiliser, so it gets no gradient.
"""

import triton.language as tl

from asr.nn.triton_kernels.common import (
    cells_of,
    from_later,
    load,
    load_four,
    log_sigmoid,
    places_of,
    step_kernel,
    store,
    store_four,
    tanh,
    total,
)


@step_kernel
def step_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Open the gates; fill kept, memory and inner."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    gate, product, bias = gates + here * (4 * size), past + row * (4 * size), vectors + direction * (4 * size)
    old, now = memory + before * (3 * size), memory + (before + rows) * (3 * size)
    enter, keep = total(gate, product, bias, k, there), total(gate, product, bias, k + size, there)
    g = tanh(total(gate, product, bias, k + 2 * size, there))
    o = tl.sigmoid(total(gate, product, bias, k + 3 * size, there))
    kept_level = log_sigmoid(keep) + load(old, k + 2 * size, there)
    level = tl.maximum(kept_level, enter)
    i, f = tl.exp(enter - level), tl.exp(kept_level - level)
    cell = f * load(old, k, there) + i * g
    norm = f * load(old, k + size, there) + i
    store(now, k, cell, there)
    store(now, k + size, norm, there)
    store(now, k + 2 * size, level, there)
    store(inner + (before + rows) * size, k, o * cell / norm, there)
    store(kept + here * size, k, tl.sigmoid(keep), there)
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
    """Fill d_gates; take d_memory back, but for the stabiliser's, which stays 0."""
    k, there = cells_of(size, block)
    here, before, row, _ = places_of(step, steps, rows)
    gate, delta, d_old = gates + here * (4 * size), d_gates + here * (4 * size), d_memory + row * (3 * size)
    old, now = memory + before * (3 * size), memory + (before + rows) * (3 * size)
    outside = from_memory + here * (3 * size)
    i, f, g, o = load_four(gate, k, size, there)
    norm = tl.load(now + k + size, mask=there, other=1.0)  # no division by 0 in cells that are not there
    ratio, d_hidden = load(now, k, there) / norm, load(above + here * size, k, there)
    d_cell = from_later(d_old, outside, k, there, remembers) + d_hidden * o / norm
    d_norm = from_later(d_old, outside, k + size, there, remembers) - d_hidden * o * ratio / norm
    forget = load(kept + here * size, k, there)
    d_f = (d_cell * load(old, k, there) + d_norm * load(old, k + size, there)) * f * (1 - forget)
    d_i, d_g, d_o = (d_cell * g + d_norm) * i, d_cell * i * (1 - g * g), d_hidden * ratio * o * (1 - o)
    store_four(delta, k, d_i, d_f, d_g, d_o, size, there)
    store(d_old, k, d_cell * f, there)
    store(d_old, k + size, d_norm * f, there)
