"""The plain recurrent layer, whose memory is its output: the baseline that forgets."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from asr.nn.cells.cell import GatedCell, Gates, State, StepKernel, step_kernels

Activation = Literal["tanh", "relu"]


class Rnn(GatedCell):
    """h_t = tanh(W x_t + U h_{t-1} + b), or ReLU in place of tanh.

    The recurrent matrix starts orthogonal at gain 1: a smaller one would let gradients vanish from the first step on.
    Source: Elman 1990, "Finding structure in time"; Le et al. 2015 (ReLU, from the identity).
    """

    gates = 1
    memories = 0
    opens: ClassVar = {}

    def __init__(self, input_size: int, hidden_size: int, *, activation: Activation = "tanh") -> None:
        super().__init__(input_size, hidden_size)
        self.activation = activation
        if self.weight_rec.is_meta:
            return
        if activation == "tanh":
            nn.init.orthogonal_(self.weight_rec)
        else:
            nn.init.eye_(self.weight_rec)

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        hidden, memory = state
        total = self.added(sums, hidden)
        return {}, (torch.tanh(total) if self.activation == "tanh" else torch.relu(total), memory)

    def remembered(self, state: State) -> Tensor:
        """Return what each cell holds: what it puts out."""
        return state[0]

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("rnn", device)
        if self.activation == "tanh":
            return StepKernel(kernels.tanh_forward, kernels.tanh_backward)
        return StepKernel(kernels.relu_forward, kernels.relu_backward)
