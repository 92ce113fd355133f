"""The LSTM with layer norm on its sums and on its cell."""

import torch
from torch import Tensor, nn

from asr.nn.cells.cell import LSTM_GATES, GatedCell, Gates, Operands, State, StepKernel, step_kernels


class LayerNormLstm(GatedCell):
    """The LSTM with the sums of the input, those of the past and the cell normalised over the cells of the layer.

    sums = LN(W x_t) + LN(U h_{t-1}) + b;  c_t = f c_{t-1} + i g;  h_t = o tanh(LN(c_t)).  The first norm has a gain
    alone, as the second: their shifts are in b.  It is taken over all four gates together, as in the paper.
    Source: Ba et al. 2016, "Layer normalization", equations 20 to 22.
    """

    gates = 4
    memories = 1
    opens = LSTM_GATES
    keep_gate = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gain_in = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_rec = nn.Parameter(torch.ones(4 * hidden_size))
        self.cell_gain = nn.Parameter(torch.ones(hidden_size))
        self.cell_bias = nn.Parameter(torch.zeros(hidden_size))

    def normed(self, sums: Tensor) -> Tensor:
        """Return what the inputs give to the gates, normalised."""
        return _norm(sums, self.gain_in)

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        hidden, cell = state
        past = _norm(nn.functional.linear(hidden, self.weight_rec), self.gain_rec)
        i, f, g, o = (sums + past + self.bias).chunk(4, -1)
        enter, forget, show = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)
        cell = forget * cell + enter * torch.tanh(g)
        hidden = show * torch.tanh(_norm(cell, self.cell_gain, self.cell_bias))
        return {"input": enter, "forget": forget, "output": show}, (hidden, cell)

    def operands(self) -> Operands:
        """Return recurrent matrix, bias, gains and the bias of the cell's norm."""
        vectors = torch.cat([self.bias, self.gain_rec, self.cell_gain, self.cell_bias])
        return Operands(self.weight_rec, None, vectors)

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("lstm_layernorm", device)
        forward, backward = kernels.step_forward, kernels.step_backward
        return StepKernel(forward, backward, kept=4 * self.hidden_size, splits=True, whole_rows=True)


def _norm(values: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    dtype = values.dtype
    shift = None if bias is None else bias.to(dtype)
    return nn.functional.layer_norm(values, values.shape[-1:], gain.to(dtype), shift)
