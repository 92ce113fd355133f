"""Perplexity: by hand, with unknown words, over texts in blocks."""

from pathlib import Path

import pytest

from asr.errors import DataError
from asr.lm.perplexity import perplexity
from asr.lm.training import train_ngram
from tests.lm.texts import TOY, random_text, write_text


def test_a_text_with_unknown_words(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(TOY)
    model = train_ngram(tmp_path / "text").model
    (tmp_path / "other").write_text("the bird sat\n\n")
    found = perplexity(model, tmp_path / "other")
    assert (found.num_sentences, found.num_words, found.num_unknown, found.num_tokens) == (2, 3, 1, 5)
    state, scores = model.start, []
    for word in ("the", "bird", "sat"):
        log10, state = model.score(state, model.id_of(word))
        scores.append(log10)
    total = model.sentence_log10(["the", "bird", "sat"]) + model.sentence_log10([])
    assert found.log10 == pytest.approx(total)
    assert found.log10_unknown == pytest.approx(scores[1])
    assert found.with_unknown == pytest.approx(10 ** (-total / 5))
    assert found.without_unknown == pytest.approx(10 ** (-(total - scores[1]) / 4))


def test_marks_in_a_text_are_unknown_words(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(TOY)
    model = train_ngram(tmp_path / "text").model
    (tmp_path / "other").write_text("<s> the </s> <unk>\n")
    assert perplexity(model, tmp_path / "other").num_unknown == 3


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_text(tmp_path / "text", random_text(1, 60))
    model = train_ngram(text).model
    whole = perplexity(model, text)
    monkeypatch.setattr("asr.lm.reading.BLOCK_BYTES", 11)
    parts = perplexity(model, text)
    assert parts.log10 == pytest.approx(whole.log10)
    assert parts.num_tokens == whole.num_tokens


def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(TOY)
    model = train_ngram(tmp_path / "text").model
    (tmp_path / "empty").write_text("")
    with pytest.raises(DataError, match="no line"):
        perplexity(model, tmp_path / "empty")
