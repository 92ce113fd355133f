"""Steps of the minimal GRU, which has no recurrent product: all in one call; gates: update, candidate.

The memory is the hidden values in float32.  Arguments: see `asr.nn.triton_kernels`.
"""

import triton.language as tl

from asr.nn.triton_kernels.common import cells_of, load, places_of, step_kernel, store


@step_kernel
def step_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Open the gates; fill memory and inner."""
    k, there = cells_of(size, block)
    _, start, _, direction = places_of(0, steps, rows)
    bias = vectors + direction * (2 * size)
    bias_z, bias_a = load(bias, k, there), load(bias, k + size, there)
    now = load(memory + start * size, k, there)
    t = 0
    while t < steps:
        here, before, _, _ = places_of(t, steps, rows)
        gate, after = gates + here * (2 * size), (before + rows) * size
        z = tl.sigmoid(load(gate, k, there) + bias_z)
        a = load(gate, k + size, there) + bias_a
        now += z * (a - now)
        store(memory + after, k, now, there)
        store(inner + after, k, now, there)
        store(gate, k, z, there)
        store(gate, k + size, a, there)
        t += 1


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
    _, _, row, _ = places_of(0, steps, rows)
    d_old = d_memory + row * size
    d_now = load(d_old, k, there)
    t = steps
    while t > 0:
        t -= 1
        here, before, _, _ = places_of(t, steps, rows)
        gate, delta = gates + here * (2 * size), d_gates + here * (2 * size)
        z, a, old = load(gate, k, there), load(gate, k + size, there), load(memory + before * size, k, there)
        d_now += load(above + here * size, k, there)
        if remembers:
            d_now += load(from_memory + here * size, k, there)
        store(delta, k, d_now * (a - old) * z * (1 - z), there)
        store(delta, k + size, d_now * z, there)
        d_now *= 1 - z
    store(d_old, k, d_now, there)
