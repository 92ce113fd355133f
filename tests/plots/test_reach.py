"""The picture of how far cells remember is drawn, the farthest reaching on top."""

import sys
from pathlib import Path

import pytest

from asr.errors import MachineError
from asr.plots.reach import Attempt, draw_reach, reach

ATTEMPTS = {
    "adding": {
        "lstm": [Attempt(30, True), Attempt(100, True)],
        "rnn": [Attempt(30, False), Attempt(100, False)],
        "gru": [Attempt(30, True), Attempt(100, False)],
    },
    "copy": {"lstm": [Attempt(30, False)]},
}


@pytest.mark.parametrize(
    ("solved", "expected"), [([], 0), ([30], 30), ([100, 30], 100), ([30, 300], 30), ([100], 0), ([30, 100, 300], 300)]
)
def test_a_cell_gives_up_at_the_first_length_that_it_does_not_solve(solved: list[int], expected: int) -> None:
    assert reach([Attempt(length, length in solved) for length in (300, 30, 100)]) == expected


def test_it_is_drawn_without_leftovers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_reach(ATTEMPTS, tmp_path / "a.png", title="a title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_farthest_reaching_stands_on_top(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_reach({"adding": ATTEMPTS["adding"]}, tmp_path / "a.svg", title="a title")
    picture = (tmp_path / "a.svg").read_text("utf-8")  # its rows are written from below
    assert sorted(("lstm", "rnn", "gru"), key=lambda name: picture.index(f"<!-- {name} -->")) == ["rnn", "gru", "lstm"]


def test_without_matplotlib_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError, match="matplotlib is missing"):
        draw_reach(ATTEMPTS, tmp_path / "a.png", title="a title")
