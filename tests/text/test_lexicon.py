"""Lexica: what is read, what is refused, and phones as tokens."""

import json
from pathlib import Path

import pytest

from asr.errors import DataError
from asr.text.lexicon import MAX_BYTES, parse_lexicon, read_lexicon, refuse_missing
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import Tokenizer, train_lexicon

LOWER = Normalizer(NormalizerConfig(case="lower"))
DICTIONARY = """\ufeff;;; from a dictionary
A                    AH
A(2)                 EY
TOO\tT UW
TWO  T UW # a remark
HUNDRED HH AH N D ER D
HUNDRED(2) HH AH N D R AH D\r

two T UH
"""


@pytest.fixture
def tokenizer() -> Tokenizer:
    lexicon = parse_lexicon(DICTIONARY.encode(), LOWER, where="a.dic")
    return train_lexicon(["Two hundred", "a two"], LOWER, lexicon)


def test_words_have_their_pronunciations_in_order() -> None:
    lexicon = parse_lexicon(DICTIONARY.encode(), LOWER, where="a.dic")
    assert lexicon.words == {
        "a": (("AH",), ("EY",)),
        "too": (("T", "UW"),),
        "two": (("T", "UW"), ("T", "UH")),
        "hundred": (("HH", "AH", "N", "D", "ER", "D"), ("HH", "AH", "N", "D", "R", "AH", "D")),
    }
    assert lexicon.lines["two"] == 5
    assert lexicon.symbols == ["AH", "D", "ER", "EY", "HH", "N", "R", "T", "UH", "UW"]
    assert parse_lexicon(lexicon.as_bytes(), LOWER, where="again").words == lexicon.words


def test_a_list_of_words_has_none(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("YES\nno\n\n")
    lexicon = read_lexicon(tmp_path / "words", LOWER)
    assert lexicon.is_list
    assert lexicon.words == {"yes": (), "no": ()}
    assert parse_lexicon(lexicon.as_bytes(), LOWER, where="again").words == lexicon.words
    with pytest.raises(DataError, match=r"words:1: 'yes' has no pronunciation; write WORD and its phones"):
        read_lexicon(tmp_path / "words", LOWER, pronounced=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.dic: holds no words; write a word and its pronunciation a line, as in 'two  T UW'"),
        (b";;; nothing\n\n", "a.dic: holds no words"),
        (b"TWO T UW\nTHREE\n", "a.dic:2: a word without pronunciation among words that have one; write its phones"),
        (b"TWO T UW\nNA\xefVE N AY\n", "a.dic:2: not UTF-8 at byte 3 of the line; save the file as UTF-8"),
        ("TWO T ▁\n".encode(), 'a.dic:1: "\\u2581" cannot be a phone; give the phone another name'),
        (b"\x01 T UW\n", 'a.dic:1: "\\u0001" is empty once normalised; one word is needed: change the line'),
        (b"a" * (MAX_BYTES + 1), "a.dic: larger than 32 MB, the most that a lexicon may be; leave out words"),
    ],
)
def test_what_is_no_lexicon_is_one_line(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_lexicon(content, LOWER, where="a.dic")
    assert str(caught.value).startswith(message)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: cannot read the lexicon: No such file or directory; check --lexicon"):
        read_lexicon(tmp_path / "none", LOWER)


def test_a_word_that_becomes_two() -> None:
    normalizer = Normalizer(NormalizerConfig(map={"-": " "}))
    with pytest.raises(
        DataError, match=r"a\.dic:1: \"a-b\" becomes the words 'a b' once normalised; one word is needed"
    ):
        parse_lexicon(b"a-b AH B\n", normalizer, where="a.dic")


def test_missing_words_are_counted() -> None:
    lexicon = parse_lexicon(b"two T UW\n", LOWER, where="a.dic")
    with pytest.raises(DataError, match=r"a\.dic: lacks 'ten' \(2 times\), 'one' \(1 times\) of the texts; add their"):
        refuse_missing(lexicon, ["one two ten", "ten"])


def test_phones_are_encoded_by_the_first_pronunciation(tokenizer: Tokenizer) -> None:
    assert tokenizer.kind == "lexicon"
    assert tokenizer.symbols == ["<blank>", "▁", "AH", "D", "ER", "EY", "HH", "N", "R", "T", "UH", "UW"]
    ids = tokenizer.encode("TWO a")
    assert [tokenizer.symbols[number] for number in ids] == ["T", "UW", "▁", "AH"]
    assert tokenizer.unknown("two three a ten three") == ["three", "ten"]
    with pytest.raises(DataError, match="the lexicon of the tokens lacks 'three', 'ten'; add the pronunciation"):
        tokenizer.encode("two three ten")


def test_phones_are_read_as_words_and_what_is_no_word_as_phones(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.symbols.index(symbol) for symbol in ("▁", "T", "UW", *"▁▁", "EY", "▁", "<blank>", "T", "AH", "▁")]
    assert tokenizer.words_of(ids) == [("two", 1, 3), ("a", 5, 6), ("T-AH", 8, 10)]
    assert tokenizer.decode(ids) == "two a T-AH", "of two and too the one that the texts hold"
    assert tokenizer.decode([]) == ""
    with pytest.raises(IndexError):
        tokenizer.decode([-1])


def test_the_lexicon_travels_in_the_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokens.json")
    again = Tokenizer.load(tmp_path / "tokens.json")
    assert again.state() == tokenizer.state()
    assert again.lexicon is not None
    assert again.lexicon.words["two"] == (("T", "UW"), ("T", "UH"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "kind 'lexicon' without a lexicon"),
        ({"symbols": ["<blank>", "▁", "AH"]}, "its symbols are not the phones of its lexicon"),
        ({"model": "/w=="}, "its lexicon:1: not UTF-8"),
        ({"model": "YQ=="}, "its symbols are not the phones of its lexicon"),
    ],
)
def test_tokens_that_lie_are_told(
    tokenizer: Tokenizer, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    tokenizer.save(tmp_path / "tokens.json")
    values = json.loads((tmp_path / "tokens.json").read_text())
    (tmp_path / "tokens.json").write_text(json.dumps(values | changes))
    with pytest.raises(DataError) as caught:
        Tokenizer.load(tmp_path / "tokens.json")
    assert message in str(caught.value)
