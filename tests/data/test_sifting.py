"""Sifting: what cannot be learnt from is left out, with its reason, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest

from asr.audio.files import write_audio
from asr.data.recordings import LeftOut
from asr.data.sifting import Recording, sift, summary, write_left_out
from asr.errors import DataError

LETTERS = "abcdefghijklmnopqrstuvwxyzé"


def recording(folder: Path, name: str, text: str | None, seconds: float = 1.0, level: float = 0.3) -> Recording:
    random = np.random.default_rng(list(name.encode()))
    write_audio(folder / f"{name}.wav", (level * random.uniform(-1, 1, round(8000 * seconds))).astype(np.float32), 8000)
    return Recording(name, folder / f"{name}.wav", text, "someone")


def test_a_good_one_is_an_utterance(tmp_path: Path) -> None:
    (row,), left_out = sift([recording(tmp_path, "a", "  Voile\u0301,\tmadame\u2026 ")], LETTERS, "xx")
    assert (row.id, row.text, row.duration, row.speaker, row.language) == ("a", "Voilé, madame…", 1.0, "someone", "xx")
    assert left_out == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("stiskni F2", "unspoken"),
        ("konkretne %", "unspoken"),
        ("для", "unspoken"),
        ("a\\b", "unspoken"),
        (None, "no-text"),
        ("?!", "no-text"),
        ("this is what nobody says in a second", "too-fast"),
    ],
)
def test_texts_that_are_no_transcripts_are_left_out(tmp_path: Path, text: str | None, kind: str) -> None:
    rows, (one,) = sift([recording(tmp_path, "a", text)], LETTERS, "xx")
    assert (rows, one.id, one.kind) == ([], "a", kind)


def test_the_rate_can_be_set(tmp_path: Path) -> None:
    fifteen = recording(tmp_path, "a", "abcdefghijklmno")
    assert sift([fifteen], LETTERS, "xx", max_rate=15)[1] == []
    assert sift([fifteen], LETTERS, "xx", max_rate=14.9)[1][0].kind == "too-fast"


def test_recordings_of_nothing_are_left_out(tmp_path: Path) -> None:
    given = [
        recording(tmp_path, "short", "a", seconds=0.05),
        recording(tmp_path, "quiet", "a", level=0.005),
        recording(tmp_path, "empty", "a", seconds=0),
    ]
    (tmp_path / "broken.ogg").write_bytes(b"OggS")
    given.append(Recording("broken", tmp_path / "broken.ogg", "a"))
    rows, left_out = sift(given, LETTERS, "xx")
    assert rows == []
    assert [(one.id, one.kind) for one in left_out] == [(one.id, "no-sound") for one in given]


def test_an_apostrophe_is_a_letter_or_a_quotation_mark(tmp_path: Path) -> None:
    given = [recording(tmp_path, "a", "zo’n 'b'")]
    assert sift(given, LETTERS + "'", "nl")[0][0].text == "zo'n 'b'"
    assert sift(given, LETTERS, "cs")[0][0].text == "zon b"


def test_the_same_recording_counts_once(tmp_path: Path) -> None:
    first = recording(tmp_path, "a", "One.")
    copy = Recording("b", first.audio, "one!")
    other = recording(tmp_path, "c", "one")
    rows, left_out = sift([first, copy, other], LETTERS, "xx")
    assert [row.id for row in rows] == ["a", "c"]
    assert left_out == [LeftOut("b", "copy", "the recording of a")]


def test_one_recording_with_two_texts_is_left_out_altogether(tmp_path: Path) -> None:
    first = recording(tmp_path, "a", "one")
    rows, left_out = sift([first, Recording("b", first.audio, "two")], LETTERS, "xx")
    assert rows == []
    assert [(one.id, one.kind) for one in left_out] == [("a", "two-texts"), ("b", "two-texts")]


def test_a_copy_without_a_text_spoils_nothing(tmp_path: Path) -> None:
    first = recording(tmp_path, "a", "one")
    rows, left_out = sift([Recording("z", first.audio, None), first], LETTERS, "xx")
    assert ([row.id for row in rows], [one.kind for one in left_out]) == (["a"], ["no-text"])


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    one = recording(tmp_path, "a", "one")
    with pytest.raises(DataError, match="'a' is the name of 2 recordings"):
        sift([one, one], LETTERS, "xx")


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    left_out = [LeftOut("a", "copy", "the recording of b"), LeftOut("c", "copy", "x"), LeftOut("d", "no-text", "y")]
    write_left_out(tmp_path / "left_out.tsv", left_out)
    assert (tmp_path / "left_out.tsv").read_text() == "a\tcopy\tthe recording of b\nc\tcopy\tx\nd\tno-text\ty\n"
    assert summary(5, left_out, Path("out.tsv")) == (
        "5 recordings used, 3 left out (copy 2, no-text 1); named in out.tsv"
    )
