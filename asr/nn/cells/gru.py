"""The GRU: two gates, and a memory that is the output."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from asr.nn.cells.cell import GatedCell, Gates, Operands, State, StepKernel, step_kernels


class Gru(GatedCell):
    """r, z = sigmoid(W x_t + U h_{t-1} + b);  n = tanh(W x_t + b + r (U h_{t-1} + b'));  h_t = (1 - z) n + z h_{t-1}.

    Gates in torch's order: reset, update, candidate; the reset gate scales the product and not the hidden values, as
    in `nn.GRU` and cuDNN, so one product serves all gates.  `candidate_bias` is b' (H,).
    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", section 2.3.
    """

    gates = 3
    memories = 1  # the hidden values, in float32
    opens: ClassVar = {"reset": "lets the past into the candidate", "update": "keeps the memory"}
    keep_gate = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.candidate_bias = nn.Parameter(torch.zeros(hidden_size))

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        _, memory = state
        size = self.hidden_size
        biased = sums + self.bias
        past = nn.functional.linear(memory, self.weight_rec)
        r, z = torch.sigmoid(biased[..., : 2 * size] + past[..., : 2 * size]).chunk(2, -1)
        n = torch.tanh(biased[..., 2 * size :] + r * (past[..., 2 * size :] + self.candidate_bias))
        memory = (1 - z) * n + z * memory
        return {"reset": r, "update": z}, (memory, memory)

    def operands(self) -> Operands:
        """Return recurrent matrix and biases."""
        return Operands(self.weight_rec, None, torch.cat([self.bias, self.candidate_bias]))

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("gru", device)
        return StepKernel(kernels.step_forward, kernels.step_backward, kept=self.hidden_size, splits=True)
