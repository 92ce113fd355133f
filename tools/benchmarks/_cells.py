"""Layers of cells and torch's LSTM on the same numbers, timed in turns."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch
from _arithmetic import numbers_in_matrices, product_rate
from torch import Tensor, nn

from asr.nn.cells import CellName, make_cell
from asr.nn.cells.cell import Cell
from asr.nn.chunks import WHOLE, ChunkPlan
from asr.nn.recurrence import run_cells
from asr.nn.recurrent import BidirectionalLayer

LAYERS = 4
CHUNK = 8  # frames that a stream reads at once
WARM_FRAMES = 2 * CHUNK
PRODUCT_SIZE = 2048  # of the square matrices that are multiplied beside every shape
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Shape:
    """What is run.

    Attributes:
        size: cells of a layer and of each direction, and width of the input.
        rows: sequences of a batch.
        ways: 1, or 2 for bidirectional layers.
    """

    kind: Literal["training", "inference", "stream"]
    size: int
    rows: int
    frames: int
    ways: int = 1
    precision: Literal["float32", "bf16"] = "float32"

    def __str__(self) -> str:
        ways = ", both ways" if self.ways == 2 else ""
        return f"{self.precision}, {self.size} cells, {self.rows} x {self.frames} frames{ways}"

    @property
    def rounds(self) -> int:
        """Turns of each cell: the longer one takes, the less noise there is in it."""
        if self.kind != "training":
            return 5
        return 2 if self.size**2 * self.rows * self.frames * self.ways < 10**9 else 1


def shapes(*, quick: bool, bf16: bool) -> list[Shape]:
    """Return all that is measured, or with `quick` the smallest of each kind."""
    sizes, rows, lengths = ((320,), (8,), (250,)) if quick else ((320, 512), (8, 16, 32), (250, 1000))
    found = [
        Shape("training", size, count, frames, ways, precision)
        for precision in (("float32", "bf16") if bf16 else ("float32",))
        for ways in (1, 2)
        for frames in lengths
        for size in sizes
        for count in rows
        if ways == 1 or frames == 250 or (size, count) == (320, 8)
    ]
    found += [Shape("inference", size, 1, frames) for size in sizes for frames in lengths]
    return found + [Shape("stream", size, 1, frames) for size in sizes for frames in lengths]


@dataclass(frozen=True)
class Timed:
    """What one shape took.

    Attributes:
        ratios: our time over torch's, for each cell.
        flop_share: FLOP per second of the cells' matrix products as a share of a plain product's.
        torch_seconds: median of `nn.LSTM`.
        product_rate: FLOP per second of the plain product.
    """

    shape: Shape
    ratios: dict[str, float]
    flop_share: dict[str, float]
    torch_seconds: float
    product_rate: float


def timed(shape: Shape, names: Sequence[CellName]) -> Timed:
    """Return the times of cells, in turns with torch's: torch, cell, cell, torch, and then the other way around."""
    theirs, stacks = _torchs(shape), {name: stack(name, shape) for name in names}
    runs: dict[str, Run] = {name: _run(layers, shape) for name, layers in stacks.items()}
    modules = [theirs, *stacks.values()]
    inputs = torch.randn(shape.frames, shape.rows, shape.size)
    for call in (_torch_run(theirs, shape), *runs.values()):
        _once(call, inputs[:WARM_FRAMES], shape, modules)
    ratios: dict[str, list[float]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    torchs, products = [], []
    for number in range(shape.rounds):
        order = list(names)[:: -1 if number % 2 else 1]
        products.append(product_rate(PRODUCT_SIZE, DTYPES[shape.precision], torch.device("cpu")))
        torchs.append(_once(_torch_run(theirs, shape), inputs, shape, modules))
        for pair in (order[start : start + 2] for start in range(0, len(order), 2)):
            taken = {name: _once(runs[name], inputs, shape, modules) for name in pair}
            torchs.append(_once(_torch_run(theirs, shape), inputs, shape, modules))
            for name, value in taken.items():
                seconds[name].append(value)
                ratios[name].append(2 * value / (torchs[-2] + torchs[-1]))
    rate = median(products)
    shares = {name: flop(stacks[name], shape) / median(seconds[name]) / rate for name in names}
    return Timed(shape, {name: median(found) for name, found in ratios.items()}, shares, median(torchs), rate)


def stack(name: CellName, shape: Shape) -> nn.ModuleList:
    """Return the layers of a cell: of one direction, or bidirectional."""
    layers, width = nn.ModuleList(), shape.size
    for _ in range(LAYERS):
        one_way = shape.ways == 1
        layer = make_cell(name, width, shape.size) if one_way else BidirectionalLayer(name, width, shape.size)
        layers.append(layer)
        width = layer.output_size
    return layers


def flop(layers: nn.Module, shape: Shape) -> int:
    """Return the FLOP of the matrix products of cells, in training thrice those of the forward pass."""
    weights = sum(numbers_in_matrices(cell) for cell in layers.modules() if isinstance(cell, Cell))
    return (3 if shape.kind == "training" else 1) * 2 * weights * shape.rows * shape.frames


def _torchs(shape: Shape) -> nn.LSTM:
    return nn.LSTM(shape.size, shape.size, num_layers=LAYERS, bidirectional=shape.ways == 2)


def _torch_run(lstm: nn.LSTM, shape: Shape) -> Run:
    def whole(inputs: Tensor) -> Tensor:
        outputs: Tensor = lstm(inputs)[0]
        return outputs

    def stream(inputs: Tensor) -> Tensor:
        state = None
        for chunk in inputs.split(CHUNK):
            outputs, state = lstm(chunk, state)
        return outputs

    return stream if shape.kind == "stream" else whole


def _run(layers: nn.ModuleList, shape: Shape) -> Run:
    def one_way(inputs: Tensor) -> Tensor:
        for layer in layers:
            ((inputs, _),) = run_cells([layer], [inputs])
        return inputs

    def both_ways(inputs: Tensor) -> Tensor:
        plan = ChunkPlan(WHOLE, torch.full((inputs.shape[1],), len(inputs)), len(inputs))
        for layer in layers:
            inputs = layer(plan.frames(inputs), plan)[0].own
        return inputs

    def stream(inputs: Tensor) -> Tensor:
        states = [None] * len(layers)
        for chunk in inputs.split(CHUNK):
            for number, layer in enumerate(layers):
                ((chunk, states[number]),) = run_cells([layer], [chunk], [states[number]])
        return chunk

    if shape.ways == 2:
        return both_ways
    return stream if shape.kind == "stream" else one_way


def _once(run: Run, inputs: Tensor, shape: Shape, modules: Sequence[nn.Module]) -> float:
    """Return the seconds of one run, in training with its backward pass; gradients are forgotten after it."""
    if shape.kind != "training":
        started = time.perf_counter()
        with torch.inference_mode():
            run(inputs)
        return time.perf_counter() - started
    inputs = inputs.detach().requires_grad_()
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=shape.precision == "bf16"):
        outputs = run(inputs)
    outputs.backward(torch.ones_like(outputs))
    seconds = time.perf_counter() - started
    for module in modules:
        module.zero_grad()
    return seconds
