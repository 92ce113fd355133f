"""Steps of the minimal GRU, which has no recurrent product; gates: update, candidate.

The memory is the hidden values in float32.  Arguments: see `asr.nn.kernels`.
"""

from typing import Any

import numpy as np

from asr.native import compiled
from asr.nn.kernels.arithmetic import f32, load, rounded, sigmoid


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
    opened = np.empty(2 * size, np.float32)
    z, a = opened[:size], opened[size:]
    for step in range(start, stop):
        for row in range(memory.shape[1]):
            gate, old, now, out = gates[step, row], memory[step, row], memory[step + 1, row], inner[step, row]
            for k in range(size):
                opened[k] = sigmoid(load(gate, k) + bias[k])
            for k in range(size, 2 * size):
                opened[k] = load(gate, k) + bias[k]
            for k in range(size):
                now[k] = old[k] + z[k] * (a[k] - old[k])
            for k in range(size):
                out[k] = rounded(out, now[k])
            for k in range(2 * size):
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
    opened = np.empty(2 * size, np.float32)
    z, a = opened[:size], opened[size:]
    for step in range(stop - 1, start - 1, -1):
        for row in range(memory.shape[1]):
            gate, first = gates[step, row], above[step, row]
            old, d_now, delta = memory[step, row], d_memory[row], d_gates[step, row]
            for k in range(2 * size):
                opened[k] = load(gate, k)
            for k in range(size):
                d_now[k] += load(first, k)
            d_z, d_a = delta[:size], delta[size:]
            for k in range(size):
                d_z[k] = rounded(d_z, d_now[k] * (a[k] - old[k]) * z[k] * (f32(1) - z[k]))
            for k in range(size):
                d_a[k] = rounded(d_a, d_now[k] * z[k])
            for k in range(size):
                d_now[k] *= f32(1) - z[k]
            for k in range(2 * size):
                d_bias[k] += load(delta, k)
