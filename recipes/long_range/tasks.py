"""Two tasks that can be solved only by who remembers over all their steps; their sequences are drawn without end."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

SYMBOLS, COPIED = 8, 10  # of the copy task: how many there are, and how many are to be remembered
BLANK, NOW = SYMBOLS, SYMBOLS + 1  # what stands between them, and what asks for them

Batch = tuple[Tensor, Tensor]  # inputs (E, N, D) and targets of the last steps (..., N)


@dataclass(frozen=True)
class Task:
    """A task; its sequences of length T have T steps, or T + 20 where T lie between what is seen and what is said.

    Attributes:
        draw: (length, rows, generator) -> batch.
        loss: (outputs (E, N, outputs), targets) -> mean of what is to become small.
        baseline: length -> the loss of the best that can be said without a memory.
        goal: length -> the loss below which it is solved.
    """

    inputs: int
    outputs: int
    draw: Callable[[int, int, np.random.Generator], Batch]
    loss: Callable[[Tensor, Tensor], Tensor]
    baseline: Callable[[int], float]
    goal: Callable[[int], float]


def draw_adding(length: int, rows: int, generator: np.random.Generator) -> Batch:
    """Return numbers from 0 to 1 beside marks, one in each half, (T, N, 2), and the sums of the marked ones (1, N).

    Source: Hochreiter & Schmidhuber 1997, experiment 4, in the form of Arjovsky et al. 2016, section 4.3: one length.
    """
    numbers, marks = generator.random((length, rows), np.float32), np.zeros((length, rows), np.float32)
    row, half = np.arange(rows), length // 2
    first, second = generator.integers(half, size=rows), generator.integers(half, length, size=rows)
    marks[first, row] = marks[second, row] = 1
    sums = numbers[first, row] + numbers[second, row]
    return torch.from_numpy(np.stack([numbers, marks], -1)), torch.from_numpy(sums).unsqueeze(0)


def adding_loss(outputs: Tensor, sums: Tensor) -> Tensor:
    """Return the mean squared error of the last outputs (..., N, 1)."""
    return nn.functional.mse_loss(outputs[-1:, :, 0], sums)


def draw_copy(length: int, rows: int, generator: np.random.Generator) -> Batch:
    """Return symbols, blanks and the question, one of 10 each step (T + 20, N, 10), and what to say (T + 20, N).

    10 symbols, T - 1 blanks, the question, 10 blanks; to be said are blanks until the question, then the symbols.
    Source: Arjovsky et al. 2016, "Unitary evolution recurrent neural networks", section 4.1.
    """
    symbols = generator.integers(SYMBOLS, size=(COPIED, rows))
    shown = np.full((length + 2 * COPIED, rows), BLANK)
    said = shown.copy()
    shown[:COPIED], shown[-COPIED - 1], said[-COPIED:] = symbols, NOW, symbols
    return nn.functional.one_hot(torch.from_numpy(shown), SYMBOLS + 2).float(), torch.from_numpy(said)


def copy_loss(outputs: Tensor, said: Tensor) -> Tensor:
    """Return the mean cross entropy of the outputs (T + 20, N, 9) in nats, over all steps."""
    return nn.functional.cross_entropy(outputs.flatten(0, 1), said.flatten())


def copy_baseline(length: int) -> float:
    """Return the cross entropy of blanks until the question, and of a guess after it."""
    return COPIED * math.log(SYMBOLS) / (length + 2 * COPIED)


TASKS = {
    "adding": Task(2, 1, draw_adding, adding_loss, lambda _: 1 / 6, lambda _: 0.01),  # 1/6: of always saying 1
    "copy": Task(
        SYMBOLS + 2, SYMBOLS + 1, draw_copy, copy_loss, copy_baseline, lambda length: copy_baseline(length) / 10
    ),
}
