"""The trainer: every number equal to those of a plain reference, probabilities that sum to 1, texts of any kind."""

import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from asr.errors import DataError, UsageError
from asr.lm.arpa_writing import arpa_parts
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from asr.lm.words import END, START
from tests.lm.texts import TOY, random_text, write_text
from tests.oracles import back_off
from tests.oracles.kneser_ney import reference_model


def all_ngrams(model: NgramModel) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    return back_off.read(b"".join(arpa_parts(model)).decode())


def assert_is_reference(model: NgramModel, sentences: list[list[str]], order: int, **settings: object) -> None:
    probs, backoffs = reference_model(sentences, order, **settings)  # type: ignore[arg-type]
    found, found_backoffs = all_ngrams(model)
    assert found.keys() == probs.keys()
    for gram, log10 in probs.items():
        assert found[gram] == pytest.approx(log10, abs=1e-6), gram
    for gram, log10 in found_backoffs.items():
        assert log10 == pytest.approx(backoffs.get(gram, 0.0), abs=1e-6), gram
    assert {gram for gram, log10 in backoffs.items() if abs(log10) > 1e-6} <= found_backoffs.keys()


def assert_sums_to_one(model: NgramModel) -> None:
    """After every context the probabilities of all words but <s>, which is never predicted, sum to 1."""
    words = [word for word in range(len(model.symbols)) if word != START]
    for state in range(model.num_states):
        assert sum(10 ** model.score(state, word)[0] for word in words) == pytest.approx(1, abs=1e-5), state


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("num_sentences", "num_words", "fixed"), [(40, 12, {1, 3, 4, 5}), (400, 12, {1, 2, 3, 4, 5}), (2000, 3000, {5})]
)
def test_every_number_is_that_of_the_reference(
    tmp_path: Path, num_sentences: int, num_words: int, fixed: set[int], order: int
) -> None:
    sentences = random_text(num_sentences, num_sentences, num_words)
    trained = train_ngram(write_text(tmp_path / "text", sentences), order)
    assert_is_reference(trained.model, sentences, order)
    assert (trained.num_sentences, trained.num_words) == (num_sentences, sum(map(len, sentences)))
    assert any("discounts" in note for note in trained.notes) == (order in fixed)


def test_a_text_by_hand(tmp_path: Path) -> None:
    """Two words after "the", once each.  Bigrams end in the 1, cat 1, dog 1, </s> 2 times; discounts are fixed."""
    (tmp_path / "text").write_text("the cat\nthe dog\n")
    model = train_ngram(tmp_path / "text", 2).model
    unigram = (1 - 0.5) / 5 + (3 * 0.5 + 1.0) / 5 * (1 / 5)  # uniform over <unk>, </s> and three words
    bigram = (1 - 0.5) / 2 + (2 * 0.5) / 2 * unigram
    assert model.score(0, model.id_of("cat"))[0] == pytest.approx(np.log10(unigram), abs=1e-6)
    assert model.score(int(model.nexts[model.id_of("the")]), model.id_of("cat"))[0] == pytest.approx(
        np.log10(bigram), abs=1e-6
    )


@pytest.mark.parametrize("cutoffs", [(0, 0, 1), (0, 1), (1,), (2, 3, 3), (0, 0, 9)])
def test_cut_offs_leave_out_what_is_rare(tmp_path: Path, cutoffs: tuple[int, ...]) -> None:
    sentences = random_text(5, 300, num_words=60)
    model = train_ngram(write_text(tmp_path / "text", sentences), 3, cutoffs=cutoffs).model
    assert_is_reference(model, sentences, 3, cutoffs=cutoffs)
    assert_sums_to_one(model)


def test_a_vocabulary_says_which_words_the_model_has(tmp_path: Path) -> None:
    sentences = random_text(6, 300, num_words=30)
    vocabulary = {f"w{k}" for k in range(0, 30, 2)} | {"unseen"}
    (tmp_path / "words").write_text("<s> " + "\n".join(sorted(vocabulary)) + "\n")
    trained = train_ngram(write_text(tmp_path / "text", sentences), 3, vocabulary=tmp_path / "words")
    assert set(trained.model.symbols) == vocabulary | {"<unk>", "<s>", "</s>"}
    assert_is_reference(trained.model, sentences, 3, vocabulary=vocabulary)
    assert_sums_to_one(trained.model)
    assert [note.split(" ")[0] for note in trained.notes if "vocabulary" in note] == ["15", "1"]
    probs, _ = all_ngrams(trained.model)
    assert probs[("unseen",)] == probs[("<unk>",)]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_probabilities_sum_to_one_in_every_state(tmp_path: Path, order: int) -> None:
    assert_sums_to_one(train_ngram(write_text(tmp_path / "text", random_text(7, 60)), order).model)


def test_a_text_may_be_gzip_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, packed = tmp_path / "text", tmp_path / "text.gz"
    plain.write_text(TOY)
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + TOY.replace("\n", "\r\n").replace(" ", "\t ").encode()))
    expected = all_ngrams(train_ngram(plain).model)
    assert all_ngrams(train_ngram(packed).model) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(TOY.rstrip().encode()))))  # type: ignore[arg-type]
    assert all_ngrams(train_ngram("-").model) == expected


def test_a_text_of_many_blocks_is_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = random_text(8, 50)
    text = write_text(tmp_path / "text", sentences)
    expected = all_ngrams(train_ngram(text).model)
    monkeypatch.setattr("asr.lm.reading.BLOCK_BYTES", 7)
    assert all_ngrams(train_ngram(text).model) == expected


def test_more_words_than_the_first_table_holds(tmp_path: Path) -> None:
    words = [f"word-number-{k}" for k in range(20_000)]
    model = train_ngram(write_text(tmp_path / "text", [words[k : k + 10] for k in range(0, 20_000, 10)]), 2).model
    assert model.symbols[3:] == tuple(words)


def test_longer_n_grams_than_the_longest_sentence_has_are_left_out(tmp_path: Path) -> None:
    sentences = [["a"], ["b"], []]
    trained = train_ngram(write_text(tmp_path / "text", sentences), 5)
    assert trained.model.order == 3
    assert_is_reference(trained.model, sentences, 3)
    assert any("5-grams" in note for note in trained.notes)


def test_notes_say_what_may_surprise(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("one line\n")
    assert any("one line" in note for note in train_ngram(tmp_path / "text").notes)
    (tmp_path / "text").write_text("one line\n\nand more\n \n")
    assert any("2 of 4 lines" in note for note in train_ngram(tmp_path / "text").notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no words"),
        (b"\n \n", "no words"),
        (b"a b\nc <unk> d\n", ":2: <unk>"),
        (b"a\n</s>\n", ":2: <unk>"),
        (b"a\nb\xff\n", ":2: not UTF-8"),
        (b"a b " * 300_000, ":1: the line is longer"),
        (b"a\n" + b"b" * 1_000_001 + b"\n", ":2: the line is longer"),
        (gzip.compress(TOY.encode() * 100)[:-20], "truncated"),
        (b"\x1f\x8bno gzip", "gzip"),
    ],
)
def test_bad_texts_are_one_line_each(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        train_ngram(tmp_path / "text")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "text"))


def test_a_missing_text_and_vocabularies_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        train_ngram(tmp_path / "none")
    (tmp_path / "text").write_text(TOY)
    for words, message in (("", "no words"), ("CAT DOG", "none of its 2 words")):
        (tmp_path / "words").write_text(words)
        with pytest.raises(DataError, match=message):
            train_ngram(tmp_path / "text", vocabulary=tmp_path / "words")


@pytest.mark.parametrize(("order", "cutoffs"), [(0, ()), (6, ()), (2, (0, 0, 1)), (3, (1, 0)), (3, (-1,))])
def test_settings_that_cannot_be(tmp_path: Path, order: int, cutoffs: tuple[int, ...]) -> None:
    (tmp_path / "text").write_text(TOY)
    with pytest.raises(UsageError, match=r"order|cut-offs"):
        train_ngram(tmp_path / "text", order, cutoffs=cutoffs)


def test_a_word_after_the_end_of_words_that_continue(tmp_path: Path) -> None:
    """</s> and <unk> lead to the empty context: nothing follows them."""
    (tmp_path / "text").write_text(TOY)
    model = train_ngram(tmp_path / "text").model
    assert model.score(model.start, END)[1] == 0
    assert model.score(model.start, model.id_of("bird"))[1] == 0
    assert np.array_equal(model.words[: len(model.symbols)], np.arange(len(model.symbols)))


def test_the_texts_of_a_manifest_are_read_as_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\nthree\n")
    rows = ['{"id": "u", "text": "one  two", "audio": "a.wav"}', '{"id": "v", "text": "three"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    from_text, from_manifest = (train_ngram(tmp_path / name, 2) for name in ("a.txt", "a.jsonl"))
    assert from_manifest.num_sentences == 2
    assert from_manifest.model.symbols == from_text.model.symbols
    assert (from_manifest.model.log10_probs == from_text.model.log10_probs).all()
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n{"id": "v"}\n')
    with pytest.raises(DataError, match=r"b\.jsonl:2: no row with a text; give a manifest"):
        train_ngram(tmp_path / "b.jsonl", 2)
