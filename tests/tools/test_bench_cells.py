"""tools/bench cells: the arithmetic by hand, turns that hit both sides, and the figures of a run."""

import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch

from asr.nn.steps import multiplies_bfloat16
from tests.tools.benchmarks import benchmark

common, turns, cells = benchmark("_common"), benchmark("_cells"), benchmark("cells")
TINY = [
    turns.Shape("training", 6, 2, 9),
    turns.Shape("training", 6, 2, 9, ways=2),
    turns.Shape("training", 6, 2, 9, precision="bf16"),
    turns.Shape("inference", 6, 1, 9),
    turns.Shape("stream", 6, 1, 9),
]


def test_flop_by_hand() -> None:
    # four layers of 6 inputs, 4 gates of 6 cells: 4 * 6 * (6 + 6) products a frame; both ways layers 2 to 4 read 12
    one_way = 4 * 24 * (6 + 6)
    both_ways = 2 * 24 * (6 + 6) + 3 * 2 * 24 * (12 + 6)
    for shape, products, passes in ((TINY[0], one_way, 3), (TINY[1], both_ways, 3), (TINY[3], one_way, 1)):
        assert turns.flop(turns.stack("lstm", shape), shape) == passes * 2 * products * shape.rows * 9
    # 3 values are put out, by a matrix of 3 x 6
    projected = 24 * (6 + 3) + 3 * 6 + 3 * (24 * (3 + 3) + 3 * 6)
    assert turns.flop(turns.stack("lstm_projected", TINY[3]), TINY[3]) == 2 * projected * 9


def test_a_machine_that_slows_down_hits_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run takes a second longer than the one before it, and each cell three times as long as torch."""
    clock, order = [0.0], []

    def once(run: object, inputs: torch.Tensor, shape: object, modules: object) -> float:
        name = getattr(run, "__qualname__", "")
        order.append("torch" if name.startswith("_torch_run") else "cell")
        clock[0] += 1
        return clock[0] * (1 if order[-1] == "torch" else 3)

    monkeypatch.setattr(turns, "_once", once)
    monkeypatch.setattr(turns, "product_rate", lambda size, dtype, device: 1e9)
    found = turns.timed(TINY[0], ["rnn", "gru", "mingru"])
    assert order[4:10] == ["torch", "cell", "cell", "torch", "cell", "torch"]
    assert len(order) == 4 + 2 * 6
    # turned around, what came early comes late
    assert found.ratios == pytest.approx({"rnn": 3, "gru": 3, "mingru": 3}, rel=0.15)


def test_all_shapes_meet_what_was_asked_for() -> None:
    every = turns.shapes(quick=False, bf16=True)
    assert len(set(every)) == len(every)
    training = {(s.size, s.rows, s.frames, s.precision) for s in every if s.kind == "training" and s.ways == 1}
    assert len(training) == 2 * 3 * 2 * 2
    both_ways = {(s.size, s.rows, s.frames) for s in every if s.ways == 2}
    assert both_ways == {(size, rows, 250) for size in (320, 512) for rows in (8, 16, 32)} | {(320, 8, 1000)}
    assert {(s.kind, s.size, s.frames) for s in every if s.rows == 1} == {
        (kind, size, frames) for kind in ("inference", "stream") for size in (320, 512) for frames in (250, 1000)
    }
    assert all(s.precision == "float32" for s in turns.shapes(quick=False, bf16=False))
    assert len(turns.shapes(quick=True, bf16=True)) == 6


@pytest.mark.parametrize("shape", TINY)
def test_a_run_is_that_of_the_layers(shape: object) -> None:
    """The stream's last chunk, and the whole, are what torch says with the weights of the cells."""
    layers, inputs = turns.stack("lstm", shape), torch.randn(9, 2, 6)
    twin = torch.nn.LSTM(6, 6, num_layers=4, bidirectional=shape.ways == 2)
    with torch.no_grad():
        for number, layer in enumerate(layers):
            ways = [layer] if shape.ways == 1 else [layer.forwards, layer.backwards]
            for cell, suffix in zip(ways, ("", "_reverse"), strict=False):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(twin, f"{name}_l{number}{suffix}").copy_(getattr(cell, f"{name}_l0"))
        found, expected = turns._run(layers, shape)(inputs), turns._torch_run(twin, shape)(inputs)
    assert len(found) == (1 if shape.kind == "stream" else 9)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_whole_of_bench_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    # where a CPU does not multiply bfloat16, torch's own LSTM cannot run in it
    measured = [shape for shape in TINY if shape.precision == "float32" or multiplies_bfloat16()]
    monkeypatch.setattr(turns, "shapes", lambda quick, bf16: measured)
    monkeypatch.setattr(turns, "PRODUCT_SIZE", 64)
    out, threads = tmp_path / "cells.receipt.json", torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["cells.py", "--cells", "mingru,lstm", "--threads", "1", "--out", str(out)])
    try:
        assert common.run("tools/bench cells", cells.parser(), cells.bench) == 0
    finally:
        torch.set_num_threads(threads)
    receipt = json.loads(out.read_bytes())
    assert receipt["command"][:2] == ["bench", "cells"]
    assert [item["kind"] for item in receipt["result"]["shapes"]] == [shape.kind for shape in measured]
    figures = receipt["result"]["cells"]["mingru"]
    ratios = [item["ratios"]["mingru"] for item in receipt["result"]["shapes"]]
    assert figures["training float32"] == pytest.approx((ratios[0] * ratios[1]) ** 0.5, abs=2e-3)
    training = [ratio for ratio, shape in zip(ratios, measured, strict=True) if shape.kind == "training"]
    assert figures["training"] == pytest.approx(math.prod(training) ** (1 / len(training)), abs=2e-3)
    assert figures["worst in training"][0] == pytest.approx(max(training), abs=1e-3)
    assert figures["worst elsewhere"][0] == pytest.approx(max(ratios[len(training) :]), abs=1e-3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["| cell", "| ---", "| lstm", "| mingru"]


def test_a_cell_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    monkeypatch.setattr(sys, "argv", ["cells.py", "--cells", "lstm,lsm"])
    assert common.run("tools/bench cells", cells.parser(), cells.bench) == 2
    assert "'lsm' is no cell; there are rnn, " in capsys.readouterr().err
