"""Steps of the LSTM whose input gate is what the forget gate leaves; gates: forget, cell input, output.

Arguments: see `asr.nn.kernels`.
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
    bias: Any,
    kept: Any,
    memory: Any,
    hidden: Any,
    inner: Any,
) -> None:
    """Open the gates; fill memory and inner."""
    size = memory.shape[2]
    opened = np.empty(3 * size, np.float32)
    f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size :]
    for step in range(start, stop):
        if len(recurrent):
            multiply(hidden[step], recurrent, past)
        for row in range(memory.shape[1]):
            gate, product = gates[step, row], past[row]
            cell, now, out = memory[step, row], memory[step + 1, row], inner[step, row]
            for k in range(size):
                opened[k] = sigmoid(load(gate, k) + load(product, k) + bias[k])
            for k in range(size, 2 * size):
                opened[k] = tanh(load(gate, k) + load(product, k) + bias[k])
            for k in range(2 * size, 3 * size):
                opened[k] = sigmoid(load(gate, k) + load(product, k) + bias[k])
            for k in range(size):
                now[k] = f[k] * cell[k] + (f32(1) - f[k]) * g[k]
            for k in range(size):
                out[k] = rounded(out, o[k] * tanh(now[k]))
            for k in range(3 * size):
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
    size = memory.shape[2]
    opened = np.empty(3 * size, np.float32)
    f, g, o = opened[:size], opened[size : 2 * size], opened[2 * size :]
    d_hidden, squashed = np.empty(size, np.float32), np.empty(size, np.float32)
    for step in range(stop - 1, start - 1, -1):
        for row in range(memory.shape[1]):
            gate, first = gates[step, row], above[step, row]
            second, cell, now = future[row], memory[step, row], memory[step + 1, row]
            d_now, delta = d_memory[row], d_gates[step, row]
            for k in range(3 * size):
                opened[k] = load(gate, k)
            for k in range(size):
                squashed[k] = tanh(now[k])
            for k in range(size):
                d_hidden[k] = load(first, k) + load(second, k)
            for k in range(size):
                d_now[k] += d_hidden[k] * o[k] * (f32(1) - squashed[k] * squashed[k])
            d_f, d_g, d_o = delta[:size], delta[size : 2 * size], delta[2 * size :]
            for k in range(size):
                d_f[k] = rounded(d_f, d_now[k] * (cell[k] - g[k]) * f[k] * (f32(1) - f[k]))
            for k in range(size):
                d_g[k] = rounded(d_g, d_now[k] * (f32(1) - f[k]) * (f32(1) - g[k] * g[k]))
            for k in range(size):
                d_o[k] = rounded(d_o, d_hidden[k] * squashed[k] * o[k] * (f32(1) - o[k]))
            for k in range(size):
                d_now[k] *= f[k]
            for k in range(3 * size):
                d_bias[k] += load(delta, k)
