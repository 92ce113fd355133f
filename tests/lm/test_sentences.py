"""Texts as token ids: what is left out is counted and named, and what is held out is held out wholly."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from asr.errors import DataError
from asr.lm.sentences import hold_out, read_sentences
from asr.text.lexicon import parse_lexicon
from asr.text.normalize import Normalizer
from asr.text.tokenizer import train_lexicon
from tests.lm.test_lstm import letters


def test_sentences_are_spelled_as_the_model_spells(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Abba  CAB\r\n \nj")
    found = read_sentences(tmp_path / "text", letters())
    tokenizer = letters()
    assert [tokenizer.decode(row) for row in found.rows()] == ["abba cab", "j"]
    assert (found.words.tolist(), found.lengths.tolist(), found.blank) == ([2, 1], [8, 1], 1)
    assert found.notes() == ["1 lines without words left out"]
    part = found.part(np.array([1]))
    assert part.rows() == found.rows(np.array([1])) == [tokenizer.encode("j")]


def test_gzip_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("abba\ncab\n")
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"abba\ncab\n"))
    plain, packed = (read_sentences(tmp_path / name, letters()) for name in ("text", "text.gz"))
    assert plain.rows() == packed.rows()
    assert plain.keys.tolist() == packed.keys.tolist()


def test_what_the_model_lacks_is_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("abba\ncab, zz\nbad, j\n\u2581a\n")
    found = read_sentences(tmp_path / "text", letters())
    assert len(found) == 1
    assert found.strange == 3
    assert found.characters == {",": 2, "z": 1, "\u2581": 1}
    (note,) = found.notes()
    assert note.startswith(
        "3 of 4 sentences left out, as they hold what is not in the alphabet: ',' (U+002C, 2), 'z' (U+007A, 1), "
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no words in it; give a text with one sentence a line"),
        ("\n \n", "no words in it"),
        (
            "xyz\nabz\n",
            "none of its 2 sentences can be spelled in the model's tokens: 'z' (U+007A, 2), 'x' (U+0078, 1)",
        ),
    ],
)
def test_a_text_without_sentences_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "text").write_text(content)
    with pytest.raises(DataError) as caught:
        read_sentences(tmp_path / "text", letters())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_that_a_lexicon_lacks_are_named(tmp_path: Path) -> None:
    lexicon = parse_lexicon(b"two T UW\nto T UW\n", Normalizer(), where="a.dic")
    tokenizer = train_lexicon(["two to"], Normalizer(), lexicon)
    (tmp_path / "text").write_text("two to\nzebra two\n")
    (note,) = read_sentences(tmp_path / "text", tokenizer).notes()
    assert "1 of 2 sentences left out, as they hold what is not in the alphabet: 'zebra' (1);" in note


def test_equal_sentences_are_on_one_side(tmp_path: Path) -> None:
    lines = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghij"]
    (tmp_path / "text").write_text("\n".join(lines * 3) + "\n")
    sentences = read_sentences(tmp_path / "text", letters())
    learned, judged = hold_out(sentences, 0.1, "text")
    assert len(judged) == 30
    assert sorted([*learned, *judged]) == list(range(300))
    assert not set(sentences.keys[learned].tolist()) & set(sentences.keys[judged].tolist())
    (tmp_path / "other").write_text("\n".join(lines[::-1]) + "\n")
    others = read_sentences(tmp_path / "other", letters())
    again = hold_out(others, 0.1, "other")[1]
    assert set(others.keys[again].tolist()) == set(sentences.keys[judged].tolist()), "everybody splits alike"


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_both_sides_have_something(tmp_path: Path, share: float) -> None:
    (tmp_path / "text").write_text("abba\ncab\nbad\n")
    learned, judged = hold_out(read_sentences(tmp_path / "text", letters()), share, "text")
    assert len(learned) >= 1
    assert len(judged) >= 1


def test_one_sentence_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("abba\nabba\n")
    with pytest.raises(DataError, match=r"text: holds one sentence \(2 times\), and some must be held out"):
        hold_out(read_sentences(tmp_path / "text", letters()), 0.1, "text")
