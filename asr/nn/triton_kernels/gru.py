"""Steps of the GRU; gates in torch's order: reset, update, candidate.  Arguments: see `asr.nn.triton_kernels`.

The memory is the hidden values in float32.  Vectors: the bias of the sums (3H), then that of the candidate's recurrent
product (H), which the reset gate scales.  Kept: that product with its bias (H).
"""

import triton.language as tl

from asr.nn.triton_kernels.common import add, cells_of, from_later, load, places_of, step_kernel, store, tanh, total


@step_kernel
def step_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size: tl.constexpr, block: tl.constexpr):
    """Open the gates; fill kept, memory and inner."""
    k, there = cells_of(size, block)
    here, before, row, direction = places_of(step, steps, rows)
    gate, product, bias = gates + here * (3 * size), past + row * (3 * size), vectors + direction * (4 * size)
    r = tl.sigmoid(total(gate, product, bias, k, there))
    z = tl.sigmoid(total(gate, product, bias, k + size, there))
    candidate = load(product, k + 2 * size, there) + load(bias, k + 3 * size, there)
    n = tanh(load(gate, k + 2 * size, there) + load(bias, k + 2 * size, there) + r * candidate)
    now = n + z * (load(memory + before * size, k, there) - n)
    after = (before + rows) * size
    store(memory + after, k, now, there)
    store(inner + after, k, now, there)
    store(kept + here * size, k, candidate, there)
    store(gate, k, r, there)
    store(gate, k + size, z, there)
    store(gate, k + 2 * size, n, there)


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
    """Fill d_gates and d_past; take d_memory back."""
    k, there = cells_of(size, block)
    here, before, row, _ = places_of(step, steps, rows)
    gate, delta, back = gates + here * (3 * size), d_gates + here * (3 * size), d_past + here * (3 * size)
    d_old = d_memory + row * size
    r, z, n = load(gate, k, there), load(gate, k + size, there), load(gate, k + 2 * size, there)
    old, candidate = load(memory + before * size, k, there), load(kept + here * size, k, there)
    d_now = from_later(d_old, from_memory + here * size, k, there, remembers) + load(above + here * size, k, there)
    d_n = d_now * (1 - z) * (1 - n * n)
    d_z = d_now * (old - n) * z * (1 - z)
    d_r = d_n * candidate * r * (1 - r)
    store(delta, k, d_r, there)
    store(delta, k + size, d_z, there)
    store(delta, k + 2 * size, d_n, there)
    store(back, k, d_r, there)
    store(back, k + size, d_z, there)
    store(back, k + 2 * size, d_n * r, there)
    add(d_extra + row * size, k, d_n * r, there)
    store(d_old, k, d_now * z, there)
