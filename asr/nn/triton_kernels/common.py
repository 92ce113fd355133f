"""What the kernels share: which row and which cells a program takes, numbers in and out of memory, functions."""

import triton
import triton.language as tl

# Compiled once for all lengths and batches.
step_kernel = triton.jit(do_not_specialize=["step", "steps", "rows"])


@triton.jit
def cells_of(size: tl.constexpr, block: tl.constexpr):
    """Return the cells of this program, and which of them there are."""
    k = tl.program_id(1) * block + tl.arange(0, block)
    return k, k < size


@triton.jit
def places_of(step, steps, rows):
    """Return where this program's row is in (C, E, N), in (C, E + 1, N) and in (C, N), and its direction."""
    row = tl.program_id(0).to(tl.int64)
    direction = row // rows
    here = (direction * steps + step) * rows + row % rows
    return here, here + direction * rows, row, direction


@triton.jit
def load(array, k, there):
    return tl.load(array + k, mask=there, other=0.0).to(tl.float32)


@triton.jit
def store(array, k, values, there):
    tl.store(array + k, values, mask=there)


@triton.jit
def add(array, k, values, there):
    tl.store(array + k, load(array, k, there) + values, mask=there)


@triton.jit
def load_four(array, k, size: tl.constexpr, there):
    """Return what four gates hold."""
    i, f = load(array, k, there), load(array, k + size, there)
    g, o = load(array, k + 2 * size, there), load(array, k + 3 * size, there)
    return i, f, g, o


@triton.jit
def store_four(array, k, i, f, g, o, size: tl.constexpr, there):
    store(array, k, i, there)
    store(array, k + size, f, there)
    store(array, k + 2 * size, g, there)
    store(array, k + 3 * size, o, there)


@triton.jit
def total(gate, product, bias, k, there):
    return load(gate, k, there) + load(product, k, there) + load(bias, k, there)


@triton.jit
def from_later(d_memory, from_memory, k, there, remembers: tl.constexpr):
    """Return the gradient of the memory after a step, but for what its hidden values give."""
    gradient = load(d_memory, k, there)
    if remembers:
        gradient += load(from_memory, k, there)
    return gradient


@triton.jit
def tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def relu(x):
    return tl.where(x < 0, 0.0, x)  # not a maximum, which may lose a NaN


@triton.jit
def log_sigmoid(x):
    return tl.minimum(x, 0.0) - tl.log(1 + tl.exp(-tl.abs(x)))
