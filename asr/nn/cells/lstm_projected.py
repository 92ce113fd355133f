"""The LSTM that shows fewer values than it remembers."""

import torch
from torch import Tensor, nn

from asr.nn.cells.cell import LSTM_GATES, GatedCell, Gates, Operands, State, StepKernel, step_kernels
from asr.nn.cells.lstm import lstm_step


class ProjectedLstm(GatedCell):
    """The LSTM whose hidden values are projected to fewer, which the next step and the next layer see.

    h_t = P (o tanh(c_t)).  Without a width it is half the cells.
    Source: Sak et al. 2014, "Long short-term memory based recurrent neural network architectures for large
    vocabulary speech recognition" (the recurrent projection layer).
    """

    gates = 4
    memories = 1
    opens = LSTM_GATES
    keep_gate = 1

    def __init__(self, input_size: int, hidden_size: int, *, projection: int = 0) -> None:
        self._width = projection or max(1, hidden_size // 2)
        super().__init__(input_size, hidden_size, output_size=self._width)
        self.projection = nn.Parameter(torch.empty(self._width, hidden_size))
        if not self.projection.is_meta:
            nn.init.orthogonal_(self.projection)

    @property
    def output_size(self) -> int:
        """P, the hidden values that it puts out."""
        return self._width

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        gates, (hidden, cell) = lstm_step(self.added(sums, state[0]), state[1])
        return gates, (nn.functional.linear(hidden, self.projection), cell)

    def operands(self) -> Operands:
        """Return recurrent matrix, projection and bias."""
        return Operands(self.weight_rec, self.projection, self.bias)

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device: the LSTM's."""
        kernels = step_kernels("lstm", device)
        return StepKernel(kernels.step_forward, kernels.step_backward)
