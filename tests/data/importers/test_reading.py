"""Text files, line ends, times."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.importers import reading
from asr.data.importers.reading import between, json_lines, read_text, seconds, text_lines
from asr.errors import DataError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x").write_bytes("naïve\u2028 日本\r\n".encode(encoding))
    assert read_text(tmp_path / "x") == "naïve\u2028 日本\r\n"


def test_line_ends() -> None:
    assert text_lines("a\nb\r\n\nc\rd") == ["a", "b", "", "c", "d"]
    assert text_lines("a\u2028b\x0bc\x85d\n") == ["a\u2028b\x0bc\x85d"]
    assert text_lines("") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((" 1.5 ", 1.5), ("1,5", 1.5), (".5", 0.5), ("2.", 2.0), ("-1", -1.0), ("1e-3", 0.001), ("007", 7.0)),
        *(("1:02", 62.0), ("1:02,5", 62.5), ("01:02:03.25", 3723.25), ("100:00:00", 360000.0)),
    ],
)
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["", "x", "nan", "inf", "1_0", "1.2.3", "1,234.5", "1:75", "1:2:3:4", "1e999", "١", "0x1"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time; write seconds, as 1\.5, or "):
        seconds(text)


def test_a_number_of_many_digits_is_read_at_once() -> None:
    with pytest.raises(ValueError, match=r"is no time"):
        seconds("1" * 200_000 + "x")


@given(st.integers(0, 10**9), st.integers(1, 10**7))
def test_differences_of_decimals_are_decimals(start: int, length: int) -> None:
    assert between(start / 1000, (start + length) / 1000) == length / 1000


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"{}\n" * 10)
    with pytest.raises(DataError, match=r"x\.jsonl: longer than 29 bytes; is this the right file\?"):
        read_text(tmp_path / "x.jsonl", max_bytes=29)
    assert [number for number, _ in json_lines(tmp_path / "x.jsonl")] == list(range(1, 11))
    monkeypatch.setattr(reading, "MAX_ROWS_BYTES", 20)
    with pytest.raises(DataError, match=r"x\.jsonl:7: rows of more than"):
        list(json_lines(tmp_path / "x.jsonl"))
    monkeypatch.setattr(reading, "MAX_ROW_BYTES", 2)
    with pytest.raises(DataError, match=r"x\.jsonl:1: rows of more than 2 bytes"):
        list(json_lines(tmp_path / "x.jsonl"))
