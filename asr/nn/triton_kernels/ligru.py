"""Steps of the light GRU; gates: update, candidate.  The memory is the hidden values in float32.

Arguments: see `asr.nn.triton_kernels`.
"""

import triton.language as tl

from asr.nn.triton_kernels.common import cells_of, from_later, load, places_of, relu, step_kernel, store, total


@step_kernel
def step_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Open the gates; fill memory and inner."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    gate, product, bias = gates + here * (2 * size), past + row * (2 * size), vectors + direction * (2 * size)
    z = tl.sigmoid(total(gate, product, bias, k, there))
    a = relu(total(gate, product, bias, k + size, there))
    now = a + z * (load(memory + before * size, k, there) - a)
    after = (before + rows) * size
    store(memory + after, k, now, there)
    store(inner + after, k, now, there)
    store(gate, k, z, there)
    store(gate, k + size, a, there)


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
    """Fill d_gates; take d_memory back."""
    k, there = cells_of(size, block)
    here, before, row, _ = places_of(step, steps, rows)
    gate, delta, d_old = gates + here * (2 * size), d_gates + here * (2 * size), d_memory + row * size
    z, a, old = load(gate, k, there), load(gate, k + size, there), load(memory + before * size, k, there)
    d_now = from_later(d_old, from_memory + here * size, k, there, remembers) + load(above + here * size, k, there)
    store(delta, k, d_now * (old - a) * z * (1 - z), there)
    store(delta, k + size, tl.where(a > 0, d_now * (1 - z), 0.0), there)
    store(d_old, k, d_now * z, there)
