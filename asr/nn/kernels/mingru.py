"""One step of the minimal GRU, which has no recurrent product; gates: update, candidate.

The memory is the hidden values in float32.  Arguments: see `asr.nn.kernels`.
"""

from typing import Any

import numpy as np

from asr.native import compiled
from asr.nn.kernels.arithmetic import f32, load, rounded, sigmoid


@compiled
def step_forward(gates: Any, past: Any, bias: Any, kept: Any, before: Any, memory: Any, hidden: Any) -> None:
    """Open the gates; fill memory and hidden."""
    size = memory.shape[1]
    opened = np.empty(2 * size, np.float32)
    z, a = opened[:size], opened[size:]
    for row in range(memory.shape[0]):
        gate, old, now, out = gates[row], before[row], memory[row], hidden[row]
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
    gates: Any,
    bias: Any,
    kept: Any,
    before: Any,
    memory: Any,
    hidden: Any,
    above: Any,
    future: Any,
    d_memory: Any,
    d_gates: Any,
    d_past: Any,
    d_bias: Any,
) -> None:
    """Fill d_gates; take d_memory a step back."""
    size = memory.shape[1]
    opened = np.empty(2 * size, np.float32)
    z, a = opened[:size], opened[size:]
    for row in range(memory.shape[0]):
        gate, first, old, d_now, delta = gates[row], above[row], before[row], d_memory[row], d_gates[row]
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
