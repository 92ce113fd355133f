"""The LSTM that takes in as much as it forgets."""

import torch
from torch import Tensor

from asr.nn.cells.cell import GatedCell, State, StepKernel


class CoupledLstm(GatedCell):
    """The LSTM whose input gate is 1 - forget gate: c_t = f c_{t-1} + (1 - f) g.  Gates: forget, cell input, output.

    Source: Greff et al. 2015, "LSTM: a search space odyssey" (the variant CIFG).
    """

    gates = 3
    memories = 1
    keep_gate = (0, 1)

    def step(self, sums: Tensor, state: State) -> State:
        """Return the state after one step."""
        hidden, cell = state
        f, g, o = self.added(sums, hidden).chunk(3, -1)
        forget = torch.sigmoid(f)
        cell = forget * cell + (1 - forget) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell

    def kernel(self) -> StepKernel:
        """Return the compiled steps."""
        from asr.nn.kernels import lstm_coupled

        return StepKernel(lstm_coupled.step_forward, lstm_coupled.step_backward)
