"""Lines of foreign text files."""

from pathlib import Path

import pytest

from asr.data.lines import MAX_LINE_BYTES, numbered_lines
from asr.errors import DataError


def test_lines_end_where_a_line_feed_is_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffa\u2028b\x0cc\r\n\n  d\re\n".encode() + b"last")
    assert list(numbered_lines(path)) == [(1, "a\u2028b\x0cc"), (2, ""), (3, "  d\re"), (4, "last")]


def test_what_cannot_be_read_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"a\nM\xfcller\n")
    with pytest.raises(DataError, match=r"x\.txt:2: not UTF-8 \(invalid start byte\); get the file again"):
        list(numbered_lines(path))
    path.write_bytes(b"a\n" + b"x" * MAX_LINE_BYTES)
    with pytest.raises(DataError, match=r"x\.txt:2: the line is longer than 1000000 bytes"):
        list(numbered_lines(path))
    with pytest.raises(DataError, match="cannot read: Is a directory; check --corpus"):
        list(numbered_lines(tmp_path))
