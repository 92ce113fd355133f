"""The cells as their papers write them: one step, one row and one gate after another, in numpy's float64.

Each function takes the weights by name, each gate's rows of the matrices by themselves, in the order of the cell.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from asr.nn.cells.cell import Cell

Array = np.ndarray[Any, np.dtype[np.float64]]
Weights = Mapping[str, Array]
Step = Callable[[Weights, Array, Array, Array], tuple[Array, Array]]


def weights_of(cell: Cell) -> dict[str, Array]:
    """Return a cell's weights by the names that the functions below take; of the LSTM's two biases the sum."""
    names = {"weight_ih_l0": "weight_in", "weight_hh_l0": "weight_rec"}
    weights = {names.get(name, name): weight.detach().numpy() for name, weight in cell.named_parameters()}
    if "bias_ih_l0" in weights:
        weights["bias"] = weights.pop("bias_ih_l0") + weights.pop("bias_hh_l0")
    return weights


def sigmoid(x: Array) -> Array:
    """Return the logistic function."""
    return 1 / (1 + np.exp(-x))


def gates(weights: Weights, x: Array, h: Array, count: int, biased: bool = True) -> list[Array]:
    """Return W x + U h + b of each gate."""
    w, u, b = (np.split(weights[name], count) for name in ("weight_in", "weight_rec", "bias"))
    return [w[gate] @ x + u[gate] @ h + b[gate] * biased for gate in range(count)]


def normal(x: Array) -> Array:
    """Return x with mean 0 and variance 1."""
    return (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)


def rnn(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Elman 1990."""
    return np.tanh(gates(weights, x, h, 1)[0]), c


def rnn_relu(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Le et al. 2015."""
    return np.maximum(gates(weights, x, h, 1)[0], 0), c


def lstm(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Hochreiter & Schmidhuber 1997; Gers et al. 2000."""
    i, f, g, o = gates(weights, x, h, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_peephole(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Graves 2013, equations 7 to 11."""
    i, f, g, o = gates(weights, x, h, 4)
    see_in, see_forget, see_out = weights["peepholes"]
    new = sigmoid(f + see_forget * c) * c + sigmoid(i + see_in * c) * np.tanh(g)
    return sigmoid(o + see_out * new) * np.tanh(new), new


def lstm_layernorm(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Ba et al. 2016, equations 20 to 22."""
    sums = weights["gain_in"] * normal(weights["weight_in"] @ x)
    sums = sums + weights["gain_rec"] * normal(weights["weight_rec"] @ h) + weights["bias"]
    i, f, g, o = np.split(sums, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(weights["cell_gain"] * normal(c) + weights["cell_bias"]), c


def lstm_projected(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Sak et al. 2014, without its peepholes and the projection that does not recur."""
    shown, c = lstm(weights, x, h, c)
    return weights["projection"] @ shown, c


def lstm_coupled(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Greff et al. 2015, CIFG."""
    f, g, o = gates(weights, x, h, 3)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Cho et al. 2014, the reset gate after the product."""
    w, u, b = (np.split(weights[name], 3) for name in ("weight_in", "weight_rec", "bias"))
    r, z = sigmoid(w[0] @ x + u[0] @ h + b[0]), sigmoid(w[1] @ x + u[1] @ h + b[1])
    n = np.tanh(w[2] @ x + b[2] + r * (u[2] @ h + weights["candidate_bias"]))
    h = (1 - z) * n + z * h
    return h, h


def ligru(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Ravanelli et al. 2018, equations 6 to 8, by layer norm."""
    w, u, b = (np.split(weights[name], 2) for name in ("weight_in", "weight_rec", "bias"))
    gain = weights["gain_in"]
    z = sigmoid(gain[0] * normal(w[0] @ x) + u[0] @ h + b[0])
    a = np.maximum(gain[1] * normal(w[1] @ x) + u[1] @ h + b[1], 0)
    h = z * h + (1 - z) * a
    return h, h


def slstm(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Beck et al. 2024, equations 8 to 14: without the stabiliser; what it divides by is in the memory given."""
    i, f, g, o = gates(weights, x, h, 4)
    cell, norm, level = np.split(c, 3)
    cell = sigmoid(f) * cell * np.exp(level) + np.exp(i) * np.tanh(g)
    norm = sigmoid(f) * norm * np.exp(level) + np.exp(i)
    return sigmoid(o) * cell / norm, np.concatenate([cell, norm, np.zeros_like(level)])


def mingru(weights: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Feng et al. 2024, section 3.1."""
    z, candidate = np.split(weights["weight_in"] @ x + weights["bias"], 2)
    h = (1 - sigmoid(z)) * c + sigmoid(z) * candidate
    return h, h


STEPS: dict[str, Step] = {
    step.__name__: step
    for step in (
        *(rnn, rnn_relu, lstm, lstm_peephole, lstm_layernorm, lstm_projected, lstm_coupled),
        *(gru, ligru, slstm, mingru),
    )
}


def run(name: str, weights: Weights, rows: Sequence[Array], h: Array, c: Array) -> Array:
    """Return the hidden values (E, P) of one sequence (E, D)."""
    found = []
    for x in rows:
        h, c = STEPS[name](weights, x, h, c)
        found.append(h)
    return np.stack(found)
