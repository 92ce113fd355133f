"""Gates and memory as shown are those that make a layer's outputs, in the order of time."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.errors import UsageError
from asr.nn.cells import CELL_NAMES, CellName, make_cell
from asr.nn.cells.cell import Cell
from asr.nn.encoder import Encoder, EncoderConfig
from asr.nn.gates import DIRECTIONS, cell_gates, layer_gates
from asr.nn.recurrence import run_cells
from tests.oracles import cells as oracle

GATED: tuple[CellName, ...] = tuple(name for name in CELL_NAMES if not name.startswith("rnn"))
STEPS, WIDTH, SIZE = 9, 5, 6
Array = np.ndarray[Any, np.dtype[np.float64]]


def cell_of(name: CellName) -> Cell:
    """Return a cell none of whose weights is at a special value."""
    torch.manual_seed(1)
    cell = make_cell(name, WIDTH, SIZE).double()
    with torch.no_grad():
        for weight in cell.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return cell


def candidate(name: str, weights: dict[str, Array], x: Array, h: Array, gates: dict[str, Array]) -> Array:
    """Return the new value that a step offers to the memory."""
    if name == "mingru":
        return np.split(weights["weight_in"] @ x + weights["bias"], 2)[1]
    if name == "gru":
        w, u, b = (np.split(weights[key], 3)[2] for key in ("weight_in", "weight_rec", "bias"))
        return np.tanh(w @ x + b + gates["reset"] * (u @ h + weights["candidate_bias"]))
    if name == "ligru":
        w, u, b = (np.split(weights[key], 2)[1] for key in ("weight_in", "weight_rec", "bias"))
        return np.maximum(weights["gain_in"][1] * oracle.normal(w @ x) + u @ h + b, 0)
    if name == "lstm_layernorm":
        sums = weights["gain_in"] * oracle.normal(weights["weight_in"] @ x)
        sums = sums + weights["gain_rec"] * oracle.normal(weights["weight_rec"] @ h) + weights["bias"]
        return np.tanh(np.split(sums, 4)[2])
    count = 3 if name == "lstm_coupled" else 4
    return np.tanh(oracle.gates(weights, x, h, count)[count - 2])


def kept_and_entering(name: str, gates: dict[str, Array]) -> tuple[Array, Array]:
    """Return the weights of the old memory and of the new value."""
    if name == "slstm":  # of cell / normaliser, where both weights add up to 1
        return 1 - gates["input"], gates["input"]
    if "forget" in gates:
        return gates["forget"], gates["input"]
    update = gates["update"]
    return (1 - update, update) if name == "mingru" else (update, 1 - update)


def shown(name: str, weights: dict[str, Array], gates: dict[str, Array], memory: Array) -> Array:
    """Return what a step puts out."""
    if name == "slstm":
        return gates["output"] * memory
    if name == "lstm_layernorm":
        return gates["output"] * np.tanh(weights["cell_gain"] * oracle.normal(memory) + weights["cell_bias"])
    if "output" in gates:
        hidden = gates["output"] * np.tanh(memory)
        return weights["projection"] @ hidden if name == "lstm_projected" else hidden
    return memory


def run(cell: Cell) -> tuple[Array, dict[str, Array], Array, Array]:
    """Return inputs, gates, memory and outputs of a cell over one sequence, each (E, ...)."""
    inputs = torch.randn(STEPS, 1, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        gates, memory, outputs = cell_gates(cell, inputs)
        ((expected, _),) = run_cells([cell], [inputs])
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
    arrays = {name: values[:, 0].numpy() for name, values in gates.items()}
    return inputs[:, 0].numpy(), arrays, memory[:, 0].numpy(), outputs[:, 0].numpy()


@pytest.mark.parametrize("name", GATED)
def test_gates_and_memory_make_the_outputs(name: CellName) -> None:
    cell = cell_of(name)
    weights = oracle.weights_of(cell)
    inputs, gates, memory, outputs = run(cell)
    assert set(gates) == set(cell.opens)
    before, hidden = np.zeros(SIZE), np.zeros(cell.output_size)
    for step in range(STEPS):
        here = {gate: values[step] for gate, values in gates.items()}
        assert all(((values >= 0) & (values <= 1)).all() for values in here.values())
        kept, entering = kept_and_entering(name, here)
        expected = kept * before + entering * candidate(name, weights, inputs[step], hidden, here)
        np.testing.assert_allclose(memory[step], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(outputs[step], shown(name, weights, here, memory[step]), rtol=0, atol=1e-12)
        before, hidden = memory[step], outputs[step]


def test_the_forget_gate_of_slstm_is_that_of_its_normaliser() -> None:
    """n_t = f n_{t-1} + exp(i), and the input gate shown is exp(i) / n_t."""
    cell = cell_of("slstm")
    inputs, gates, _, outputs = run(cell)
    weights, norm = oracle.weights_of(cell), np.zeros(SIZE)
    for step in range(STEPS):
        hidden = outputs[step - 1] if step else np.zeros(SIZE)
        entering = np.exp(oracle.gates(weights, inputs[step], hidden, 4)[0])
        norm = gates["forget"][step] * norm + entering
        np.testing.assert_allclose(gates["input"][step], entering / norm, rtol=1e-12)


def test_the_plain_layer_holds_what_it_puts_out() -> None:
    _, gates, memory, outputs = run(cell_of("rnn"))
    assert gates == {}
    np.testing.assert_array_equal(memory, outputs)


def encoder_of(name: CellName) -> Encoder:
    torch.manual_seed(3)
    return Encoder(EncoderConfig(subsampling_width=12, layers=2, hidden=8, cell=name), 10, 5).eval()


@pytest.mark.parametrize("name", GATED)
def test_both_directions_are_what_the_layer_puts_out_in_the_order_of_time(name: CellName) -> None:
    encoder, features = encoder_of(name), torch.randn(1, 41, 10, generator=torch.Generator().manual_seed(4))
    put_out: list[Tensor] = []
    with encoder.layers[1].register_forward_hook(lambda layer, given, outputs: put_out.append(outputs[0].own[:, 0])):
        both = [layer_gates(encoder, features, layer=2, direction=direction) for direction in DIRECTIONS]
    with torch.inference_mode():
        said = encoder(features, torch.tensor([41])).log_probs[0]
    torch.testing.assert_close(torch.cat([way.outputs for way in both], 1), put_out[0], rtol=0, atol=1e-6)
    for direction, way in zip(DIRECTIONS, both, strict=True):
        torch.testing.assert_close(way.log_probs, said, rtol=0, atol=0)
        weights = oracle.weights_of(getattr(encoder.layers[1], direction))
        for frame in range(len(said)):
            here = {gate: values[frame].numpy() for gate, values in way.gates.items()}
            expected = shown(name, weights, here, way.memory[frame].numpy())
            np.testing.assert_allclose(way.outputs[frame].numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 3])
def test_a_layer_that_is_not_there_is_refused(layer: int) -> None:
    with pytest.raises(UsageError, match=f"layer {layer}: the model has layers 1 to 2; choose"):
        layer_gates(encoder_of("lstm"), torch.zeros(1, 41, 10), layer=layer, direction="forwards")


@pytest.mark.parametrize("name", ["rnn", "rnn_relu"])
def test_cells_without_gates_are_refused(name: CellName) -> None:
    with pytest.raises(UsageError, match=f"cell {name}: has no gates to show; choose"):
        layer_gates(encoder_of(name), torch.zeros(1, 41, 10), layer=1, direction="forwards")
