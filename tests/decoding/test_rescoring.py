"""Answers in a new order: the sum that decides, any function that scores texts, and what a reader makes of it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from asr.decoding.beam import BeamConfig, Prefix
from asr.decoding.rescoring import Rescorer, RescoringConfig
from asr.decoding.searching import SearchReader
from asr.text.tokenizer import SPACE, Tokenizer
from tests.decoding.test_beam import random_log_probs, search


def answer(tokenizer: Tokenizer, text: str, score: float, *, space: bool = False) -> Prefix:
    ids = (*tokenizer.encode(text), *([tokenizer.symbols.index(SPACE)] if space else []))
    return Prefix(ids, tuple(range(len(ids))), score, score - 1.0, -3.0)


def test_the_score_is_the_weighted_sum(tokenizer: Tokenizer) -> None:
    asked: list[Sequence[str]] = []

    def scorer(texts: Sequence[str]) -> list[float]:
        asked.append(texts)
        return [{"ab cd": -20.0, "abcd": -4.0, "": -7.0}[text] for text in texts]

    answers = [
        answer(tokenizer, "ab cd", -1.0),
        answer(tokenizer, "abcd", -3.0),
        answer(tokenizer, "abcd", -3.5, space=True),
        answer(tokenizer, "", -9.0),
    ]
    found = Rescorer(tokenizer, scorer, RescoringConfig(weight=0.25, bonus=0.5))(answers)
    assert asked == [["ab cd", "abcd", ""]], "each text once"
    assert [item.score for item in found] == pytest.approx([-3 - 1 + 0.5, -3.5 - 1 + 0.5, -1 - 5 + 1.0, -9 - 7 / 4])
    assert [tokenizer.decode(item.token_ids) for item in found] == ["abcd", "abcd", "ab cd", ""]
    assert (found[0].acoustic_score, found[0].lm_score) == (-4.0, -3.0), "the search's own parts stay"


def test_words_that_cannot_be_written_are_judged_as_they_are_spelled(tokenizer: Tokenizer) -> None:
    """A lexicon says "70" where the recogniser hears letters; an LSTM over its tokens knows no digits."""
    asked: list[str] = []

    def scorer(texts: Sequence[str]) -> list[float]:
        asked.extend(texts)
        return [-1.0] * len(texts)

    said = [replace(answer(tokenizer, "ab cd", -1.0), words=("70", "cd")), answer(tokenizer, "ab", -2.0)]
    found = Rescorer(tokenizer, scorer, RescoringConfig(weight=1, bonus=1))(said)
    assert asked == ["ab cd", "ab"]
    assert found[0].text(tokenizer) == "70 cd"


def test_a_weight_of_nothing_keeps_the_order(tokenizer: Tokenizer) -> None:
    answers = search(random_log_probs(30, tokenizer.size, 3)).finish(40)
    found = Rescorer(tokenizer, lambda texts: [-1.0] * len(texts), RescoringConfig(weight=0, bonus=0))(answers)
    assert found == answers


def test_a_reader_reads_the_new_best(tokenizer: Tokenizer) -> None:
    log_probs = random_log_probs(30, tokenizer.size, 3)
    answers = search(log_probs, BeamConfig(beam=20)).finish(40)
    wanted = tokenizer.decode(answers[7].token_ids)

    def scorer(texts: Sequence[str]) -> list[float]:
        return [0.0 if text == wanted else -1000.0 for text in texts]

    reader = SearchReader(BeamConfig(beam=20), nbest=3, rescorer=Rescorer(tokenizer, scorer))
    (heard,) = reader.hear(torch.from_numpy(log_probs)[None], torch.tensor([30]))
    reading = reader.read(heard)
    assert tokenizer.decode(reading.answers[0].token_ids) == wanted
    assert reading.score == reading.answers[0].score == pytest.approx(answers[7].score + 2 * len(wanted.split()))
    path = reading.path.token_ids
    spelled = [int(token) for place, token in enumerate(path) if token and (place == 0 or token != path[place - 1])]
    assert tokenizer.decode(spelled) == wanted
    plain = SearchReader(BeamConfig(beam=20)).read(heard)
    assert plain.score == answers[0].score
    assert plain.answers == (answers[0],)
