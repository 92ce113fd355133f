"""Steps of the sLSTM; gates: input (exponential), forget, cell input, output.  Arguments: see `asr.nn.kernels`.

The memory holds cell, normaliser and stabiliser (3H).  Kept: the forget gate before the stabiliser scales it (H).
The hidden values do not depend on the stabiliser, so it gets no gradient.
"""

from typing import Any

import numpy as np

from asr.native import compiled
from asr.nn.kernels.arithmetic import exp, f32, load, log_sigmoid, multiply, rounded, sigmoid, tanh


@compiled
def step_forward(
    start: int,
    stop: int,
    gates: Any,
    past: Any,
    recurrent: Any,
    bias: Any,
    kept: Any,
    memory: Any,
    hidden: Any,
    inner: Any,
) -> None:
    """Open the gates; fill kept, memory and inner."""
    size = inner.shape[2]
    opened = np.empty(4 * size, np.float32)
    forget, log_forget = np.empty(size, np.float32), np.empty(size, np.float32)
    i, f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size : 3 * size], opened[3 * size :]
    for step in range(start, stop):
        if len(recurrent):
            multiply(hidden[step], recurrent, past)
        for row in range(inner.shape[1]):
            gate, product, keep = gates[step, row], past[row], kept[step, row]
            old, now, out = memory[step, row], memory[step + 1, row], inner[step, row]
            cell, norm, level = now[:size], now[size : 2 * size], now[2 * size :]
            old_cell, old_norm, old_level = old[:size], old[size : 2 * size], old[2 * size :]
            for k in range(4 * size):
                opened[k] = load(gate, k) + load(product, k) + bias[k]
            for k in range(size):
                log_forget[k] = log_sigmoid(f[k])
            for k in range(size):
                level[k] = max(log_forget[k] + old_level[k], i[k])
            for k in range(size):
                i[k] = exp(i[k] - level[k])
            for k in range(size):
                forget[k] = sigmoid(f[k])
            for k in range(size):
                f[k] = exp(log_forget[k] + old_level[k] - level[k])
            for k in range(size):
                g[k] = tanh(g[k])
            for k in range(size):
                o[k] = sigmoid(o[k])
            for k in range(size):
                cell[k] = f[k] * old_cell[k] + i[k] * g[k]
            for k in range(size):
                norm[k] = f[k] * old_norm[k] + i[k]
            for k in range(size):
                out[k] = rounded(out, o[k] * cell[k] / norm[k])
            for k in range(size):
                keep[k] = rounded(keep, forget[k])
            for k in range(4 * size):
                gate[k] = rounded(gate, opened[k])


@compiled
def step_backward(
    start: int,
    stop: int,
    gates: Any,
    bias: Any,
    kept: Any,
    memory: Any,
    inner: Any,
    above: Any,
    future: Any,
    d_memory: Any,
    d_gates: Any,
    d_past: Any,
    d_bias: Any,
) -> None:
    """Fill d_gates; take d_memory back."""
    size = inner.shape[2]
    opened = np.empty(4 * size, np.float32)
    i, f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size : 3 * size], opened[3 * size :]
    d_hidden, ratio = np.empty(size, np.float32), np.empty(size, np.float32)
    for step in range(stop - 1, start - 1, -1):
        for row in range(inner.shape[1]):
            gate, first, second = gates[step, row], above[step, row], future[row]
            keep, old, now = kept[step, row], memory[step, row], memory[step + 1, row]
            cell, norm, old_cell, old_norm = now[:size], now[size : 2 * size], old[:size], old[size : 2 * size]
            d_cell, d_norm, d_level = d_memory[row, :size], d_memory[row, size : 2 * size], d_memory[row, 2 * size :]
            delta = d_gates[step, row]
            for k in range(4 * size):
                opened[k] = load(gate, k)
            for k in range(size):
                ratio[k] = cell[k] / norm[k]
            for k in range(size):
                d_hidden[k] = load(first, k) + load(second, k)
            for k in range(size):
                d_cell[k] += d_hidden[k] * o[k] / norm[k]
            for k in range(size):
                d_norm[k] -= d_hidden[k] * o[k] * ratio[k] / norm[k]
            d_i, d_f, d_g, d_o = delta[:size], delta[size : 2 * size], delta[2 * size : 3 * size], delta[3 * size :]
            for k in range(size):
                d_i[k] = rounded(d_i, (d_cell[k] * g[k] + d_norm[k]) * i[k])
            for k in range(size):
                d_f[k] = rounded(
                    d_f, (d_cell[k] * old_cell[k] + d_norm[k] * old_norm[k]) * f[k] * (f32(1) - load(keep, k))
                )
            for k in range(size):
                d_g[k] = rounded(d_g, d_cell[k] * i[k] * (f32(1) - g[k] * g[k]))
            for k in range(size):
                d_o[k] = rounded(d_o, d_hidden[k] * ratio[k] * o[k] * (f32(1) - o[k]))
            for k in range(size):
                d_cell[k] *= f[k]
            for k in range(size):
                d_norm[k] *= f[k]
            for k in range(size):
                d_level[k] = f32(0)
            for k in range(4 * size):
                d_bias[k] += load(delta, k)
