"""The picture of gradients over steps is drawn, whatever they come to."""

import re
import sys
from pathlib import Path

import pytest

from asr.errors import MachineError
from asr.plots.gradients import draw_gradients

LINES = {
    "at the start": {f"cell {number}": [1.0, 0.1 / (number + 1), 1e-200] for number in range(11)},
    "after training": {f"cell {number}": [1.0, None, 0.0] for number in range(11)},
}


def test_it_is_drawn_without_leftovers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_gradients(LINES, tmp_path / "a.png", title="a title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_no_two_lines_look_alike(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_gradients({"at the start": LINES["at the start"]}, tmp_path / "a.svg", title="a title")
    picture = (tmp_path / "a.svg").read_text("utf-8")
    assert all(f"<!-- cell {number} -->" in picture for number in range(11))
    curves = [line for line in picture.splitlines() if "stroke-width: 1.4" in line]
    assert len(set(re.findall(r"stroke: (#\w+)", "".join(curves)))) == 11


def test_without_matplotlib_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError, match="matplotlib is missing"):
        draw_gradients(LINES, tmp_path / "a.png", title="a title")
