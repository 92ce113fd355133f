"""The picture of gates is drawn whole, for cells of three gates and of one, and orders cells so that one sees them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.decoding.hypothesis import Word
from asr.errors import MachineError, UsageError
from asr.nn.gates import LayerGates
from asr.plots.gates import chosen_cells, draw_gates, peaks
from asr.plots.passage import Axis, Passage
from asr.recognizer import Transcript

FRAMES, CELLS = 30, 7


def passage_of(*names: str) -> Passage:
    random = torch.Generator().manual_seed(1)
    gates = {name: torch.rand(FRAMES, CELLS, generator=random) for name in names}
    log_probs = torch.rand(FRAMES, 3, generator=random).mul(9).log_softmax(1)
    layer = LayerGates(dict.fromkeys(names, "does it"), gates, torch.zeros(FRAMES, CELLS), torch.zeros(0), log_probs)
    words = (Word("a$b", 0.2, 0.5, 1.0),)
    return Passage(
        features=torch.rand(3 * FRAMES, 8, generator=random),
        kind="logmel",
        feature_axis=Axis(-0.1, 0.01, 3 * FRAMES),
        layer=layer,
        axis=Axis(-0.1, 0.03, FRAMES),
        symbols=("<blank>", "▁", "a$b$"),
        transcript=Transcript("a$b c$", words, 0.7, -1.0),
    )


@pytest.mark.parametrize("names", [("input", "forget", "output"), ("reset", "update"), ("update",)])
def test_it_is_drawn_without_leftovers(tmp_path: Path, names: tuple[str, ...]) -> None:
    pytest.importorskip("matplotlib")
    draw_gates(passage_of(*names), tmp_path / "a.svg", cells=5, title="a title")
    picture = (tmp_path / "a.svg").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]
    for name in names:
        assert f"{name} gate: open (1), it does it" in picture
    assert f"the 5 of 7 cells whose {names[-1] if len(names) < 3 else 'forget'} gate moves most" in picture
    assert "“a$b c$”" in picture


def test_where_nothing_is_said_it_is_drawn_all_the_same(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    passage = replace(passage_of("update"), transcript=Transcript("", (), 0.0, -1.0))
    draw_gates(passage, tmp_path / "a.svg", cells=1, title="a title")
    assert "nothing was recognised" in (tmp_path / "a.svg").read_text("utf-8")


def test_the_cells_that_move_are_chosen_and_those_that_move_together_are_neighbours() -> None:
    time = np.arange(40)
    still, slow, fast = np.full(40, 0.9), 0.5 + 0.4 * np.sin(time / 9), 0.5 + 0.4 * np.sin(time / 2)
    gate = np.stack([slow, still, fast, slow + 0.01, still, fast - 0.01], 1).astype(np.float32)
    order = chosen_cells(gate, 4).tolist()
    assert sorted(order) == [0, 2, 3, 5]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 3}), frozenset({2, 5})}
    assert sorted(chosen_cells(gate, 100).tolist()) == [0, 1, 2, 3, 4, 5]
    assert chosen_cells(gate[:1], 3).tolist() == [0, 1, 2]  # one frame: nothing moves


def test_a_token_is_named_once_each_time_that_it_is_likely() -> None:
    assert peaks(np.array([0.1, 0.3, 0.9, 0.4, 0.1, 0.0, 0.2, 0.1, 0.5], np.float32)) == [2, 6, 8]
    assert peaks(np.array([0.1, 0.19], np.float32)) == []


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a.gif: cannot draw"):
        draw_gates(passage_of("update"), tmp_path / "a.gif", cells=5, title="a title")


def test_without_matplotlib_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError, match="matplotlib is missing"):
        draw_gates(passage_of("update"), tmp_path / "a.png", cells=5, title="a title")
