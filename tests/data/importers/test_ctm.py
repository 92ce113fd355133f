"""CTM word times: grouping at pauses, channels, recordings found by name."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.importers.ctm import Word, group_words
from asr.data.manifest import Utterance
from asr.errors import DataError
from tests.data.importers.sources import files, imported, left, record, rows

TALK = """;; a comment
talk A 0.50 0.25 good 0.9
talk A 0.80 0.45 morning 1.0
talk A 2.00 0.5 yes
talk A 1.8 0.1 oh
"""


def test_pauses_part_utterances(tmp_path: Path) -> None:
    audio = record(tmp_path / "data" / "x" / "talk.wav", 3.0)
    source = files(tmp_path / "data", talk__ctm=TALK) / "talk.ctm"
    assert rows("ctm", source) == [
        Utterance("talk-001", audio, 0.5, 0.75, "good morning"),
        Utterance("talk-002", audio, 1.8, 0.7, "oh yes"),
    ]
    assert [row.text for row in rows("ctm", source, max_gap=0.01)] == ["good", "morning", "oh", "yes"]
    assert [row.text for row in rows("ctm", source, max_gap=0.6)] == ["good morning oh yes"]


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 20)), max_size=20),
    st.integers(0, 30),
)
def test_groups_hold_all_words_and_their_pauses_are_short(spans: list[tuple[int, int]], max_gap: int) -> None:
    words = [Word(float(start), float(start + length), "w") for start, length in spans]
    groups = list(group_words(words, max_gap))
    assert sorted((word for group in groups for word in group), key=str) == sorted(words, key=str)
    for group in groups:
        for index in range(1, len(group)):
            assert group[index].start <= max(word.end for word in group[:index]) + max_gap
    for one, two in pairwise(groups):
        assert two[0].start > max(word.end for word in one) + max_gap


@pytest.mark.parametrize("names", [("A", "B"), ("1", "2"), ("0", "1"), ("a", "b")])
def test_channels(tmp_path: Path, names: tuple[str, str]) -> None:
    record(tmp_path / "data" / "two.wav", channels=2)
    record(tmp_path / "data" / "one.wav")
    lines = "".join(f"two {name} 0 0.5 {name}\n" for name in names) + f"one {names[0]} 0 0.5 x\n"
    found = rows("ctm", files(tmp_path / "data", c__ctm=lines) / "c.ctm")
    assert [(row.id, row.channel) for row in found] == [
        (f"two-{names[0]}-001", 0),
        (f"two-{names[1]}-001", 1),
        ("one-001", None),
    ]


def test_lines_that_are_wrong_and_recordings_that_are_not_there(tmp_path: Path) -> None:
    record(tmp_path / "data" / "a.wav")
    record(tmp_path / "data" / "x" / "b.wav")
    record(tmp_path / "data" / "y" / "b.wav")
    lines = (
        *("a 1 0 0.5", "a 1 x 0.5 w", "a 1 0 -1 w", "a left 0 0.5 w", "a * * * <ALT_BEGIN>", "a 1 0 1 w 1 lex", ""),
        *("a 1 0 0.5 fine", "b 1 0 0.5 w", "c 1 0 0.5 w", "x/b 1 0 0.5 w", "a 1 3 0.5 late"),
    )
    source = files(tmp_path / "data", c__ctm="\n".join(lines)) / "c.ctm"
    with pytest.raises(DataError, match=r"6 rows that cannot be read: line 1 \(4 fields; expected: recording channel "):
        imported("ctm", source)
    assert left(tmp_path / "data") == {"a.wav", "x", "y", "c.ctm"}
    found, said = imported("ctm", source, skip_faulty=True)
    assert [row.id for row in found] == ["a-001", "x_b-001"]
    assert [str(problem) for problem in said.skipped][1:] == [
        'line 2 ("x" is no time; write seconds, as 1.5, or 1:02:03.5)',
        "line 3 (start 0 and duration -1; both must be 0 or more)",
        'line 4 (channel "left"; expected A, B, ... or 1, 2, ...)',
        "line 5 (alternatives (<ALT_BEGIN> ...); keep one of them)",
        "line 6 (7 fields; expected: recording channel start duration word [confidence])",
        "b (x/b.wav, y/b.wav)",
        "c (no recording c with .flac, .mp3, .ogg, .opus, .sph, .wav)",
        "a-002 (it spans [3.00, 3.50) s of 1.00 s)",
    ]
