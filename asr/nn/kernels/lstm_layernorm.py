"""Steps of the LSTM with layer norm on its recurrent sums and on its cell; gates: input, forget, cell input, output.

Arguments: see `asr.nn.kernels`.  Vectors: the bias (4H), the gain of the recurrent sums (4H), gain and bias of the
cell's norm (2H).  Kept: the recurrent product (4H).
"""

from typing import Any

import numpy as np
from numba import njit

from asr.native import compiled
from asr.nn.kernels.arithmetic import f32, load, multiply, rounded, sigmoid, tanh

_EPSILON = f32(1e-5)  # as in torch's layer norm


@njit(fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
def _standardize(values: Any) -> Any:
    """Shift and scale values to mean 0 and variance 1 where they stand; return what they were scaled by."""
    total, squares = f32(0), f32(0)
    for k in range(len(values)):
        total += values[k]
    mean = total / f32(len(values))
    for k in range(len(values)):
        values[k] -= mean
    for k in range(len(values)):
        squares += values[k] * values[k]
    scale = f32(1) / np.sqrt(squares / f32(len(values)) + _EPSILON)
    for k in range(len(values)):
        values[k] *= scale
    return scale


@njit(fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
def _standardize_backward(gradient: Any, standard: Any, scale: Any) -> None:
    """Turn the gradient of standardized values into that of the values before, where it stands."""
    total, along = f32(0), f32(0)
    for k in range(len(gradient)):
        total += gradient[k]
    for k in range(len(gradient)):
        along += gradient[k] * standard[k]
    total, along = total / f32(len(gradient)), along / f32(len(gradient))
    for k in range(len(gradient)):
        gradient[k] = scale * (gradient[k] - total - along * standard[k])


@compiled
def step_forward(
    start: int,
    stop: int,
    gates: Any,
    past: Any,
    recurrent: Any,
    vectors: Any,
    kept: Any,
    memory: Any,
    hidden: Any,
    inner: Any,
) -> None:
    """Open the gates; fill kept, memory and inner."""
    size = memory.shape[2]
    bias, gain = vectors[: 4 * size], vectors[4 * size : 8 * size]
    cell_gain, cell_bias = vectors[8 * size : 9 * size], vectors[9 * size :]
    opened, standard = np.empty(4 * size, np.float32), np.empty(size, np.float32)
    i, f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size : 3 * size], opened[3 * size :]
    for step in range(start, stop):
        if len(recurrent):
            multiply(hidden[step], recurrent, past)
        for row in range(memory.shape[1]):
            gate, product, keep = gates[step, row], past[row], kept[step, row]
            cell, now, out = memory[step, row], memory[step + 1, row], inner[step, row]
            for k in range(4 * size):
                keep[k] = product[k]
            for k in range(4 * size):
                opened[k] = load(product, k)
            _standardize(opened)
            for k in range(4 * size):
                opened[k] = load(gate, k) + bias[k] + gain[k] * opened[k]
            for k in range(2 * size):
                opened[k] = sigmoid(opened[k])
            for k in range(size):
                g[k] = tanh(g[k])
            for k in range(size):
                o[k] = sigmoid(o[k])
            for k in range(size):
                now[k] = f[k] * cell[k] + i[k] * g[k]
            for k in range(size):
                standard[k] = now[k]
            _standardize(standard)
            for k in range(size):
                out[k] = rounded(out, o[k] * tanh(cell_gain[k] * standard[k] + cell_bias[k]))
            for k in range(4 * size):
                gate[k] = rounded(gate, opened[k])


@compiled
def step_backward(
    start: int,
    stop: int,
    gates: Any,
    vectors: Any,
    kept: Any,
    memory: Any,
    inner: Any,
    above: Any,
    future: Any,
    d_memory: Any,
    d_gates: Any,
    d_past: Any,
    d_vectors: Any,
) -> None:
    """Fill d_gates and d_past; take d_memory back."""
    size = memory.shape[2]
    gain, cell_gain, cell_bias = vectors[4 * size : 8 * size], vectors[8 * size : 9 * size], vectors[9 * size :]
    d_bias, d_gain = d_vectors[: 4 * size], d_vectors[4 * size : 8 * size]
    d_cell_gain, d_cell_bias = d_vectors[8 * size : 9 * size], d_vectors[9 * size :]
    opened, deltas = np.empty(4 * size, np.float32), np.empty(4 * size, np.float32)
    recurrent = np.empty(4 * size, np.float32)
    i, f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size : 3 * size], opened[3 * size :]
    d_i, d_f, d_g, d_o = deltas[:size], deltas[size : 2 * size], deltas[2 * size : 3 * size], deltas[3 * size :]
    d_hidden, squashed = np.empty(size, np.float32), np.empty(size, np.float32)
    standard, d_standard = np.empty(size, np.float32), np.empty(size, np.float32)
    for step in range(stop - 1, start - 1, -1):
        for row in range(memory.shape[1]):
            gate, first, second = gates[step, row], above[step, row], future[row]
            keep, cell, now = kept[step, row], memory[step, row], memory[step + 1, row]
            d_now, delta, back = d_memory[row], d_gates[step, row], d_past[step, row]
            for k in range(4 * size):
                opened[k] = load(gate, k)
            for k in range(size):
                d_hidden[k] = load(first, k) + load(second, k)
            for k in range(size):
                standard[k] = now[k]
            scale = _standardize(standard)
            for k in range(size):
                squashed[k] = tanh(cell_gain[k] * standard[k] + cell_bias[k])
            for k in range(size):
                d_standard[k] = d_hidden[k] * o[k] * (f32(1) - squashed[k] * squashed[k])
            for k in range(size):
                d_cell_bias[k] += d_standard[k]
            for k in range(size):
                d_cell_gain[k] += d_standard[k] * standard[k]
            for k in range(size):
                d_standard[k] *= cell_gain[k]
            _standardize_backward(d_standard, standard, scale)
            for k in range(size):
                d_now[k] += d_standard[k]
            for k in range(size):
                d_i[k] = d_now[k] * g[k] * i[k] * (f32(1) - i[k])
            for k in range(size):
                d_f[k] = d_now[k] * cell[k] * f[k] * (f32(1) - f[k])
            for k in range(size):
                d_g[k] = d_now[k] * i[k] * (f32(1) - g[k] * g[k])
            for k in range(size):
                d_o[k] = d_hidden[k] * squashed[k] * o[k] * (f32(1) - o[k])
            for k in range(size):
                d_now[k] *= f[k]
            for k in range(4 * size):
                delta[k] = rounded(delta, deltas[k])
            for k in range(4 * size):
                d_bias[k] += deltas[k]
            for k in range(4 * size):
                recurrent[k] = load(keep, k)
            scale = _standardize(recurrent)
            for k in range(4 * size):
                d_gain[k] += deltas[k] * recurrent[k]
            for k in range(4 * size):
                deltas[k] *= gain[k]
            _standardize_backward(deltas, recurrent, scale)
            for k in range(4 * size):
                back[k] = rounded(back, deltas[k])
