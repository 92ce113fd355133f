"""One step of a plain recurrent layer, by tanh or ReLU; arguments: see `asr.nn.kernels`."""

from typing import Any

from asr.native import compiled
from asr.nn.kernels.arithmetic import f32, load, relu, rounded, tanh


@compiled
def tanh_forward(gates: Any, past: Any, bias: Any, kept: Any, before: Any, memory: Any, hidden: Any) -> None:
    """Fill hidden."""
    for row in range(hidden.shape[0]):
        gate, recurrent, out = gates[row], past[row], hidden[row]
        for k in range(hidden.shape[1]):
            out[k] = rounded(out, tanh(load(gate, k) + load(recurrent, k) + bias[k]))


@compiled
def relu_forward(gates: Any, past: Any, bias: Any, kept: Any, before: Any, memory: Any, hidden: Any) -> None:
    """Fill hidden."""
    for row in range(hidden.shape[0]):
        gate, recurrent, out = gates[row], past[row], hidden[row]
        for k in range(hidden.shape[1]):
            out[k] = rounded(out, relu(load(gate, k) + load(recurrent, k) + bias[k]))


@compiled
def tanh_backward(
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
    """Fill d_gates."""
    for row in range(hidden.shape[0]):
        out, first, second, delta = hidden[row], above[row], future[row], d_gates[row]
        for k in range(hidden.shape[1]):
            delta[k] = rounded(delta, (load(first, k) + load(second, k)) * (f32(1) - load(out, k) * load(out, k)))
        for k in range(hidden.shape[1]):
            d_bias[k] += load(delta, k)


@compiled
def relu_backward(
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
    """Fill d_gates."""
    for row in range(hidden.shape[0]):
        out, first, second, delta = hidden[row], above[row], future[row], d_gates[row]
        for k in range(hidden.shape[1]):
            open_ = f32(1) if load(out, k) > f32(0) else f32(0)
            delta[k] = rounded(delta, (load(first, k) + load(second, k)) * open_)
        for k in range(hidden.shape[1]):
            d_bias[k] += load(delta, k)
