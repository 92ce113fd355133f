"""Compiled steps of the cells: gates, memory and hidden values, and their gradients.

Each cell has two functions, which take rows of values that are still in the cache and read each of them once.
Each short loop writes one array, since the compiler gives up making vectors of a loop with many of them.
E is the number of steps, N of rows, H of cells, G of gates.  Taken are the steps from `start` to before `stop`,
backwards in the other order.  Where a step needs a product of the one before it that is taken outside, it is one step.

    step_forward(start, stop, gates, past, recurrent, vectors, kept, memory, hidden, inner)
    step_backward(start, stop, gates, vectors, kept, memory, inner, above, future, d_memory, d_gates, d_past, d_vectors)

    gates      (E, N, G * H)  the sums that the input gives; what the backward step needs of them is left in their place
    past       (N, G * H)     the product of the last hidden values and the recurrent matrix; filled if that is given
    recurrent  (G * H, P)     the recurrent matrix, for the kernel to take the products itself; (0, ...): it need not
    vectors    (...,)         float32 biases, peepholes and gains, in the order that the cell hands out
    kept       (E, N, ...)    what the backward step needs besides
    memory     (E + 1, N, M)  float32 memory before the first step and after each, filled
    hidden     (E + 1, N, P)  hidden values before the first step and after each; read by the kernel's own product
    inner      (E, N, H)      hidden values after each step before they are projected, filled: mostly `hidden[1:]`
    above      (E, N, H)      gradient of the hidden values, from the layer's output
    future     (N, H)         the same, from the next step's recurrent product
    d_memory   (N, M)         float32 gradient of the memory: after the last step, and on return before the first
    d_gates    (E, N, G * H)  gradient of the sums, filled
    d_past     (E, N, G * H)  gradient of the recurrent product, filled where it differs from that of the sums
    d_vectors  (...,)         float32, added to
"""
