"""How far a GPU's steps are from the plain way, by Triton's interpreter, as JSON; `test_gpu_steps` starts this.

The interpreter is chosen when triton is imported, by TRITON_INTERPRET=1: so this has a process of its own.
"""

import json
from collections.abc import Sequence

import torch
from torch import Tensor

from asr.nn.cells import CELL_NAMES, CellName
from asr.nn.cells.cell import Cell, History
from asr.nn.gpu_steps import run_steps, works_on
from asr.nn.recurrence import run_plain
from asr.nn.triton_kernels import rnn
from tests.nn.gpu_steps_cases import CASES, Case
from tests.nn.test_cells import HIDDEN_IS_MEMORY, cell_of, inputs_of, state_of


def results(name: CellName, case: Case, *, plain: bool) -> dict[str, Tensor]:
    """Return values and gradients of two directions, in float64 if by the plain way."""
    dtype = torch.float64 if plain else torch.float32
    cells = [cell.to(dtype) for cell in two_cells(name, case)]
    inputs = [
        (sign * inputs_of(dtype, steps)[:, : case.rows]).requires_grad_()
        for sign, steps in zip((1, -1), case.steps, strict=True)
    ]
    starts = []
    for cell in cells:
        hidden, memory = (tensor[: case.rows].detach().clone().requires_grad_() for tensor in state_of(cell, name))
        starts.append((memory, memory) if name in HIDDEN_IS_MEMORY else (hidden, memory))
    jobs = list(zip(cells, inputs, starts, strict=True))
    with torch.autocast("cpu", torch.bfloat16, enabled=case.bfloat16 and not plain):
        histories = [run_plain(*job) for job in jobs] if plain else run_steps(cells, inputs, starts)
    loss_of(name, case, cells, histories).backward()
    found = {}
    for number, ((cell, values, start), (hidden, memory)) in enumerate(zip(jobs, histories, strict=True)):
        tensors = {"hidden": hidden.detach(), "memory": memory.detach(), "d inputs": gradient(values)}
        tensors |= {"d start": gradient(start[0]), "d memory": gradient(start[1])}
        if name == "slstm":  # the stabiliser gets no gradient
            tensors["d memory"] = tensors["d memory"][:, : 2 * case.size]
        tensors |= {f"d {key}": gradient(weight) for key, weight in cell.named_parameters()}
        found |= {f"{number} {key}": tensor for key, tensor in tensors.items()}
    return found


def two_cells(name: CellName, case: Case) -> list[Cell]:
    """Return two cells of different weights."""
    cells = [cell_of(name, size=case.size, spread=0.02 if case.bfloat16 else 0.2) for _ in range(2)]
    with torch.no_grad():
        for weight in cells[1].parameters():
            weight.mul_(0.8)
    return cells


def loss_of(name: CellName, case: Case, cells: Sequence[Cell], histories: Sequence[History]) -> Tensor:
    """Return a weighted sum of what has a gradient, the last step counting three times: the state goes on from it."""
    generator = torch.Generator().manual_seed(4)
    loss = torch.zeros((), dtype=torch.float64)
    for cell, history in zip(cells, histories, strict=True):
        for values, counts in zip(history, case.losses, strict=True):
            weight = torch.randn(values.shape, generator=generator)
            weight[-1:] *= 3
            if name == "slstm" and values.shape[-1] > cell.hidden_size:
                weight[..., 2 * cell.hidden_size :] = 0
            loss = loss + (values * weight).sum() * counts
    return loss if loss.requires_grad else loss.requires_grad_()


def gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def distances(name: CellName, case: Case) -> dict[str, float]:
    """Return the difference of each tensor from the plain way, as a share of its norm."""
    found, expected = results(name, case, plain=False), results(name, case, plain=True)
    assert all(found[key].shape == value.shape for key, value in expected.items())
    return {
        key: float((found[key].double() - value).norm() / value.norm().clamp_min(1e-30))
        for key, value in expected.items()
    }


def verdicts() -> dict[str, bool]:
    """Return what the check of the device says, of kernels that are right and of wrong ones."""
    cpu = torch.device("cpu")
    found = {str(dtype): works_on(cpu, dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)}
    for wrong in ("forward", "backward"):
        kept = getattr(rnn, f"tanh_{wrong}")
        setattr(rnn, f"tanh_{wrong}", getattr(rnn, f"relu_{wrong}"))
        found[f"wrong {wrong}"] = works_on.__wrapped__(cpu, torch.float32)
        setattr(rnn, f"tanh_{wrong}", kept)
    return found


if __name__ == "__main__":
    apart = {f"{name}, {key}": distances(name, case) for name in CELL_NAMES for key, case in CASES.items()}
    print(json.dumps({"apart": apart, "works": verdicts()}))
