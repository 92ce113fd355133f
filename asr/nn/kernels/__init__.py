"""Compiled steps of the cells: gates, memory and hidden values of one step, and their gradients.

Each cell has two functions, which take rows of values that are still in the cache and read each of them once.
Each short loop writes one array, since the compiler gives up making vectors of a loop with many of them.
N is the number of rows, H of cells, G of gates.

    step_forward(gates, past, vectors, kept, before, memory, hidden)
    step_backward(gates, vectors, kept, before, memory, hidden, above, future, d_memory, d_gates, d_past, d_vectors)

    gates      (N, G * H)  the sums that the input gives; what the backward step needs of them is left in their place
    past       (N, ...)    the product of the last hidden values and the recurrent matrix; read only
    vectors    (...,)      float32 biases, peepholes and gains, in the order that the cell hands out
    kept       (N, ...)    what the backward step needs besides
    before     (N, M)      float32 memory before the step
    memory     (N, M)      float32 memory after it, filled
    hidden     (N, H)      hidden values after it, filled
    above      (N, H)      gradient of the hidden values, from the layer's output
    future     (N, H)      the same, from the next step's recurrent product
    d_memory   (N, M)      float32 gradient of the memory: after the step, and on return before it
    d_gates    (N, G * H)  gradient of the sums, filled
    d_past     (N, ...)    gradient of the recurrent product, filled where it differs from that of the sums
    d_vectors  (...,)      float32, added to
"""
