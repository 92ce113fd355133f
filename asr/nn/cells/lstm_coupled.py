"""The LSTM that takes in as much as it forgets."""

import torch
from torch import Tensor

from asr.nn.cells.cell import LSTM_GATES, GatedCell, Gates, State, StepKernel, step_kernels


class CoupledLstm(GatedCell):
    """The LSTM whose input gate is 1 - forget gate: c_t = f c_{t-1} + (1 - f) g.  Gates: forget, cell input, output.

    Source: Greff et al. 2015, "LSTM: a search space odyssey" (the variant CIFG).
    """

    gates = 3
    memories = 1
    opens = LSTM_GATES | {"input": "lets the new value in, 1 - forget gate"}
    keep_gate = 0

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        hidden, cell = state
        f, g, o = self.added(sums, hidden).chunk(3, -1)
        forget, show = torch.sigmoid(f), torch.sigmoid(o)
        enter = 1 - forget
        cell = forget * cell + enter * torch.tanh(g)
        return {"input": enter, "forget": forget, "output": show}, (show * torch.tanh(cell), cell)

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("lstm_coupled", device)
        return StepKernel(kernels.step_forward, kernels.step_backward)
