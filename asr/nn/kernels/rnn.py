"""Steps of a plain recurrent layer, by tanh or ReLU; arguments: see `asr.nn.kernels`."""

from typing import Any

from asr.native import compiled
from asr.nn.kernels.arithmetic import f32, load, multiply, relu, rounded, tanh


@compiled
def tanh_forward(
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
    """Fill inner."""
    for step in range(start, stop):
        if len(recurrent):
            multiply(hidden[step], recurrent, past)
        for row in range(inner.shape[1]):
            gate, product, out = gates[step, row], past[row], inner[step, row]
            for k in range(inner.shape[2]):
                out[k] = rounded(out, tanh(load(gate, k) + load(product, k) + bias[k]))


@compiled
def relu_forward(
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
    """Fill inner."""
    for step in range(start, stop):
        if len(recurrent):
            multiply(hidden[step], recurrent, past)
        for row in range(inner.shape[1]):
            gate, product, out = gates[step, row], past[row], inner[step, row]
            for k in range(inner.shape[2]):
                out[k] = rounded(out, relu(load(gate, k) + load(product, k) + bias[k]))


@compiled
def tanh_backward(
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
    """Fill d_gates."""
    for step in range(stop - 1, start - 1, -1):
        for row in range(inner.shape[1]):
            out, first, second, delta = inner[step, row], above[step, row], future[row], d_gates[step, row]
            for k in range(inner.shape[2]):
                delta[k] = rounded(delta, (load(first, k) + load(second, k)) * (f32(1) - load(out, k) * load(out, k)))
            for k in range(inner.shape[2]):
                d_bias[k] += load(delta, k)


@compiled
def relu_backward(
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
    """Fill d_gates."""
    for step in range(stop - 1, start - 1, -1):
        for row in range(inner.shape[1]):
            out, first, second, delta = inner[step, row], above[step, row], future[row], d_gates[step, row]
            for k in range(inner.shape[2]):
                open_ = f32(1) if load(out, k) > f32(0) else f32(0)
                delta[k] = rounded(delta, (load(first, k) + load(second, k)) * open_)
            for k in range(inner.shape[2]):
                d_bias[k] += load(delta, k)
