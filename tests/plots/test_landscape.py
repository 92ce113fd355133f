"""The picture of error rates over weights is drawn whole, whatever was tried."""

import sys
from pathlib import Path

import pytest

from asr.errors import MachineError, UsageError
from asr.plots.landscape import draw_landscape

RATES = {(0.0, 0.0): 12.0, (0.4, 1.0): 7.5, (0.45, 1.0): 7.0, (1.6, -1.0): 90.0}


@pytest.mark.parametrize("rates", [RATES, {(0.4, 1.0): 7.5}])
def test_it_is_drawn_without_leftovers(tmp_path: Path, rates: dict[tuple[float, float], float]) -> None:
    pytest.importorskip("matplotlib")
    draw_landscape(rates, tmp_path / "a.png", best=(0.4, 1.0), title="a title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_of_close_neighbours_the_best_alone_is_numbered(tmp_path: Path) -> None:
    """Their numbers would run into each other: of four points three have one."""
    pytest.importorskip("matplotlib")
    draw_landscape(RATES, tmp_path / "a.svg", best=(0.45, 1.0), title="a title")
    picture = (tmp_path / "a.svg").read_text("utf-8")
    assert [number in picture for number in ("12.0", "90.0", "7.5 -->", "<!-- 7.0 -->")] == [True, True, False, True]


def test_other_names_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a.foo: cannot draw a picture of that name; end it in \.png, \.svg, \.pdf"):
        draw_landscape(RATES, tmp_path / "a.foo", best=(0.4, 1.0), title="a title")
    (tmp_path / "a.png").mkdir()
    with pytest.raises(MachineError, match="Is a directory"):
        draw_landscape(RATES, tmp_path / "a.png", best=(0.4, 1.0), title="a title")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_without_matplotlib_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError, match="matplotlib is missing"):
        draw_landscape(RATES, tmp_path / "a.png", best=(0.4, 1.0), title="a title")
