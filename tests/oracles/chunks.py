"""A latency-controlled encoder, one utterance and one chunk after another, as Zhang et al. 2016 describe it."""

import torch
from torch import Tensor

from asr.nn.cells.cell import State
from asr.nn.chunks import Context
from asr.nn.encoder import Encoder
from asr.nn.recurrence import run_plain
from asr.nn.recurrent import BidirectionalLayer


def hidden_of(encoder: Encoder, frames: Tensor, context: Context) -> Tensor:
    """Return the last layer's values (E, D) of one utterance's subsampled frames (E, D)."""
    size = len(frames) if context.chunk is None else context.chunk
    states: list[State | None] = [None] * len(encoder.layers)
    found = []
    for begin in range(0, len(frames), size):
        seen, own = frames[begin : begin + size + context.right], len(frames[begin : begin + size])
        for number, layer in enumerate(encoder.layers):
            assert isinstance(layer, BidirectionalLayer)
            before = states[number] if context.carried else None
            outputs, states[number] = through(layer, seen, own, before)
            if encoder.config.residual and outputs.shape == seen.shape:
                outputs = outputs + seen
            seen = encoder.norms[number](outputs) if encoder.config.layer_norm else outputs
        found.append(seen[:own])
    return torch.cat(found)


def through(layer: BidirectionalLayer, seen: Tensor, own: int, state: State | None) -> tuple[Tensor, State]:
    """Return a layer's values of a chunk and its right context, and the forward state after the chunk."""
    rows = seen.unsqueeze(1)
    start = layer.forwards.initial_state(1) if state is None else state
    ahead, memory = run_plain(layer.forwards, rows, start)
    back, _ = run_plain(layer.backwards, rows.flip(0), layer.backwards.initial_state(1))
    return torch.cat([ahead, back.flip(0)], -1)[:, 0], (ahead[own - 1], memory[own - 1])
