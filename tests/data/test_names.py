"""Names that a manifest may hold."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.data.names import legal_name, named, unique_names


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=8))
def test_names_of_anything_can_be_written_and_read(texts: list[str]) -> None:
    names = unique_names(texts)
    assert names == unique_names(texts)
    assert len(set(names)) == len(texts)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.jsonl"
        write_manifest(path, [Utterance(name, Path("/a.wav"), 0.0, 1.0) for name in names])
        assert [row.id for row in read_manifest(path)] == names


@given(st.lists(st.text("ab-2", min_size=1, max_size=4), unique=True, max_size=8))
def test_legal_and_unique_names_stay(names: list[str]) -> None:
    assert unique_names(names) == names


def test_a_made_name_takes_none_that_is_given() -> None:
    assert unique_names(["a", "a", "a-2", "a", "a b", "a_b"]) == ["a", "a-3", "a-2", "a-4", "a_b", "a_b-2"]
    assert [legal_name(text) for text in ("", ".", "..", "x \t/y", "\x00z")] == ["_", "._", ".._", "x_y", "_z"]


def test_lists_of_names_are_short() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named(list("abcdefg")) == "a, b, c, d, e, ..."
