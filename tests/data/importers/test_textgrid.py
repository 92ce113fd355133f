"""Praat TextGrids: both text forms, tiers, encodings, what is wrong in them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.importers.textgrid import Interval, parse_textgrid
from asr.data.manifest import Utterance
from asr.errors import DataError
from tests.data.importers.sources import files, imported, left, record, rows

_LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.75
            text = ""
        intervals [2]:
            xmin = 0.75
            xmax = 1.5
            text = "she said ""no"" ! 3 <exists>"
        intervals [3]:
            xmin = 1.5
            xmax = 2.5
            text = "üç
iki"
    item [2]:
        class = "TextTier"
        name = "events"
        xmin = 0
        xmax = 2.5
        points: size = 1
        points [1]:
            number = 1.2
            mark = "click"
"""
# Praat writes a space at the end of most lines.
LONG = re.sub(r'(?m)(?<=[0-9">:])$', " ", _LONG)
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2.5
<exists>
2
"IntervalTier"
"words"
0
2.5
3
0
0.75
""
0.75
1.5
"she said ""no"" ! 3 <exists>"
1.5
2.5
"üç
iki"
"TextTier"
"events"
0
2.5
1
1.2
"click"
"""
LABELS = [Interval(0, 0.75, ""), Interval(0.75, 1.5, 'she said "no" ! 3 <exists>'), Interval(1.5, 2.5, "üç\niki")]


def grid(*tiers: str) -> str:
    return f'"ooTextFile" "TextGrid" 0 1 <exists> {len(tiers)} ' + " ".join(tiers)


def tier(name: str, *labels: str) -> str:
    quoted = " ".join('0 1 "' + label.replace('"', '""') + '"' for label in labels)
    return f'"IntervalTier" "{name}" 0 1 {len(labels)} {quoted}'


@pytest.mark.parametrize("text", [LONG, SHORT, "! a comment\n" + SHORT.replace('"words"', '"words" ! "no" 7')])
def test_the_forms_hold_the_same(text: str) -> None:
    assert parse_textgrid(text) == {"words": LABELS}


@given(st.lists(st.lists(st.text(max_size=8), max_size=3), max_size=3))
def test_any_label_comes_back(tiers: list[list[str]]) -> None:
    text = grid(*(tier(f"t{number}", *labels) for number, labels in enumerate(tiers)))
    found = parse_textgrid(text)
    assert [[interval.text for interval in intervals] for intervals in found.values()] == tiers


def test_the_first_of_tiers_with_one_name_and_none_at_all() -> None:
    assert parse_textgrid(grid(tier("a", "x"), tier("a", "y"))) == {"a": [Interval(0, 1, "x")]}
    assert parse_textgrid('"ooTextFile" "TextGrid" 0 1 <absent>') == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it ends where a text was expected; export it again"),
        ("ooBinaryFile\x08TextGrid", "binary; in Praat, save it with 'Save as text file'"),
        ('"ooTextFile" "PitchTier" 0 1', "no TextGrid; in Praat, save it"),
        (grid(tier("a", "x"))[:-1], "a quote opens on line 1 and never closes"),
        (SHORT.replace("0.75\n1.5", "0.75"), 'line 17: a number was expected, found "\\"she said'),
        (LONG.replace("size = 3", "size = 4"), 'line 29: a number was expected, found "\\"TextTier\\""'),
        (LONG.replace("size = 3", "size = 1e9"), "1e+09 intervals or tiers cannot be in it"),
        (grid('"Pitch" "a" 0 1 0'), 'a tier of class "Pitch"; known are IntervalTier and TextTier'),
        (grid('"IntervalTier" "a" 0 1 1 0 one "x"'), 'a number was expected, found "\\"x\\""'),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is looked at)
        parse_textgrid(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("text", [LONG, SHORT.replace("\n", "\r\n")])
def test_labelled_intervals_become_utterances(tmp_path: Path, encoding: str, text: str) -> None:
    audio = record(tmp_path / "data" / "s 1" / "r.wav", 2.5)
    bom = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (audio.parent / "r.textGrid").write_bytes(bom + text.encode(encoding))
    found, said = imported("textgrid", tmp_path / "data", language="tr")
    end = "\r\n" if "\r" in text else "\n"
    assert found == [
        Utterance("s_1-r-001", audio, 0.75, 0.75, LABELS[1].text, language="tr"),
        Utterance("s_1-r-002", audio, 1.5, 1.0, f"üç{end}iki", language="tr"),
    ]
    assert said.notes[0] == "1 empty interval left out"


def test_one_file_beside_its_recording(tmp_path: Path) -> None:
    record(tmp_path / "data" / "r.wav")
    record(tmp_path / "data" / "other.wav")
    files(tmp_path / "data", r__TextGrid=grid(tier("a", "yes")), other__TextGrid="")
    assert [row.text for row in rows("textgrid", tmp_path / "data" / "r.TextGrid")] == ["yes"]


def test_the_tier_is_chosen(tmp_path: Path) -> None:
    record(tmp_path / "data" / "r.wav")
    record(tmp_path / "data" / "s.wav")
    two, one = grid(tier("a", "x"), tier("b", "y")), grid(tier("b", "z"))
    folder = files(tmp_path / "data", r__TextGrid=two, s__TextGrid=one)
    assert [row.text for row in rows("textgrid", folder, tier="b")] == ["y", "z"]
    with pytest.raises(DataError, match=r"r\.TextGrid \(several tiers: it has a, b; choose with --tier NAME\)"):
        imported("textgrid", folder)
    with pytest.raises(DataError, match=r"s\.TextGrid \(no tier 'a': it has b; choose with --tier NAME\)"):
        imported("textgrid", folder, tier="a")


def test_recordings_that_are_missing_or_several(tmp_path: Path) -> None:
    good = grid(tier("a", "x"))
    folder = files(tmp_path / "data", r__TextGrid=good, s__TextGrid=good, t__TextGrid=grid('"TextTier" "a" 0 1 0'))
    for name in ("s.wav", "s.flac", "t.wav"):
        record(folder / name)
    with pytest.raises(DataError) as caught:
        imported("textgrid", folder)
    message = str(caught.value)
    assert "1 utterance without its audio file: r.TextGrid (no recording r with .flac, .mp3, .ogg," in message
    assert "1 name of several files: s.TextGrid (s.flac, s.wav); keep one" in message
    assert "t.TextGrid (it has no interval tier)" in message
    assert left(tmp_path) == {"data"}


def test_a_folder_without_any(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.TextGrid file in it; give the folder that holds them"):
        imported("textgrid", files(tmp_path / "data", x__txt=""))
