"""Error rates against the plain dynamic programme, totals that add up, and the counting rules."""

import math
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import DataError
from asr.scoring.error_rate import ErrorCounts, Pair, align, character_errors, score
from tests.oracles.edit_distance import fewest_edits

WORDS = st.lists(st.sampled_from(["a", "b", "ab", "*", "ε", "A"]), max_size=8)
TEXTS = st.text(alphabet="ab ", max_size=12).map(lambda text: " ".join(text.split()))


@given(WORDS, WORDS)
def test_alignment_has_the_fewest_edits_and_holds_both_texts(reference: list[str], hypothesis: list[str]) -> None:
    alignment = align(reference, hypothesis)
    assert [left for left, _ in alignment if left is not None] == reference
    assert [right for _, right in alignment if right is not None] == hypothesis
    assert (None, None) not in alignment
    assert sum(left != right for left, right in alignment) == fewest_edits(reference, hypothesis)


@given(TEXTS, TEXTS)
def test_character_errors_are_the_fewest_edits(reference: str, hypothesis: str) -> None:
    counts = character_errors(reference, hypothesis)
    assert counts.errors == fewest_edits(reference, hypothesis)
    assert counts.reference == len(reference)
    assert counts.reference + counts.insertions - counts.deletions == len(hypothesis)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_totals_add_up(texts: list[tuple[list[str], list[str]]]) -> None:
    result = score(Pair(str(i), " ".join(left), " ".join(right)) for i, (left, right) in enumerate(texts))
    assert result.words.errors == sum(fewest_edits(left, right) for left, right in texts)
    assert result.words.reference == sum(len(left) for left, _ in texts)
    assert result.sentence_errors == sum(left != right for left, right in texts)
    for field in ("insertions", "deletions", "substitutions", "reference", "errors"):
        assert getattr(result.words, field) == sum(getattr(each.words, field) for each in result.utterances)
        assert getattr(result.characters, field) == sum(getattr(each.characters, field) for each in result.utterances)
    inserted = result.words.insertions - result.words.deletions
    assert result.words.reference + inserted == sum(len(right) for _, right in texts)


def test_each_kind_of_error_is_named_as_such() -> None:
    result = score([Pair("u", "rubout g m e f three", "rubout g m f free nine")])
    assert result.words == ErrorCounts(insertions=1, deletions=1, substitutions=1, reference=6)
    alignment = result.utterances[0].alignment
    assert [pair for pair in alignment if pair[0] != pair[1]] == [("e", None), ("three", "free"), (None, "nine")]


def test_empty_reference_has_insertions_only_and_no_length() -> None:
    result = score([Pair("silence", "", "uh oh"), Pair("speech", "yes no", "yes no")])
    assert result.utterances[0].words == ErrorCounts(2, 0, 0, 0)
    assert result.utterances[0].words.rate == math.inf
    assert result.words == ErrorCounts(2, 0, 0, 2)
    assert result.words.rate == 1.0


def test_empty_hypothesis_has_deletions_only() -> None:
    assert score([Pair("u", "a b c", "")]).words == ErrorCounts(0, 3, 0, 3)


def test_nothing_said_and_nothing_recognised_is_no_error() -> None:
    result = score([Pair("u", " ", "")])
    assert result.words.rate == 0.0
    assert result.sentence_errors == 0


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing to score"):
        score([])


def test_unicode_forms_and_spacing_are_no_errors() -> None:
    composed = "café noir"
    result = score([Pair("u", composed, "\ufeff " + unicodedata.normalize("NFD", composed).replace(" ", " \t "))])
    assert result.words.errors == result.characters.errors == 0
    assert result.characters.reference == 9


def test_case_counts_unless_told_otherwise() -> None:
    pairs = [Pair("u", "YES no", "yes no")]
    assert score(pairs).words.substitutions == 1
    assert score(pairs, case="lower").words.errors == 0


@pytest.mark.corpora
def test_an4_counts_are_those_of_the_field(corpora: Path) -> None:
    """773 words, and the 2565 characters that ESPnet and deepspeech.pytorch divide by: spaces are counted."""
    lines = (corpora / "an4" / "etc" / "an4_test.transcription").read_text(encoding="utf-8").splitlines()
    texts = [" ".join(word for word in line.rsplit("(", 1)[0].split() if word not in ("<s>", "</s>")) for line in lines]
    result = score(Pair(str(i), text, text) for i, text in enumerate(texts))
    assert (len(texts), result.words.reference, result.characters.reference) == (130, 773, 2565)
