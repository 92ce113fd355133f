"""One run of the laboratory: a layer of one cell is trained on a task of one length, until that is solved."""

import copy
import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from asr.nn.cells import CellName, make_cell
from asr.nn.recurrence import run_cells
from asr.randomness import stream
from recipes.long_range.tasks import TASKS, Batch, Task

ROWS_HELD_OUT = 256  # sequences that are never trained on
ROWS_OF_GRADIENT = 64
CHECKS_IN_A_ROW = 3  # that must find a task solved


@dataclass(frozen=True)
class Run:
    """One run; whoever is given the same one makes the same numbers.

    Attributes:
        length: T of the task.
        steps: of the recurrence at most: updates times the steps of a sequence.
        width: H, cells of the layer.
        rows: sequences of an update.
        rate: of Adam.
        clip: largest norm of the gradient.
        check_every: updates.
    """

    task: str
    cell: CellName
    length: int
    seed: int
    steps: int
    width: int = 64
    rows: int = 32
    rate: float = 0.01
    clip: float = 1.0
    check_every: int = 50

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.task}-{self.length}-{self.cell}-{self.seed}"


class Network(nn.Module):
    """One layer of a cell, and a linear map of its hidden values."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        task = TASKS[run.task]
        self.cell = make_cell(run.cell, task.inputs, run.width)
        self.readout = nn.Linear(self.cell.output_size, task.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of all steps.  Args: inputs (E, N, D)."""
        ((hidden, _),) = run_cells([self.cell], [inputs])
        outputs: Tensor = self.readout(hidden)
        return outputs


def run_alone(run: Run) -> dict[str, Any]:
    """Return what a run came to, computed on one thread of this process."""
    torch.set_num_threads(1)
    # Gradients that vanish pass through the smallest of numbers, which processors compute a hundred times slower.
    torch.set_flush_denormal(True)
    torch.manual_seed(run.seed)
    task, network, started = TASKS[run.task], Network(run), time.process_time()
    held_out = task.draw(run.length, ROWS_HELD_OUT, stream(run.seed, f"{run.task} held out"))
    rows = tuple(tensor[:, :ROWS_OF_GRADIENT] for tensor in held_out)
    at_start = gradient_norms(network, task, (rows[0], rows[1]))
    errors, updates = train(network, run, held_out)
    return {
        "run": asdict(run),
        "solved": is_solved(errors, task.goal(run.length)),
        "updates": updates,
        "error": errors[-1],
        "baseline": task.baseline(run.length),
        "errors": errors,
        "cpu_seconds": round(time.process_time() - started, 1),
        "gradient_at_start": at_start,
        "gradient_after": gradient_norms(network, task, (rows[0], rows[1])),
    }


def train(network: Network, run: Run, held_out: Batch) -> tuple[list[float | None], int]:
    """Return (losses on sequences held out, None where one is no number, one every few updates; updates made).

    An update whose gradient is no number is not made: a cell that explodes gets its time to come back.
    """
    task, generator = TASKS[run.task], stream(run.seed, f"{run.task} train")
    weights = list(network.parameters())
    optimizer = torch.optim.Adam(weights, lr=run.rate)
    errors: list[float | None] = []
    total = max(1, run.steps // len(held_out[0]))
    for update in range(1, total + 1):
        inputs, targets = task.draw(run.length, run.rows, generator)
        optimizer.zero_grad()
        task.loss(network(inputs), targets).backward()
        if nn.utils.clip_grad_norm_(weights, run.clip).isfinite():
            optimizer.step()
        if update % run.check_every == 0 or update == total:
            errors.append(held_out_loss(network, task, held_out))
            if is_solved(errors, task.goal(run.length)):
                break
    return errors, update


def held_out_loss(network: Network, task: Task, held_out: Batch) -> float | None:
    """Return the loss on sequences held out, None if it is no number."""
    inputs, targets = held_out
    with torch.no_grad():
        loss = task.loss(network(inputs), targets).item()
    return loss if math.isfinite(loss) else None


def is_solved(errors: list[float | None], goal: float) -> bool:
    """Return whether the last checks, several in a row, were below the goal."""
    last = errors[-CHECKS_IN_A_ROW:]
    return len(last) == CHECKS_IN_A_ROW and all(error is not None and error < goal for error in last)


def gradient_norms(network: Network, task: Task, batch: Batch) -> list[float | None]:
    """Return how large the gradient of the last step's loss is at the state of each step, the last step first.

    The state is hidden values and memory together; the norm is that over all rows, in parts of the last step's, None
    where it is no number.  In float64, where it may vanish by 300 orders of magnitude before it is 0.
    Source: Hochreiter 1991; Bengio et al. 1994, "Learning long-term dependencies with gradient descent is difficult".
    """
    network = copy.deepcopy(network).double()
    inputs, targets = batch
    state = network.cell.initial_state(inputs.shape[1])
    states = []
    for sums in network.cell.sums(inputs.double()).unbind():
        # copies: what the memory gives to the hidden values of its own step is the step's gradient, not the state's
        hidden, memory = (tensor.clone() for tensor in network.cell.step(sums, state))
        state = hidden, memory
        states.append([tensor for tensor in state if tensor.requires_grad])
        for tensor in states[-1]:
            tensor.retain_grad()
    wanted = targets[-1:].double() if targets.is_floating_point() else targets[-1:]
    task.loss(network.readout(state[0]).unsqueeze(0), wanted).backward()
    norms = [_norm(tensors) for tensors in reversed(states)]
    last = norms[0] or math.nan
    return [float(f"{norm / last:.4g}") if math.isfinite(norm / last) else None for norm in norms]


def _norm(tensors: list[Tensor]) -> float:
    """Return the norm of the gradients of tensors together; what nothing later reads has none."""
    return math.sqrt(sum(float(tensor.grad.square().sum()) for tensor in tensors if tensor.grad is not None))
