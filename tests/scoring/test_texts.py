"""Reading texts and pairing them by id."""

from pathlib import Path

import pytest

from asr.errors import DataError
from asr.scoring.error_rate import Pair
from asr.scoring.texts import Text, pair_up, read_texts


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "texts.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_reads_manifest_and_hypothesis_rows(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        '\ufeff{"id": "b", "audio": "b.wav", "duration": 1.5, "text": "yes"}\r\n\n'
        '{"id": "a", "text": "", "score": -2.0}\n',
    )
    assert read_texts(path) == {"b": Text("yes", 1.5), "a": Text("", None)}
    assert list(read_texts(path)) == ["b", "a"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "a", "text"', ":2: not JSON"),
        ('{"id": "a", "text": "x", "duration": NaN}', ":2: not JSON"),
        ("[" * 100_000, ":2: not JSON"),
        ("[1, 2]", r":2: expected an object with 'id' and 'text', got \[1, 2\]"),
        ('{"text": "x"}', ":2: 'id' must be a text, got null"),
        ('{"id": 7, "text": "x"}', ":2: 'id' must be a text, got 7"),
        ('{"id": "a", "text": null}', ":2: utterance 'a': 'text' must be a text, got null"),
        ('{"id": "first", "text": "x"}', ":2: utterance 'first' occurs twice"),
        ('{"id": "a", "text": "\\ud800"}', ":2: 'text' holds half of a surrogate pair"),
        ('{"id": "\\udc00", "text": "x"}', ":2: 'id' holds half of a surrogate pair"),
        ('{"id": "a", "text": "x", "duration": ' + "9" * 400 + "}", ":2: utterance 'a': 'duration' must be in seconds"),
        ('{"id": "a", "text": "x", "duration": 1e999}', ":2: utterance 'a': 'duration' must be in seconds"),
        ('{"id": "a", "text": "x", "duration": "1"}', ":2: utterance 'a': 'duration' must be in seconds"),
    ],
)
def test_bad_rows_are_named_with_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    path = _file(tmp_path, '{"id": "first", "text": "x"}\n' + row + "\n")
    with pytest.raises(DataError, match="texts.jsonl" + message) as caught:
        read_texts(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        read_texts(_file(tmp_path, b'{"id": "a", "text": "\xff"}'))
    with pytest.raises(DataError, match="cannot read: No such file"):
        read_texts(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="cannot read: Is a directory"):
        read_texts(tmp_path)


def test_pairs_in_the_order_of_the_references() -> None:
    references = {"b": Text("x", None), "a": Text("y", 2.0)}
    hypotheses = {"a": Text("Y", None), "b": Text("X", None)}
    assert pair_up(references, hypotheses) == [Pair("b", "x", "X"), Pair("a", "y", "Y")]


def test_ids_of_one_side_only_are_counted_and_named() -> None:
    references = {name: Text("", None) for name in "abcdefgh"}
    hypotheses = {name: Text("", None) for name in ("a", "z")}
    with pytest.raises(DataError) as caught:
        pair_up(references, hypotheses)
    assert str(caught.value) == (
        "7 of 8 references have no hypothesis (b, c, d, e, f, ...) and 1 of 2 hypotheses have no reference (z); "
        "decode exactly the manifest that is scored"
    )
    with pytest.raises(DataError, match=r"^1 of 2 hypotheses have no reference \(z\); decode"):
        pair_up({"a": Text("", None)}, hypotheses)
