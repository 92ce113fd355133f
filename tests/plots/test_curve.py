"""The picture of a learning curve is drawn."""

from pathlib import Path

import pytest

from asr.plots.curve import CurveLine, draw_curve


def test_it_is_drawn_without_leftovers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    line = CurveLine([(1.0, 40.0, 35.0, 45.0), (2.0, 30.0, 25.0, 35.0)], (12.0, 10.0, 5.0, 15.0))
    draw_curve({"a line": line}, tmp_path / "a.png", title="a title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
