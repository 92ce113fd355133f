"""The cells of recurrent layers, one file each, by the names that `encoder.cell` takes."""

from functools import partial
from typing import Any, Literal, get_args

from asr.nn.cells.cell import Cell
from asr.nn.cells.gru import Gru
from asr.nn.cells.ligru import LightGru
from asr.nn.cells.lstm import Lstm, initialize_lstm
from asr.nn.cells.lstm_coupled import CoupledLstm
from asr.nn.cells.lstm_layernorm import LayerNormLstm
from asr.nn.cells.lstm_peephole import PeepholeLstm
from asr.nn.cells.lstm_projected import ProjectedLstm
from asr.nn.cells.mingru import MinimalGru
from asr.nn.cells.rnn import Rnn
from asr.nn.cells.slstm import ScalarLstm

CellName = Literal[
    "rnn",
    "rnn_relu",
    "lstm",
    "lstm_peephole",
    "lstm_layernorm",
    "lstm_projected",
    "lstm_coupled",
    "gru",
    "ligru",
    "slstm",
    "mingru",
]
CELL_NAMES: tuple[CellName, ...] = get_args(CellName)

_CELLS: dict[CellName, Any] = {
    "rnn": Rnn,
    "rnn_relu": partial(Rnn, activation="relu"),
    "lstm": Lstm,
    "lstm_peephole": PeepholeLstm,
    "lstm_layernorm": LayerNormLstm,
    "lstm_projected": ProjectedLstm,
    "lstm_coupled": CoupledLstm,
    "gru": Gru,
    "ligru": LightGru,
    "slstm": ScalarLstm,
    "mingru": MinimalGru,
}


def make_cell(name: CellName, input_size: int, hidden_size: int, *, projection: int = 0) -> Cell:
    """Return a new layer of one direction; arguments as `make_cells`."""
    return make_cells(1, name, input_size, hidden_size, projection=projection)[0]


def make_cells(count: int, name: CellName, input_size: int, hidden_size: int, *, projection: int = 0) -> list[Cell]:
    """Return new layers of one direction each, for one input.

    Args: projection: width of what `lstm_projected` puts out, 0 for half of `hidden_size`; others put out all.
    """
    options = {"projection": projection} if name == "lstm_projected" else {}
    cells: list[Cell] = [_CELLS[name](input_size, hidden_size, **options) for _ in range(count)]
    for cell in cells:  # after all are made: so a seed gives the LSTMs that it has always given
        if isinstance(cell, Lstm):
            initialize_lstm(cell)
    return cells
