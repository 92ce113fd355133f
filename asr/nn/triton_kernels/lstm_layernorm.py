"""Steps of the LSTM with layer norm on its recurrent sums and on its cell; gates: input, forget, cell input, output.

A program takes a whole row.  Vectors: the bias (4H), the gain of the recurrent sums (4H), gain and bias of the cell's
norm (2H).  Kept: the recurrent product (4H).  Arguments: see `asr.nn.triton_kernels`.
"""

import triton
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
)

_EPSILON = tl.constexpr(1e-5)  # as in torch's layer norm


@triton.jit
def _standardized(values, there, size: tl.constexpr):
    """Return values shifted and scaled to mean 0 and variance 1, and what they were scaled by."""
    centred = tl.where(there, values - tl.sum(values) / size, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred) / size + _EPSILON)
    return centred * scale, scale


@triton.jit
def _standardized_gates(i, f, g, o, there, size: tl.constexpr):
    """Return the values of four gates, standardized together, and what they were scaled by."""
    mean = tl.sum(i + f + g + o) / (4 * size)
    i, f = tl.where(there, i - mean, 0.0), tl.where(there, f - mean, 0.0)
    g, o = tl.where(there, g - mean, 0.0), tl.where(there, o - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(i * i + f * f + g * g + o * o) / (4 * size) + _EPSILON)
    return i * scale, f * scale, g * scale, o * scale, scale


@step_kernel
def step_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Open the gates; fill kept, memory and inner."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    gate, product, keep = gates + here * (4 * size), past + row * (4 * size), kept + here * (4 * size)
    bias = vectors + direction * (10 * size)
    gain, cell_gain, cell_bias = bias + 4 * size, bias + 8 * size, bias + 9 * size
    past_i, past_f, past_g, past_o = load_four(product, k, size, there)
    store_four(keep, k, past_i, past_f, past_g, past_o, size, there)
    past_i, past_f, past_g, past_o, _ = _standardized_gates(past_i, past_f, past_g, past_o, there, size)
    i = tl.sigmoid(_normed_sum(gate, bias, gain, past_i, k, there))
    f = tl.sigmoid(_normed_sum(gate, bias, gain, past_f, k + size, there))
    g = tanh(_normed_sum(gate, bias, gain, past_g, k + 2 * size, there))
    o = tl.sigmoid(_normed_sum(gate, bias, gain, past_o, k + 3 * size, there))
    cell = f * load(memory + before * size, k, there) + i * g
    standard, _ = _standardized(cell, there, size)
    after = (before + rows) * size
    store(memory + after, k, cell, there)
    squashed = tanh(load(cell_gain, k, there) * standard + load(cell_bias, k, there))
    store(inner + after, k, o * squashed, there)
    store_four(gate, k, i, f, g, o, size, there)


@triton.jit
def _normed_sum(gate, bias, gain, past, k, there):
    return load(gate, k, there) + load(bias, k, there) + load(gain, k, there) * past


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
    """Fill d_gates and d_past; take d_memory back."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    gate, delta, d_old = gates + here * (4 * size), d_gates + here * (4 * size), d_memory + row * size
    gain, d_gain = vectors + direction * (10 * size) + 4 * size, d_extra + row * (6 * size)
    i, f, g, o = load_four(gate, k, size, there)
    old, d_hidden = load(memory + before * size, k, there), load(above + here * size, k, there)

    standard, scale = _standardized(load(memory + (before + rows) * size, k, there), there, size)
    cell_gain = load(gain, k + 4 * size, there)
    squashed = tanh(cell_gain * standard + load(gain, k + 5 * size, there))
    d_normed = d_hidden * o * (1 - squashed * squashed)
    add(d_gain, k + 4 * size, d_normed * standard, there)
    add(d_gain, k + 5 * size, d_normed, there)
    d_standard = d_normed * cell_gain
    mean, along = tl.sum(d_standard) / size, tl.sum(d_standard * standard) / size
    d_cell = from_later(d_old, from_memory + here * size, k, there, remembers)
    d_cell += scale * (d_standard - mean - along * standard)

    d_i, d_f = d_cell * g * i * (1 - i), d_cell * old * f * (1 - f)
    d_g, d_o = d_cell * i * (1 - g * g), d_hidden * squashed * o * (1 - o)
    store(d_old, k, d_cell * f, there)
    store_four(delta, k, d_i, d_f, d_g, d_o, size, there)
    _product_backward(d_i, d_f, d_g, d_o, kept + here * (4 * size), gain, d_gain, d_past + here * (4 * size), k, size)


@triton.jit
def _product_backward(d_i, d_f, d_g, d_o, keep, gain, d_gain, back, k, size: tl.constexpr):
    """Fill the gradient of the recurrent product and add to that of its gain, from the gradients of the sums."""
    there = k < size
    i, f, g, o = load_four(keep, k, size, there)
    i, f, g, o, scale = _standardized_gates(i, f, g, o, there, size)
    add(d_gain, k, d_i * i, there)
    add(d_gain, k + size, d_f * f, there)
    add(d_gain, k + 2 * size, d_g * g, there)
    add(d_gain, k + 3 * size, d_o * o, there)
    d_i, d_f = d_i * load(gain, k, there), d_f * load(gain, k + size, there)
    d_g, d_o = d_g * load(gain, k + 2 * size, there), d_o * load(gain, k + 3 * size, there)
    mean = tl.sum(d_i + d_f + d_g + d_o) / (4 * size)
    along = tl.sum(d_i * i + d_f * f + d_g * g + d_o * o) / (4 * size)
    d_i, d_f = scale * (d_i - mean - along * i), scale * (d_f - mean - along * f)
    d_g, d_o = scale * (d_g - mean - along * g), scale * (d_o - mean - along * o)
    store_four(back, k, d_i, d_f, d_g, d_o, size, there)
