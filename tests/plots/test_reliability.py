"""The picture of reliability is drawn and named as asked."""

import sys
from pathlib import Path

import pytest

from asr.errors import MachineError, UsageError
from asr.plots.reliability import draw_reliability

LINES = {"raw": [(0.2, 0.5, 4), (0.9, 0.6, 40)], "calibrated": [(0.5, 0.0, 3), (0.62, 1.0, 41)]}


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_name_says_which_format(tmp_path: Path, name: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    draw_reliability(LINES, tmp_path / name, title="a title")
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a.gif: cannot draw.*\.png, \.svg, \.pdf"):
        draw_reliability(LINES, tmp_path / "a.gif", title="a title")


def test_without_matplotlib_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError, match="matplotlib is missing"):
        draw_reliability(LINES, tmp_path / "a.png", title="a title")
