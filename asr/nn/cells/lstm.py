"""The LSTM: a memory cell with gates for what enters it, what it forgets and what it shows."""

import torch
from torch import Tensor, nn

from asr.nn.cells.cell import (
    KEEP_BIAS,
    LSTM_GATES,
    Cell,
    Gates,
    Operands,
    State,
    StepKernel,
    start_matrices,
    step_kernels,
)


class Lstm(Cell, nn.LSTM):
    """Weights, names and order of gates of `nn.LSTM`, which runs it wherever that is fastest.

    i, f, o = sigmoid(W x_t + U h_{t-1} + b);  g = tanh(W x_t + U h_{t-1} + b);  c_t = f c_{t-1} + i g;
    h_t = o tanh(c_t).  Gates in torch's order: input, forget, cell input, output.
    Source: Hochreiter & Schmidhuber 1997; the forget gate of Gers et al. 2000.
    """

    gates = 4
    memories = 1
    opens = LSTM_GATES
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        nn.LSTM.__init__(self, input_size, hidden_size)  # torch's start; `initialize_lstm` gives ours

    def input_matrix(self) -> Tensor:
        """Return the matrix from the inputs to the gates."""
        return self.weight_ih_l0

    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it."""
        hidden, cell = state
        total = sums + nn.functional.linear(hidden, self.weight_hh_l0, self.bias_ih_l0 + self.bias_hh_l0)
        return lstm_step(total, cell)

    def operands(self) -> Operands:
        """Return recurrent matrix and bias."""
        return Operands(self.weight_hh_l0, None, self.bias_ih_l0 + self.bias_hh_l0)

    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device."""
        kernels = step_kernels("lstm", device)
        return StepKernel(kernels.step_forward, kernels.step_backward)

    def run_whole(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Return (outputs (E, N, H), final state) by torch: oneDNN or cuDNN."""
        start = None if state is None else (state[0].unsqueeze(0), state[1].unsqueeze(0))
        outputs, (hidden, memory) = nn.LSTM.forward(self, inputs, start)
        return outputs, (hidden[0], memory[0])


def lstm_step(sums: Tensor, cell: Tensor) -> tuple[Gates, State]:
    """Return the gates and (hidden, cell) of one step of the LSTM from the whole sums (N, 4H) of its gates."""
    i, f, g, o = sums.chunk(4, -1)
    enter, forget, show = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)
    cell = forget * cell + enter * torch.tanh(g)
    return {"input": enter, "forget": forget, "output": show}, (show * torch.tanh(cell), cell)


def initialize_lstm(lstm: nn.LSTM) -> None:
    """Start a one-layer LSTM: uniform inputs, orthogonal recurrence, forget gate open.

    torch adds two biases; the recurrent one starts at 0.
    """
    if lstm.weight_hh_l0.is_meta:  # only a shape, to be filled from a file
        return
    size = lstm.hidden_size
    parameters = dict(lstm.named_parameters())
    start_matrices(parameters["weight_ih_l0"], parameters["weight_hh_l0"], 4)
    with torch.no_grad():
        parameters["bias_ih_l0"].zero_()
        parameters["bias_hh_l0"].zero_()
        parameters["bias_ih_l0"][size : 2 * size] = KEEP_BIAS  # torch's order: input, forget, cell, output
