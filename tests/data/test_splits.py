"""Splits by text: no sentence in two parts, the same for everybody, rare letters to train, nested subsets."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from asr.data.manifest import Utterance
from asr.data.splits import MIN_SENTENCES, TextSplit, sentence_key, split_by_text


def utterances(texts: list[str]) -> list[Utterance]:
    return [Utterance(f"u{index}", Path("/a.wav"), 0.0, 2.0, text) for index, text in enumerate(texts)]


def keys(rows: list[Utterance]) -> set[str]:
    return {sentence_key(row.text or "") for row in rows}


def sentences(count: int) -> list[str]:
    return [f"{number:04d}" for number in range(count)]


def all_rows(split: TextSplit) -> list[Utterance]:
    return [*split.train, *split.valid, *split.test]


@given(st.lists(st.text("abáÁ .,!", max_size=6), max_size=60))
def test_every_utterance_is_in_one_part_and_every_sentence_too(texts: list[str]) -> None:
    split = split_by_text(utterances(texts))
    assert sorted(row.id for row in all_rows(split)) == sorted(f"u{index}" for index in range(len(texts)))
    assert not keys(split.train) & (keys(split.valid) | keys(split.test))
    assert not keys(split.valid) & keys(split.test)


def test_marks_case_and_the_form_of_accents_make_no_other_sentence() -> None:
    assert sentence_key("To je... ÚKOL!") == sentence_key("to, je u\u0301kol") != sentence_key("to je ukol")


def test_the_parts_are_about_80_10_and_10_percent() -> None:
    split = split_by_text(utterances(sentences(2000)))
    assert abs(len(split.valid) - 200) < 45  # three standard deviations
    assert abs(len(split.test) - 200) < 45


def test_what_else_is_in_the_corpus_does_not_matter() -> None:
    split, larger = split_by_text(utterances(sentences(500))), split_by_text(utterances(sentences(900)))
    assert keys(split.test) <= keys(larger.test)
    assert keys(split.valid) <= keys(larger.valid)


def test_sentences_with_a_rare_letter_train() -> None:
    rare = [f"{text}x" for text in sentences(MIN_SENTENCES - 1)]
    split = split_by_text(utterances([*sentences(300), *rare]))
    assert {sentence_key(text) for text in rare} <= keys(split.train)
    common = [f"{text}y" for text in sentences(200)]
    split = split_by_text(utterances([*sentences(300), *common]))
    assert keys(split.test) & set(common), "a frequent letter is tested too"


def test_less_to_train_on_is_a_part_of_more_and_tests_on_the_same() -> None:
    rows = utterances(sentences(300))
    some, more = split_by_text(rows, train_seconds=50), split_by_text(rows, train_seconds=101)
    assert (len(some.train), len(more.train)) == (25, 50), "2 s each"
    assert keys(some.train) < keys(more.train) < keys(split_by_text(rows).train)
    assert some.test == more.test == split_by_text(rows).test
    assert [row.id for row in more.train] == sorted((row.id for row in more.train), key=lambda name: int(name[1:]))


def test_the_least_to_train_on_holds_every_letter() -> None:
    texts = sentences(300)
    for number in range(0, 300, 30):  # ten sentences in which é stands: not rare, and not in every tenth of the corpus
        texts[number] += "é"
    split = split_by_text(utterances(texts), train_seconds=120)
    assert len(split.train) == 60
    assert sum("é" in (row.text or "") for row in split.train) >= MIN_SENTENCES
