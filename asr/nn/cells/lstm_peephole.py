"""The LSTM whose gates see the memory cell."""

import torch
from torch import Tensor, nn

from asr.nn.cells.cell import LSTM_GATES, GatedCell, Gates, Operands, State, StepKernel, step_kernels


class PeepholeLstm(GatedCell):
    """The LSTM with diagonal peepholes: input and forget gate see c_{t-1}, the output gate sees c_t.

    i = sigmoid(W x_t + U h_{t-1} + p_i c_{t-1} + b);  f = sigmoid(... + p_f c_{t-1});  c_t = f c_{t-1} + i g;
    o = sigmoid(... + p_o c_t);  h_t = o tanh(c_t).  With `peepholes` (3, H) of 0, as they start, it is the LSTM.
    Source: Gers & Schmidhuber 2000, "Recurrent nets that time and count"; Graves 2013, equations 7 to 11.
    """

    gates = 4
    memories = 1
    opens = LSTM_GATES
    keep_gate = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden_size))

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        hidden, cell = state
        see_in, see_forget, see_out = self.peepholes
        i, f, g, o = self.added(sums, hidden).chunk(4, -1)
        enter, forget = torch.sigmoid(i + see_in * cell), torch.sigmoid(f + see_forget * cell)
        cell = forget * cell + enter * torch.tanh(g)
        show = torch.sigmoid(o + see_out * cell)
        return {"input": enter, "forget": forget, "output": show}, (show * torch.tanh(cell), cell)

    def operands(self) -> Operands:
        """Return recurrent matrix, bias and peepholes."""
        return Operands(self.weight_rec, None, torch.cat([self.bias, self.peepholes.flatten()]))

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("lstm_peephole", device)
        return StepKernel(kernels.step_forward, kernels.step_backward)
