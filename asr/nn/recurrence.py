"""Running cells over sequences, by the fastest of the ways that give the same.

- torch's own LSTM (oneDNN, cuDNN), but for training on CPU, where its backward pass is slow;
- steps with compiled gates, for every cell: on CPU (`asr.nn.steps`) in float32 and bfloat16, on a GPU where Triton
  runs (`asr.nn.gpu_steps`) in these and float16;
- a plain loop over the cell's equations: every device and type, and the reference of the others.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from asr.errors import UsageError
from asr.nn.cells.cell import Cell, History, State
from asr.nn.cells.lstm import Lstm

SMALL = 192  # cells; below, torch's own training step of the LSTM on CPU is faster than ours
# Steps, as a stream takes them; oneDNN would reorder the matrices of so few for longer than it computes.
SHORT = 32


def run_cells(
    cells: Sequence[Cell],
    inputs: Sequence[Tensor],
    states: Sequence[State | None] | None = None,
    lengths: Tensor | None = None,
) -> list[tuple[Tensor, State]]:
    """Return (outputs (E, N, P), final state) of cells, each of its inputs (E, N, D).

    Args:
        states: before the first step, as this function returns them; None: each cell's initial one.
        lengths: (N,) int64 valid steps of the rows, after which their final state stands; None: all E.
    Raises: UsageError for a state of another shape.
    """
    states = [None] * len(cells) if states is None else states
    lstms = [cell for cell in cells if isinstance(cell, Lstm)]
    _refuse_shapes(cells, inputs, states)
    in_parts = any(state is not None for state in states)
    if lengths is None and len(lstms) == len(cells) and _is_torchs(lstms, inputs, in_parts):
        return [lstm.run_whole(values, state) for lstm, values, state in zip(lstms, inputs, states, strict=True)]
    starts = [_start(cell, values, state) for cell, values, state in zip(cells, inputs, states, strict=True)]
    histories = _histories(cells, inputs, starts)
    return [(history[0], last_state(history, start, lengths)) for history, start in zip(histories, starts, strict=True)]


def run_histories(cells: Sequence[Cell], inputs: Sequence[Tensor], states: Sequence[State | None]) -> list[History]:
    """Return the state of cells after each step; arguments and errors as `run_cells`."""
    _refuse_shapes(cells, inputs, states)
    starts = [_start(cell, values, state) for cell, values, state in zip(cells, inputs, states, strict=True)]
    return _histories(cells, inputs, starts)


def _histories(cells: Sequence[Cell], inputs: Sequence[Tensor], starts: Sequence[State]) -> list[History]:
    if can_step(cells, inputs[0]):
        # not above: torch's own way loads no compiler
        if inputs[0].device.type == "cpu":
            from asr.nn.steps import run_steps
        else:
            from asr.nn.gpu_steps import run_steps
        return run_steps(cells, inputs, starts)
    return [run_plain(cell, values, start) for cell, values, start in zip(cells, inputs, starts, strict=True)]


def run_to_borders(cell: Cell, inputs: Tensor, state: State | None, every: int) -> tuple[Tensor, State]:
    """Return the outputs (E, N, P) of a cell and its states after each `every` steps, one after another.

    The states are hidden (K * N, P) and memory (K * N, M) of K = E / every rounded up, row k * N + n.
    """
    if len(inputs) > every and can_step([cell], inputs):
        ((hidden, memory),) = run_histories([cell], [inputs], [state])
        return hidden, (_at_borders(hidden, every), _at_borders(memory, every))
    outputs, states = [], []
    for piece in inputs.split(every):
        ((output, state),) = run_cells([cell], [piece], [state])
        outputs.append(output)
        states.append(state)
    return torch.cat(outputs), (torch.cat([state[0] for state in states]), torch.cat([state[1] for state in states]))


def _at_borders(history: Tensor, every: int) -> Tensor:
    """Return (K * N, ...) of a history (E, N, ...), by slices: the gradient of an index is slow."""
    full = history[every - 1 :: every]
    return (full if len(history) % every == 0 else torch.cat([full, history[-1:]])).flatten(0, 1)


def last_state(history: History, start: State, lengths: Tensor | None) -> State:
    """Return the state of each row after its last valid step."""
    if lengths is None:
        return (history[0][-1], history[1][-1]) if len(history[0]) else start
    states = [torch.cat([first.unsqueeze(0), later]) for first, later in zip(start, history, strict=True)]
    rows = torch.arange(len(lengths), device=lengths.device)
    return states[0][lengths, rows], states[1][lengths, rows]


def run_plain(cell: Cell, inputs: Tensor, state: State) -> History:
    """Return the state of a cell after each step, by its equations in torch; arguments as `run_cells`."""
    return cell.unrolled(cell.sums(inputs), state)


def _start(cell: Cell, inputs: Tensor, state: State | None) -> State:
    return cell.initial_state(inputs.shape[1]) if state is None else state


def _refuse_shapes(cells: Sequence[Cell], inputs: Sequence[Tensor], states: Sequence[State | None]) -> None:
    """Raise UsageError for a state that is not one of each row: compiled steps would read beside it."""
    for cell, values, state in zip(cells, inputs, states, strict=True):
        rows = values.shape[1]
        wanted = [(rows, cell.output_size), (rows, cell.memory_size)]
        if state is not None and (found := [tuple(part.shape) for part in state]) != wanted:
            raise UsageError(f"a state of hidden values and memory {found}; {rows} rows have one of {wanted}")


def can_step(cells: Sequence[Cell], inputs: Tensor) -> bool:
    """Return whether compiled steps can run cells: their kernels add float32 numbers, on CPU or where Triton runs."""
    if any(weight.dtype != torch.float32 for cell in cells for weight in cell.parameters()):
        return False
    return inputs.device.type == "cpu" or (inputs.device.type == "cuda" and _triton_runs(inputs.device))


def _triton_runs(device: torch.device) -> bool:
    from asr.nn import gpu_steps

    return gpu_steps.works_on(device, gpu_steps.product_type(device))


def _is_torchs(cells: Sequence[Lstm], inputs: Sequence[Tensor], in_parts: bool) -> bool:
    """Return whether torch's own LSTM is the faster way, or the only one but the plain.

    Args: in_parts: whether these steps go on from others, as a stream's do; a short recording loads no compiler.
    """
    if inputs[0].device.type != "cpu" or not can_step(cells, inputs[0]):
        return len(inputs[0]) > 0  # torch refuses sequences of no steps
    if torch.is_grad_enabled():
        return cells[0].hidden_size < SMALL and len(inputs[0]) > 0
    return not in_parts or len(inputs[0]) > SHORT
