"""What a recurrent layer does inside: its gates and its memory in every encoder frame, by the cell's own equations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from asr.errors import UsageError
from asr.nn.cells.cell import Cell, Gates
from asr.nn.chunks import WHOLE
from asr.nn.encoder import Encoder

Direction = Literal["forwards", "backwards"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True)
class LayerGates:
    """One direction of one layer over an utterance, frame after frame in the order of time.

    Attributes:
        opens: what each gate does where it is open, by name (`Cell.opens`).
        gates: how far each is open, (E, H) in [0, 1], by name.
        memory: what each cell holds after its step, (E, H).
        outputs: what the direction puts out, (E, P).
        log_probs: (E, V) of the whole encoder.
    """

    opens: Mapping[str, str]
    gates: Gates
    memory: Tensor
    outputs: Tensor
    log_probs: Tensor


def layer_gates(encoder: Encoder, features: Tensor, *, layer: int, direction: Direction) -> LayerGates:
    """Return what one direction of a layer does over an utterance, all of it at once even where the model reads chunks.

    Args:
        encoder: in evaluation mode.
        features: (1, T, F) without padding.
        layer: counted from 1, the lowest.
    Raises: UsageError if there is no such layer, or its cells have no gates.
    """
    if not 1 <= layer <= len(encoder.layers):
        raise UsageError(f"layer {layer}: the model has layers 1 to {len(encoder.layers)}; choose one of them")
    both = encoder.layers[layer - 1]
    if direction == "backwards" and not encoder.config.bidirectional:
        raise UsageError("direction backwards: this model reads forwards alone; choose forwards")
    cell: Cell = getattr(both, direction)
    if not cell.opens:
        raise UsageError(f"cell {encoder.config.cell}: has no gates to show; choose a model of gated cells, as lstm")

    def turned(values: Tensor) -> Tensor:
        return values.flip(0) if direction == "backwards" else values

    heard: list[Tensor] = []
    with torch.inference_mode(), both.register_forward_pre_hook(lambda _, given: heard.append(given[0].own)):
        output = encoder(features, torch.tensor([features.shape[1]], device=features.device), WHOLE)
        gates, memory, outputs = cell_gates(cell, turned(heard[0]))
    return LayerGates(
        opens=cell.opens,
        gates={name: turned(values)[:, 0] for name, values in gates.items()},
        memory=turned(memory)[:, 0],
        outputs=turned(outputs)[:, 0],
        log_probs=output.log_probs[0],
    )


def cell_gates(cell: Cell, inputs: Tensor) -> tuple[Gates, Tensor, Tensor]:
    """Return (gates (E, N, H) by name, memory (E, N, H), outputs (E, N, P)) of a cell from its initial state.

    Args: inputs (E, N, D), E >= 1, in the order in which the cell reads them.
    """
    state = cell.initial_state(inputs.shape[1])
    gates, memory, outputs = [], [], []
    for sums in cell.sums(inputs).unbind():
        opened, state = cell.gated_step(sums, state)
        gates.append(opened)
        memory.append(cell.remembered(state))
        outputs.append(state[0])
    stacked = {name: torch.stack([opened[name] for opened in gates]) for name in cell.opens}
    return stacked, torch.stack(memory), torch.stack(outputs)
