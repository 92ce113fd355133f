"""What the cells have in common: gated sums of the input and of the last hidden values, step after step.

Letters beside those of `asr`: N rows (utterances or chunks of them), H cells of a layer, P hidden values that it puts
out (H but where they are projected), G gates, M values of memory (the LSTM's cell; H of them, or a multiple).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

KEEP_BIAS = 1.0  # of the gate that keeps the memory, so that it is kept from the start (Gers et al. 2000)
LSTM_GATES = {"input": "lets the new value in", "forget": "keeps the memory", "output": "shows the memory"}

State = tuple[Tensor, Tensor]  # hidden values (N, P) and memory (N, M)
History = tuple[Tensor, Tensor]  # hidden values (E, N, P) and memory (E, N, M) after each step
Gates = dict[str, Tensor]  # how far each gate is open, (N, H) in [0, 1], by the names of `Cell.opens`


class Operands(NamedTuple):
    """The weights of one step.

    Attributes:
        recurrent: (G * H, P), from the last hidden values to the gates; None if there is no such product.
        projection: (P, H), from a step's hidden values to those it puts out; None if they are the same.
        vectors: (...,) biases, peepholes and gains one after another, as the cell's kernel wants them.
    """

    recurrent: Tensor | None
    projection: Tensor | None
    vectors: Tensor


@dataclass(frozen=True)
class StepKernel:
    """Compiled steps of a cell, see `asr.nn.kernels` and `asr.nn.triton_kernels`.

    Attributes:
        kept: values a row that the backward step needs besides the open gates.
        splits: whether the recurrent product has another gradient than the sums of the input.
        whole_rows: whether a cell's step takes numbers of the other cells of its row, as a norm does.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    kept: int = 0
    splits: bool = False
    whole_rows: bool = False


def step_kernels(name: str, device: str) -> Any:
    """Return the module that holds a cell's compiled steps for a type of device, from numba ("cpu") or Triton."""
    return import_module(f"asr.nn.{'kernels' if device == 'cpu' else 'triton_kernels'}.{name}")


class Cell(nn.Module, ABC):
    """A recurrent layer of one direction, time-major; `asr.nn.recurrence` runs it over sequences.

    Attributes:
        gates: G, sums of the input for each cell.
        memories: values of memory for each cell, M / H.
        opens: its gates by name, and what each does where it is open; none for a cell that has none.
        keep_gate: number of the gate that keeps the memory where it is open, or None.
    """

    gates: ClassVar[int]
    memories: ClassVar[int]
    opens: ClassVar[Mapping[str, str]]
    keep_gate: ClassVar[int | None] = None
    input_size: int
    hidden_size: int

    @property
    def output_size(self) -> int:
        """P, the hidden values that it puts out."""
        return self.hidden_size

    @property
    def memory_size(self) -> int:
        """M, the values of memory."""
        return self.memories * self.hidden_size

    def initial_state(self, rows: int) -> State:
        """Return the state before the first step, of float32 or what the weights are."""
        weight = next(self.parameters())
        return weight.new_zeros(rows, self.output_size), weight.new_zeros(rows, self.memory_size)

    @abstractmethod
    def input_matrix(self) -> Tensor:
        """Return the matrix from the inputs to the gates, (G * H, D)."""

    def normed(self, sums: Tensor) -> Tensor:
        """Return the products of inputs and `input_matrix` (E, N, G * H) as the gates take them."""
        return sums

    def sums(self, inputs: Tensor) -> Tensor:
        """Return what the inputs (E, N, D) give to the gates of all steps, (E, N, G * H), without bias."""
        return self.normed(nn.functional.linear(inputs, self.input_matrix()))

    def step(self, sums: Tensor, state: State) -> State:
        """Return the state after one step.  Args: sums (N, G * H)."""
        return self.gated_step(sums, state)[1]

    @abstractmethod
    def gated_step(self, sums: Tensor, state: State) -> tuple[Gates, State]:
        """Return the gates of one step and the state after it, by the equations of the paper; arguments as `step`."""

    def unrolled(self, sums: Tensor, state: State) -> History:
        """Return the state after each step, by the equations.  Args: sums (E, N, G * H), state before the first."""
        states = []
        for step in sums.unbind():
            state = self.step(step, state)
            states.append(state)
        if not states:
            return sums.new_empty(0, *state[0].shape), state[1].new_empty(0, *state[1].shape)
        return torch.stack([hidden for hidden, _ in states]), torch.stack([memory for _, memory in states])

    def remembered(self, state: State) -> Tensor:
        """Return what each cell holds in a state, (N, H)."""
        return state[1]

    @abstractmethod
    def operands(self) -> Operands:
        """Return the weights of a step as kernels want them."""

    @abstractmethod
    def kernel(self, device: str) -> StepKernel:
        """Return the compiled steps for a type of device, "cpu" or "cuda"; the compiler is not loaded before."""


class GatedCell(Cell):
    """A cell with one matrix for the input, one for the last hidden values, and one bias.

    Weights: `weight_in` (G * H, D), `weight_rec` (G * H, P), `bias` (G * H,).
    """

    def __init__(self, input_size: int, hidden_size: int, *, output_size: int | None = None) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = self.gates * hidden_size
        self.weight_in = nn.Parameter(torch.empty(rows, input_size))
        self.weight_rec = nn.Parameter(torch.empty(rows, output_size or hidden_size))
        self.bias = nn.Parameter(torch.empty(rows))
        start_matrices(self.weight_in, self.weight_rec, self.gates)
        self._start_bias()

    def _start_bias(self) -> None:
        with torch.no_grad():
            self.bias.zero_()
            if self.keep_gate is not None:
                self.bias.chunk(self.gates)[self.keep_gate].fill_(KEEP_BIAS)

    def input_matrix(self) -> Tensor:
        """Return the matrix from the inputs to the gates."""
        return self.weight_in

    def operands(self) -> Operands:
        """Return recurrent matrix and bias."""
        return Operands(self.weight_rec, None, self.bias)

    def added(self, sums: Tensor, hidden: Tensor) -> Tensor:
        """Return the whole sums of the gates of one step."""
        return sums + nn.functional.linear(hidden, self.weight_rec, self.bias)


def start_matrices(weight_in: Tensor, weight_rec: Tensor | None, gates: int) -> None:
    """Start the matrices of a layer: uniform from the input, orthogonal from the past, each gate by itself."""
    if weight_in.is_meta:  # only a shape, to be filled from a file
        return
    bound = 0.5 * math.sqrt(3.0 / weight_in.shape[1])
    with torch.no_grad():
        weight_in.uniform_(-bound, bound)
        for gate in () if weight_rec is None else weight_rec.chunk(gates):
            nn.init.orthogonal_(gate, gain=0.5)
