"""Every cell = its paper's equations, by every way of running it: values, gradients, states, starts."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asr.errors import UsageError
from asr.nn.cells import CELL_NAMES, CellName, make_cell
from asr.nn.cells.cell import Cell, State
from asr.nn.cells.lstm_peephole import PeepholeLstm
from asr.nn.cells.mingru import MinimalGru
from asr.nn.recurrence import run_cells, run_histories, run_plain
from tests.oracles import cells as oracle

STEPS, ROWS, WIDTH, SIZE = 11, 4, 5, 6
HIDDEN_IS_MEMORY = ("gru", "ligru", "mingru")


def cell_of(name: CellName, *, size: int = SIZE, spread: float = 0.2) -> Cell:
    """Return a cell none of whose weights is at a special value."""
    torch.manual_seed(1)
    cell = make_cell(name, WIDTH, size)
    with torch.no_grad():
        for weight in cell.parameters():
            weight.add_(torch.randn_like(weight), alpha=spread)
    return cell


def inputs_of(dtype: torch.dtype = torch.float32, steps: int = STEPS) -> Tensor:
    return torch.randn(steps, ROWS, WIDTH, generator=torch.Generator().manual_seed(2)).to(dtype)


def state_of(cell: Cell, name: str) -> State:
    """Return a state in the middle of a sequence."""
    generator = torch.Generator().manual_seed(3)
    hidden, memory = cell.initial_state(ROWS)
    hidden = torch.randn(hidden.shape, generator=generator).to(hidden) / 2
    if name == "slstm":
        size = cell.hidden_size
        memory = torch.rand(memory.shape, generator=generator).to(memory)
        memory[:, size : 2 * size] += 1
    else:
        memory = torch.randn(memory.shape, generator=generator).to(memory)
    return (memory, memory) if name in HIDDEN_IS_MEMORY else (hidden, memory)


@pytest.mark.parametrize("starts", [True, False])
@pytest.mark.parametrize("name", CELL_NAMES)
def test_the_plain_way_is_what_the_paper_says(name: CellName, starts: bool) -> None:
    cell, inputs = cell_of(name).double(), inputs_of(torch.float64)
    state = cell.initial_state(ROWS) if starts else state_of(cell, name)
    hidden, _ = run_plain(cell, inputs, state)
    weights = oracle.weights_of(cell)
    for row in range(ROWS):
        expected = oracle.run(name, weights, inputs[:, row].numpy(), state[0][row].numpy(), state[1][row].numpy())
        np.testing.assert_allclose(hidden[:, row].detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_gradients_of_the_plain_way_are_right(name: CellName) -> None:
    cell = cell_of(name, size=3).double()
    hidden, memory = state_of(cell, name)
    names = list(dict(cell.named_parameters()))

    def run(inputs: Tensor, hidden: Tensor, memory: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        start = (memory, memory) if name in HIDDEN_IS_MEMORY else (hidden, memory)
        result: tuple[Tensor, ...] = torch.func.functional_call(
            _Runner(cell), {f"cell.{key}": weight for key, weight in zip(names, weights, strict=True)}, (inputs, start)
        )
        return result[:1] if name == "slstm" else result  # its memory is kept divided by what gets no gradient

    fixed = name == "slstm"
    tensors = [inputs_of(torch.float64, steps=3), hidden, memory, *cell.parameters()]
    tensors = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    tensors[2].requires_grad_(not fixed)
    assert torch.autograd.gradcheck(run, tuple(tensors))


class _Runner(nn.Module):
    """A cell's plain way, whose weights `functional_call` can put in."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, inputs: Tensor, start: State) -> tuple[Tensor, Tensor]:
        return run_plain(self.cell, inputs, start)


def values_and_gradients(
    name: CellName, dtype: torch.dtype, *, autocast: bool = False, size: int = SIZE, spread: float = 0.2
) -> dict[str, Tensor]:
    """Return outputs, states and the gradients of everything: of float64 by the plain way, else by steps."""
    cell = cell_of(name, size=size, spread=spread).to(dtype)
    inputs = inputs_of(dtype).requires_grad_()
    start = state_of(cell, name)
    start = (start[0].requires_grad_(), start[1] if name in HIDDEN_IS_MEMORY else start[1].requires_grad_())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ((hidden, memory),) = run_histories([cell], [inputs], [start])
    generator = torch.Generator().manual_seed(4)
    weights = [torch.randn(tensor.shape, generator=generator).to(dtype) for tensor in (hidden, memory)]
    if name == "slstm":
        weights[1][..., 2 * size :] = 0
    ((hidden * weights[0]).sum() + (memory * weights[1]).sum()).backward()
    assert ("_Steps" in str(hidden.grad_fn)) == (dtype == torch.float32)
    found = {"hidden": hidden.detach(), "memory": memory.detach(), "inputs": inputs.grad, "start": start[0].grad}
    if name not in HIDDEN_IS_MEMORY and name != "slstm":
        found["memory start"] = start[1].grad
    return found | {key: weight.grad for key, weight in cell.named_parameters()}


def distances(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Return the difference of each tensor, as a share of what is expected."""
    pairs = {key: (found[key].double(), value) for key, value in expected.items() if value.numel()}
    return {key: float((a - b).norm() / b.norm()) for key, (a, b) in pairs.items()}


@pytest.mark.parametrize("name", CELL_NAMES)
def test_steps_are_the_plain_way_to_float32_rounding(name: CellName) -> None:
    found, expected = values_and_gradients(name, torch.float32), values_and_gradients(name, torch.float64)
    assert max(distances(found, expected).values()) < 2e-5


@pytest.mark.parametrize("name", CELL_NAMES)
def test_steps_in_bfloat16_are_as_exact_as_its_eight_bits(name: CellName) -> None:
    """At the start of a training: weights that let a sequence run wild make more of any rounding.

    The slope of a ReLU jumps at 0, where rounding decides: LiGRU's gradients are less exact.
    """
    found = values_and_gradients(name, torch.float32, autocast=True, size=40, spread=0.02)
    expected = values_and_gradients(name, torch.float64, size=40, spread=0.02)
    assert found["memory"].dtype == torch.float32
    assert max(distances(found, expected).values()) < (0.1 if name == "ligru" else 0.04)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_sequence_in_two_parts_is_the_sequence(name: CellName) -> None:
    cell, inputs = cell_of(name), inputs_of()
    with torch.no_grad():
        ((whole, end),) = run_cells([cell], [inputs])
        ((first, state),) = run_cells([cell], [inputs[:4]])
        ((second, end_of_parts),) = run_cells([cell], [inputs[4:]], [state])
    torch.testing.assert_close(torch.cat([first, second]), whole, atol=5e-6, rtol=1e-6)
    torch.testing.assert_close(end_of_parts, end, atol=5e-6, rtol=1e-6)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_the_final_state_is_that_of_each_rows_own_length(name: CellName) -> None:
    cell, inputs = cell_of(name), inputs_of()
    lengths = torch.tensor([STEPS, 3, 0, 7])
    with torch.no_grad():
        ((_, found),) = run_cells([cell], [inputs], [state_of(cell, name)], lengths)
        for row, length in enumerate(lengths.tolist()):
            start = tuple(tensor[row : row + 1] for tensor in state_of(cell, name))
            if length:
                ((_, start),) = run_cells([cell], [inputs[:length, row : row + 1]], [start])  # type: ignore[list-item]
            for tensor, expected in zip(found, start, strict=True):
                # a row alone adds its products in another order
                torch.testing.assert_close(tensor[row : row + 1], expected, atol=5e-6, rtol=1e-6)


@pytest.mark.parametrize("name", CELL_NAMES)
@pytest.mark.parametrize("grown", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_a_state_of_another_shape_is_refused(name: CellName, grown: tuple[int, int, int, int]) -> None:
    cell = cell_of(name)
    hidden, memory = cell.initial_state(ROWS)
    state = (
        hidden.new_zeros(ROWS + grown[0], hidden.shape[1] + grown[1]),
        memory.new_zeros(ROWS + grown[2], memory.shape[1] + grown[3]),
    )
    for run in (run_cells, run_histories):
        with pytest.raises(UsageError, match="a state of hidden values and memory"):
            run([cell], [inputs_of(torch.float32)], [state])


@pytest.mark.parametrize("name", CELL_NAMES)
def test_no_steps_leave_the_state_as_it_was(name: CellName) -> None:
    cell = cell_of(name)
    start = state_of(cell, name)
    for dtype in (torch.float32, torch.float64):
        state = (start[0].to(dtype), start[1].to(dtype))
        ((outputs, end),) = run_cells([cell.to(dtype)], [inputs_of(dtype)[:0]], [state])
        assert outputs.shape == (0, ROWS, cell.output_size)
        assert torch.equal(end[0], state[0])
        assert torch.equal(end[1], state[1])


def torchs(name: CellName, cell: Cell) -> nn.Module:
    """Return torch's own layer with the weights of a cell."""
    weights = {key: torch.from_numpy(value) for key, value in oracle.weights_of(cell).items()}
    twins = {"rnn": nn.RNN, "rnn_relu": nn.RNN, "gru": nn.GRU}
    options: dict[str, Any] = {"nonlinearity": "relu"} if name == "rnn_relu" else {}
    if name == "lstm_projected":
        options = {"proj_size": cell.output_size}
    twin = twins.get(name, nn.LSTM)(WIDTH, SIZE, **options)
    with torch.no_grad():
        twin.weight_ih_l0.copy_(weights["weight_in"])
        twin.weight_hh_l0.copy_(weights["weight_rec"])
        twin.bias_ih_l0.copy_(weights["bias"])
        twin.bias_hh_l0.zero_()
        if name == "gru":
            twin.bias_hh_l0[2 * SIZE :] = weights["candidate_bias"]
        if name == "lstm_projected":
            twin.weight_hr_l0.copy_(weights["projection"])
    return twin


@pytest.mark.parametrize("name", ["rnn", "rnn_relu", "lstm", "lstm_projected", "gru"])
def test_the_cells_that_torch_has_are_torchs(name: CellName) -> None:
    cell, inputs = cell_of(name), inputs_of()
    ((found, _),) = run_histories([cell], [inputs], [cell.initial_state(ROWS)])
    twin, inputs = torchs(name, cell).double(), inputs.double()  # in float32 torch warns that it is slow
    torch.testing.assert_close(found.double(), twin(inputs)[0], atol=2e-6, rtol=1e-6)


def test_peepholes_of_zero_are_no_peepholes() -> None:
    cell, inputs = cell_of("lstm_peephole"), inputs_of()
    assert isinstance(cell, PeepholeLstm)
    with torch.no_grad():
        cell.peepholes.zero_()
    ((found, _),) = run_cells([cell], [inputs])
    torch.testing.assert_close(found, torchs("lstm_peephole", cell)(inputs)[0], atol=1e-6, rtol=0)
    assert not make_cell("lstm_peephole", WIDTH, SIZE).get_parameter("peepholes").any(), "they start at zero"


def test_the_scan_of_the_minimal_gru_is_its_loop() -> None:
    cell = cell_of("mingru").double()
    assert isinstance(cell, MinimalGru)
    for steps in (1, 2, 3, 37):
        sums, state = cell.sums(inputs_of(torch.float64, steps)), state_of(cell, "mingru")
        found, _ = cell.unrolled(sums, state)
        for step in range(steps):
            state = cell.step(sums[step], state)
            torch.testing.assert_close(found[step], state[0], atol=1e-12, rtol=0)


def test_exponential_gates_do_not_overflow() -> None:
    cell = cell_of("slstm")
    inputs = inputs_of(steps=50) * 1000
    ((found, _),) = run_cells([cell], [inputs])
    ((plain, _),) = (run_plain(cell.double(), inputs.double(), cell.initial_state(ROWS)),)
    assert found.isfinite().all()
    torch.testing.assert_close(found.double(), plain, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "name",
    ["lstm", "lstm_peephole", "lstm_layernorm", "lstm_projected", "lstm_coupled", "gru", "ligru", "slstm", "mingru"],
)
def test_memory_is_kept_at_the_start(name: CellName) -> None:
    """The claim about the order of gates that the bias rests on: at their start the cells keep half and more."""
    cell = make_cell(name, WIDTH, SIZE).double()
    with torch.no_grad():
        for key, weight in cell.named_parameters():
            if weight.ndim == 2 and key.startswith("weight"):
                weight.zero_()
    hidden, memory = state_of(cell, name)
    ((_, after),) = (run_plain(cell, torch.zeros(1, ROWS, WIDTH, dtype=torch.float64), (hidden, memory)),)
    size = cell.hidden_size
    kept = after[0][:, :size] * (after[0][:, 2 * size :].exp() if name == "slstm" else 1)
    before = memory[:, :size] * (memory[:, 2 * size :].exp() if name == "slstm" else 1)
    torch.testing.assert_close(kept, before * torch.sigmoid(torch.tensor(1.0, dtype=torch.float64)))


@pytest.mark.parametrize("name", CELL_NAMES)
def test_recurrent_matrices_start_orthogonal(name: CellName) -> None:
    cell = make_cell(name, WIDTH, SIZE)
    recurrent = cell.operands().recurrent
    for gate in () if recurrent is None else recurrent.chunk(cell.gates):
        square = gate.T @ gate if gate.shape[0] > gate.shape[1] else gate @ gate.T
        gain = 1.0 if name.startswith("rnn") else 0.25
        torch.testing.assert_close(square, gain * torch.eye(len(square)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_what_is_a_shape_only_costs_no_random_numbers(name: CellName) -> None:
    state = torch.random.get_rng_state()
    with torch.device("meta"):
        cell = make_cell(name, WIDTH, SIZE)
    assert all(weight.is_meta for weight in cell.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
