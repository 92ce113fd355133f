"""Steps of the LSTM with peepholes; gates: input, forget, cell input, output.  Arguments: see `asr.nn.kernels`.

Vectors: the bias (4H), then the peepholes of the input, forget and output gates (3H).
"""

from typing import Any

import numpy as np

from asr.native import compiled
from asr.nn.kernels.arithmetic import f32, load, multiply, rounded, sigmoid, tanh


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
    """Open the gates; fill memory and inner."""
    size = memory.shape[2]
    bias, peep = vectors[: 4 * size], vectors[4 * size :]
    opened = np.empty(4 * size, np.float32)
    i, f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size : 3 * size], opened[3 * size :]
    for step in range(start, stop):
        if len(recurrent):
            multiply(hidden[step], recurrent, past)
        for row in range(memory.shape[1]):
            gate, product = gates[step, row], past[row]
            cell, now, out = memory[step, row], memory[step + 1, row], inner[step, row]
            for k in range(4 * size):
                opened[k] = load(gate, k) + load(product, k) + bias[k]
            for k in range(size):
                i[k] = sigmoid(i[k] + peep[k] * cell[k])
            for k in range(size):
                f[k] = sigmoid(f[k] + peep[size + k] * cell[k])
            for k in range(size):
                g[k] = tanh(g[k])
            for k in range(size):
                now[k] = f[k] * cell[k] + i[k] * g[k]
            for k in range(size):
                o[k] = sigmoid(o[k] + peep[2 * size + k] * now[k])
            for k in range(size):
                out[k] = rounded(out, o[k] * tanh(now[k]))
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
    """Fill d_gates; take d_memory back."""
    size = memory.shape[2]
    peep, d_bias, d_peep = vectors[4 * size :], d_vectors[: 4 * size], d_vectors[4 * size :]
    opened, deltas = np.empty(4 * size, np.float32), np.empty(4 * size, np.float32)
    i, f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size : 3 * size], opened[3 * size :]
    d_i, d_f, d_g, d_o = deltas[:size], deltas[size : 2 * size], deltas[2 * size : 3 * size], deltas[3 * size :]
    d_hidden, squashed = np.empty(size, np.float32), np.empty(size, np.float32)
    for step in range(stop - 1, start - 1, -1):
        for row in range(memory.shape[1]):
            gate, first = gates[step, row], above[step, row]
            second, cell, now = future[row], memory[step, row], memory[step + 1, row]
            d_now, delta = d_memory[row], d_gates[step, row]
            for k in range(4 * size):
                opened[k] = load(gate, k)
            for k in range(size):
                squashed[k] = tanh(now[k])
            for k in range(size):
                d_hidden[k] = load(first, k) + load(second, k)
            for k in range(size):
                d_o[k] = d_hidden[k] * squashed[k] * o[k] * (f32(1) - o[k])
            for k in range(size):
                d_now[k] += d_hidden[k] * o[k] * (f32(1) - squashed[k] * squashed[k]) + d_o[k] * peep[2 * size + k]
            for k in range(size):
                d_i[k] = d_now[k] * g[k] * i[k] * (f32(1) - i[k])
            for k in range(size):
                d_f[k] = d_now[k] * cell[k] * f[k] * (f32(1) - f[k])
            for k in range(size):
                d_g[k] = d_now[k] * i[k] * (f32(1) - g[k] * g[k])
            for k in range(size):
                d_now[k] = d_now[k] * f[k] + d_i[k] * peep[k] + d_f[k] * peep[size + k]
            for k in range(size):
                d_peep[k] += d_i[k] * cell[k]
            for k in range(size):
                d_peep[size + k] += d_f[k] * cell[k]
            for k in range(size):
                d_peep[2 * size + k] += d_o[k] * now[k]
            for k in range(4 * size):
                d_bias[k] += deltas[k]
            for k in range(4 * size):
                delta[k] = rounded(delta, deltas[k])
