"""Steps of the GRU; gates in torch's order: reset, update, candidate.  Arguments: see `asr.nn.kernels`.

The memory is the hidden values in float32.  Vectors: the bias of the sums (3H), then that of the candidate's recurrent
product (H), which the reset gate scales.  Kept: that product with its bias (H).
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
    """Open the gates; fill kept, memory and inner."""
    size = memory.shape[2]
    bias, shift = vectors[: 3 * size], vectors[3 * size :]
    opened = np.empty(3 * size, np.float32)
    r, z, n = opened[:size], opened[size : 2 * size], opened[2 * size :]
    candidate = np.empty(size, np.float32)
    for step in range(start, stop):
        if len(recurrent):
            multiply(hidden[step], recurrent, past)
        for row in range(memory.shape[1]):
            gate, product, keep = gates[step, row], past[row], kept[step, row]
            old, now, out = memory[step, row], memory[step + 1, row], inner[step, row]
            gate_n, past_n, bias_n = gate[2 * size :], product[2 * size :], bias[2 * size :]
            for k in range(2 * size):
                opened[k] = sigmoid(load(gate, k) + load(product, k) + bias[k])
            for k in range(size):
                candidate[k] = load(past_n, k) + shift[k]
            for k in range(size):
                n[k] = tanh(load(gate_n, k) + bias_n[k] + r[k] * candidate[k])
            for k in range(size):
                now[k] = n[k] + z[k] * (old[k] - n[k])
            for k in range(size):
                out[k] = rounded(out, now[k])
            for k in range(size):
                keep[k] = rounded(keep, candidate[k])
            for k in range(3 * size):
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
    d_bias, d_shift = d_vectors[: 3 * size], d_vectors[3 * size :]
    opened, deltas = np.empty(3 * size, np.float32), np.empty(3 * size, np.float32)
    r, z, n = opened[:size], opened[size : 2 * size], opened[2 * size :]
    d_r, d_z, d_n = deltas[:size], deltas[size : 2 * size], deltas[2 * size :]
    for step in range(stop - 1, start - 1, -1):
        for row in range(memory.shape[1]):
            gate, first = gates[step, row], above[step, row]
            second, keep, old = future[row], kept[step, row], memory[step, row]
            d_now, delta, back = d_memory[row], d_gates[step, row], d_past[step, row]
            back_n = back[2 * size :]
            for k in range(3 * size):
                opened[k] = load(gate, k)
            for k in range(size):
                d_now[k] += load(first, k) + load(second, k)
            for k in range(size):
                d_n[k] = d_now[k] * (f32(1) - z[k]) * (f32(1) - n[k] * n[k])
            for k in range(size):
                d_z[k] = d_now[k] * (old[k] - n[k]) * z[k] * (f32(1) - z[k])
            for k in range(size):
                d_r[k] = d_n[k] * load(keep, k) * r[k] * (f32(1) - r[k])
            for k in range(size):
                d_now[k] *= z[k]
            for k in range(2 * size):
                back[k] = rounded(back, deltas[k])
            for k in range(size):
                back_n[k] = rounded(back_n, d_n[k] * r[k])
            for k in range(size):
                d_shift[k] += d_n[k] * r[k]
            for k in range(3 * size):
                d_bias[k] += deltas[k]
            for k in range(3 * size):
                delta[k] = rounded(delta, deltas[k])
