"""Bidirectional LSTM layers without packing: exact on padded batches, and fast on CPU and GPU."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asr.nn.reversal import reverse

FORGET_BIAS = 1.0
SMALL = 192  # cells; below, torch's own training step on CPU is faster than ours


class BidirectionalLSTM(nn.Module):
    """One bidirectional LSTM layer, time-major, as two one-way layers.

    The backward direction reads each sequence reversed within its own length (see `asr.nn.reversal`), so the
    output equals `nn.LSTM` on a packed sequence, at several times its speed on CPU.
    Source: Hochreiter & Schmidhuber 1997; Graves & Schmidhuber 2005 (bidirectional).
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(input_size, hidden_size)
        self.backwards = nn.LSTM(input_size, hidden_size)
        for direction in (self.forwards, self.backwards):
            initialize_lstm(direction)

    def forward(self, inputs: Tensor, index: Tensor) -> Tensor:
        """Return (E, B, 2 * hidden_size).  Args: inputs (E, B, D); index from `reversal_index`."""
        ahead, back = run_lstms([self.forwards, self.backwards], [inputs, reverse(inputs, index)])
        return torch.cat([ahead, reverse(back, index)], dim=-1)


def run_lstms(lstms: Sequence[nn.LSTM], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the outputs (E, B, H) of one-layer, one-way LSTMs of one size from a zero state, each of its inputs.

    By the faster of two ways that give the same: in training on CPU torch's own is slow.
    """
    if torch.is_grad_enabled() and inputs[0].device.type == "cpu" and lstms[0].hidden_size >= SMALL:
        from asr.nn.lstm import can_train, train_lstms  # not above: who transcribes need not load a compiler

        if can_train(lstms):
            return train_lstms(lstms, inputs)
    return tuple(lstm(values)[0] for lstm, values in zip(lstms, inputs, strict=True))


def initialize_lstm(lstm: nn.LSTM) -> None:
    """Start a one-layer LSTM: uniform inputs, orthogonal recurrence, forget gate open.

    The forget gate's bias is 1 (Gers et al. 2000; Jozefowicz et al. 2015), so memory is kept from the start.
    torch adds two biases; the recurrent one starts at 0.
    """
    if lstm.weight_hh_l0.is_meta:  # only a shape, to be filled from a file
        return
    size = lstm.hidden_size
    parameters = dict(lstm.named_parameters())
    bound = 0.5 * math.sqrt(3.0 / lstm.input_size)
    with torch.no_grad():
        parameters["weight_ih_l0"].uniform_(-bound, bound)
        for gate in parameters["weight_hh_l0"].split(size):
            nn.init.orthogonal_(gate, gain=0.5)
        parameters["bias_ih_l0"].zero_()
        parameters["bias_hh_l0"].zero_()
        parameters["bias_ih_l0"][size : 2 * size] = FORGET_BIAS  # torch's order: input, forget, cell, output
