"""The minimal GRU: gates that see the input alone, so that all steps can be taken at once."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from asr.nn.cells.cell import KEEP_BIAS, Cell, Gates, History, Operands, State, StepKernel, start_matrices, step_kernels


class MinimalGru(Cell):
    """z = sigmoid(W x_t + b);  h_t = (1 - z) h_{t-1} + z (W x_t + b).  Gates: update, candidate.

    Source: Feng et al. 2024, "Were RNNs all we needed?", section 3.1.
    """

    gates = 2
    memories = 1  # the hidden values, in float32
    opens: ClassVar = {"update": "replaces the memory"}

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_in = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.bias = nn.Parameter(torch.empty(2 * hidden_size))
        start_matrices(self.weight_in, None, 2)
        with torch.no_grad():
            self.bias.zero_()
            self.bias[:hidden_size] = -KEEP_BIAS  # the memory is kept where the update gate is shut

    def input_matrix(self) -> Tensor:
        """Return the matrix from the inputs to the gates."""
        return self.weight_in

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        _, memory = state
        z, a = (sums + self.bias).chunk(2, -1)
        update = torch.sigmoid(z)
        memory = (1 - update) * memory + update * a
        return {"update": update}, (memory, memory)

    def unrolled(self, sums: Tensor, state: State) -> History:
        """Return the state after each step, by as many passes as E has binary digits.

        A pass joins each step with the one 1, 2, 4, ... before it: h_t = k h_{t-1} + e is an affine map, and two of
        them are one (Hillis & Steele 1986).
        """
        z, enter = (sums + self.bias).chunk(2, -1)
        update = torch.sigmoid(z)
        keep, enter = 1 - update, update * enter
        distance = 1
        while distance < len(sums):
            enter = torch.cat([enter[:distance], enter[distance:] + keep[distance:] * enter[:-distance]])
            keep = torch.cat([keep[:distance], keep[distance:] * keep[:-distance]])
            distance *= 2
        hidden = enter + keep * state[1]
        return hidden, hidden

    def operands(self) -> Operands:
        """Return the bias."""
        return Operands(None, None, self.bias)

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("mingru", device)
        return StepKernel(kernels.step_forward, kernels.step_backward)
