"""The light GRU: no reset gate, ReLU, and sums of the input that are normalised."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from asr.nn.cells.cell import GatedCell, Gates, State, StepKernel, step_kernels


class LightGru(GatedCell):
    """z = sigmoid(N(W x_t) + U h_{t-1} + b);  a = ReLU(N(W x_t) + U h_{t-1} + b);  h_t = z h_{t-1} + (1 - z) a.

    N is a layer norm of each gate where the paper takes batch norm, which would let padding and batch neighbours in
    (docs/decisions/007-ligru-layer-norm.md).  Gates: update, candidate.
    Source: Ravanelli et al. 2018, "Light gated recurrent units for speech recognition", equations 6 to 8.
    """

    gates = 2
    memories = 1  # the hidden values, in float32
    opens: ClassVar = {"update": "keeps the memory"}
    keep_gate = 0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gain_in = nn.Parameter(torch.ones(2, hidden_size))

    def normed(self, sums: Tensor) -> Tensor:
        """Return what the inputs give to the gates, each normalised."""
        gates = sums.unflatten(-1, (2, self.hidden_size))
        normal = nn.functional.layer_norm(gates, gates.shape[-1:])
        return (normal * self.gain_in.to(gates.dtype)).flatten(-2)

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        _, memory = state
        z, a = self.added(sums, memory).chunk(2, -1)
        keep = torch.sigmoid(z)
        memory = keep * memory + (1 - keep) * torch.relu(a)
        return {"update": keep}, (memory, memory)

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("ligru", device)
        return StepKernel(kernels.step_forward, kernels.step_backward)
