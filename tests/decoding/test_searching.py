"""The search in the recogniser: the same answer whole, in windows and in a batch, with times and confidence."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.greedy import collapse
from asr.decoding.scorer import FusionConfig, fuse
from asr.decoding.searching import SearchReader
from asr.errors import UsageError
from asr.lm.binding import TunedWeights, bind
from asr.lm.training import train_ngram
from asr.recognizer import Recognizer, RecognizerConfig, Transcript
from asr.text.tokenizer import Tokenizer
from tests.decoding.test_beam import random_log_probs
from tests.tiny_model import babble, tiny_model, write_wav

WINDOWED = RecognizerConfig(whole_seconds=1, window_seconds=4, context_seconds=4)


def test_what_is_read_spells_the_best_answer() -> None:
    log_probs = torch.randn(2, 60, 9, generator=torch.Generator().manual_seed(1)).mul(2).log_softmax(2)
    reader = SearchReader(BeamConfig(beam=20))
    heard = reader.hear(log_probs, torch.tensor([60, 41]))
    assert [item.shape for item in heard] == [(60, 9), (41, 9)]
    for item in heard:
        search = BeamSearch(9, BeamConfig(beam=20))
        search.accept(item)
        (best,) = search.finish()
        reading = reader.read(item)
        assert tuple(token for token, _ in groupby(reading.path.token_ids.tolist()) if token) == best.token_ids
        assert reading.score == best.score
        in_parts = reader.read(reader.join([item[:17], item[17:]]))
        assert np.array_equal(in_parts.path.token_ids, reading.path.token_ids)
    with pytest.raises(UsageError, match="do not fit 60 encoder frames"):
        reader.hear(log_probs, torch.tensor([60, 61]))


@pytest.mark.parametrize("beam", [1, 2, 5, 100])
@pytest.mark.parametrize("few", [0, 1 << 26])
def test_a_word_after_a_pause_lies_where_it_is_said(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, beam: int, few: int
) -> None:
    """Prefixes got into the beam long before their last token was said, or anew long after it: times were off by
    the length of the pause."""
    probs = np.full((500, tokenizer.size), 1e-4)
    probs[:, 0] = 1.0
    for frame, letter, probability in ((10, "a", 0.99), (20, "b", 0.4), (30, "c", 0.4), (400, "b", 0.99)):
        probs[frame, [0, *tokenizer.encode(letter)]] = 1 - probability, probability
    log_probs = np.log(probs / probs.sum(1, keepdims=True)).astype(np.float32)
    monkeypatch.setattr("asr.decoding.searching._FEW", few)
    path = SearchReader.of(tokenizer, BeamConfig(beam=beam), hotwords={"abcb": 3.0}).read(log_probs).path
    spans = collapse(path)
    assert tokenizer.decode([span.token_id for span in spans]) == "abcb"
    assert [span.start for span in spans] == [10, 20, 30, 400]


def test_whole_windowed_and_in_a_batch_are_one(tmp_path: Path) -> None:
    model = tiny_model()
    reader = SearchReader(BeamConfig(beam=8), fuse(model.tokenizer, hotwords={"abc": 0.5}))
    whole = Recognizer(model, reader=reader).transcribe(babble(9, seed=4), 16000)
    assert len(whole.words) > 3
    for word, following in zip(whole.words, [*whole.words[1:], None], strict=True):
        assert 0 <= word.start <= word.end <= (following.start if following else whole.duration)
        assert 0 <= word.confidence <= 1
    windowed = Recognizer(model, reader=reader, config=WINDOWED).transcribe(babble(9, seed=4), 16000)
    assert windowed.words == whole.words
    files = [write_wav(tmp_path / f"{seconds}.wav", babble(seconds, seed=seconds)) for seconds in (2, 5, 3)]
    recognizer = Recognizer(model, reader=reader)
    for file, result in zip(files, recognizer.transcribe_files(files), strict=True):
        assert isinstance(result, Transcript)
        assert result.text == recognizer.transcribe(file).text


def test_the_search_hears_other_words_than_the_best_path() -> None:
    model = tiny_model()
    plain = Recognizer(model).transcribe(babble(20, seed=4), 16000)
    searched = Recognizer(model, reader=SearchReader()).transcribe(babble(20, seed=4), 16000)
    assert searched.text != plain.text
    assert searched.score > plain.score, "more alignments count"


def test_weights_that_were_tuned_hold_unless_others_are_given(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("abba cab\ncab bad\n" * 3)
    found = {"weight": 0.2, "bonus": 1.5, "unknown": -1.0}
    counts = {"manifest": "dev.jsonl", "words": 9, "errors": 1, "greedy_errors": 2}
    tuned = TunedWeights(**found, blank_penalty=2.0, **counts)  # type: ignore[arg-type]
    model = bind(train_ngram(tmp_path / "text", 2).model, tokenizer, tuned)
    log_probs, narrow = random_log_probs(40, 12, 3), BeamConfig(beam=20)
    weights = FusionConfig(**found)
    penalised = narrow.model_copy(update={"blank_penalty": 2.0})

    def score(config: BeamConfig | None, weights: FusionConfig | None) -> float:
        return SearchReader.of(tokenizer, config, model=model, weights=weights).read(log_probs).score

    assert score(narrow, None) == score(penalised, weights)
    assert score(None, None) == score(BeamConfig(blank_penalty=2.0), weights)
    assert len({score(narrow, None), score(narrow, weights), score(penalised, FusionConfig())}) == 3
