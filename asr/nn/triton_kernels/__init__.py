"""Steps of the cells on GPUs, in Triton: gates, memory and hidden values, and their gradients.

Each cell has two functions, as in `asr.nn.kernels` and by the same formulas, but for one step of C directions of a
layer side by side.  A program takes one row of one direction, and `block` of its H cells, or all where they are
normalised together.  What is computed is float32; arrays not marked so are of the type of the products.  E is the
number of steps, N of rows, G of gates.

    step_forward(step, gates, past, vectors, kept, memory, inner, steps, rows, size, block)
    step_backward(step, gates, vectors, kept, memory, inner, above, from_memory, d_memory, d_gates, d_past, d_extra,
                  steps, rows, size, block, remembers)

    step         the step to take; a cell without recurrent product takes all, whatever this says
    gates        (C, E, N, G * H)  the sums that the input gives; the open gates are left in their place
    past         (C, N, G * H)     the product of the last hidden values and the recurrent matrix
    vectors      (C, V)            float32 bias of all gates, then peepholes and gains as the cell hands them out
    kept         (C, E, N, ...)    what the backward step needs besides, filled
    memory       (C, E + 1, N, M)  float32 memory before the first step and after each, filled
    inner        (C, E + 1, N, H)  hidden values before they are projected, as `memory`; the first are not touched
    above        (C, E, N, H)      gradient of the hidden values, from the layer's output and from the next step
    from_memory  (C, E, N, M)      float32 gradient of the memory from outside; read if `remembers`
    d_memory     (C, N, M)         float32 gradient of the memory from the next step, and on return from this
    d_gates      (C, E, N, G * H)  gradient of the sums, filled
    d_past       (C, E, N, G * H)  gradient of the recurrent product, filled where it differs from that of the sums
    d_extra      (C, N, V - G * H) float32 gradient of the vectors behind the bias, added to; each row has its own, so
                                   that no two programs add to one number and the sum has one order
    steps, rows  E and N;  size, block, remembers: constants of the compiled code
"""
