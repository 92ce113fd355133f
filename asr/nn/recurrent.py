"""Recurrent layers: in both directions, in both with little latency, and in one."""

import torch
from torch import nn

from asr.nn.cells import CellName, make_cell, make_cells
from asr.nn.cells.cell import State
from asr.nn.chunks import ChunkPlan, Frames
from asr.nn.recurrence import can_step, run_cells, run_histories, run_to_borders
from asr.nn.reversal import reverse


class BidirectionalLayer(nn.Module):
    """One bidirectional recurrent layer, time-major, as two one-way layers.

    The backward direction reads each row reversed within its own length (see `asr.nn.reversal`), so the output
    equals `nn.LSTM` on a packed sequence, at several times its speed on CPU.  A row is an utterance, or a chunk of
    one with its right context; then the forward direction goes on from chunk to chunk, and the backward direction
    begins at the end of each right context.
    Source: Schuster & Paliwal 1997; Graves & Schmidhuber 2005 (the LSTM in both directions); Zhang et al. 2016,
    "Highway long short-term memory RNNs for distant speech recognition", section 4 (latency-controlled).
    """

    def __init__(self, cell: CellName, input_size: int, hidden_size: int, *, projection: int = 0) -> None:
        super().__init__()
        self.forwards, self.backwards = make_cells(2, cell, input_size, hidden_size, projection=projection)

    @property
    def output_size(self) -> int:
        """Width of the outputs of both directions together."""
        return 2 * self.forwards.output_size

    def forward(self, frames: Frames, plan: ChunkPlan, state: State | None = None) -> tuple[Frames, State]:
        """Return the frames of width `output_size`, and the state of the forward direction after the last one.

        Args: state: of the forward direction before the first frame; None: there was nothing.
        """
        rows = plan.rows(frames)
        turned = reverse(rows, plan.index)
        if not plan.carried:
            (ahead_rows, end), (back, _) = run_cells([self.forwards, self.backwards], [rows, turned])
            ahead = plan.from_rows(ahead_rows)
        elif plan.right == 0:
            (own, end), (back, _) = run_cells([self.forwards, self.backwards], [frames.own, turned], [state, None])
            ahead = Frames(own, own.new_empty(0, back.shape[1], own.shape[2]))
        elif plan.count == 1 and can_step([self.forwards, self.backwards], rows):
            # one chunk, as a stream has it: its right context follows it in one sequence
            (hidden, memory), (back, _) = run_histories([self.forwards, self.backwards], [rows, turned], [state, None])
            ahead, end = plan.from_rows(hidden), (hidden[plan.size - 1], memory[plan.size - 1])
        else:
            own, borders = run_to_borders(self.forwards, frames.own, state, plan.size)
            ((right, _), (back, _)) = run_cells(
                [self.forwards, self.backwards], [frames.right, turned], [borders, None]
            )
            ahead, end = Frames(own, right), _last_of(borders, own.shape[1])
        behind = plan.from_rows(reverse(back, plan.index))
        return Frames(*(torch.cat(pair, dim=-1) for pair in zip(ahead, behind, strict=True))), end


class UnidirectionalLayer(nn.Module):
    """One recurrent layer that knows the past alone, time-major."""

    def __init__(self, cell: CellName, input_size: int, hidden_size: int, *, projection: int = 0) -> None:
        super().__init__()
        self.forwards = make_cell(cell, input_size, hidden_size, projection=projection)

    @property
    def output_size(self) -> int:
        """Width of the outputs."""
        return self.forwards.output_size

    def forward(self, frames: Frames, plan: ChunkPlan, state: State | None = None) -> tuple[Frames, State]:
        """Return the frames of width `output_size`, and the state after the last one."""
        ((own, end),) = run_cells([self.forwards], [frames.own], [state])
        return Frames(own, own[:0]), end


def _last_of(states: State, rows: int) -> State:
    return states[0][-rows:], states[1][-rows:]
