"""Bidirectional layers without packing: exact on padded batches, and fast on CPU and GPU."""

import torch
from torch import Tensor, nn

from asr.nn.cells import CellName, make_cell
from asr.nn.recurrence import run_cells
from asr.nn.reversal import reverse


class BidirectionalLayer(nn.Module):
    """One bidirectional recurrent layer, time-major, as two one-way layers.

    The backward direction reads each sequence reversed within its own length (see `asr.nn.reversal`), so the
    output equals `nn.LSTM` on a packed sequence, at several times its speed on CPU.
    Source: Schuster & Paliwal 1997; Graves & Schmidhuber 2005 (the LSTM in both directions).
    """

    def __init__(self, cell: CellName, input_size: int, hidden_size: int, *, projection: int = 0) -> None:
        super().__init__()
        self.forwards = make_cell(cell, input_size, hidden_size, projection=projection)
        self.backwards = make_cell(cell, input_size, hidden_size, projection=projection)

    @property
    def output_size(self) -> int:
        """Width of the outputs of both directions together."""
        return 2 * self.forwards.output_size

    def forward(self, inputs: Tensor, index: Tensor) -> Tensor:
        """Return (E, B, output_size).  Args: inputs (E, B, D); index from `reversal_index`."""
        (ahead, _), (back, _) = run_cells([self.forwards, self.backwards], [inputs, reverse(inputs, index)])
        return torch.cat([ahead, reverse(back, index)], dim=-1)
