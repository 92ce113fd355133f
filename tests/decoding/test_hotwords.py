"""Hotwords: every phrase that is said counts, also where it overlaps with another that fails or is said too."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from asr.decoding.beam import BeamSearch
from asr.decoding.hotwords import build_hotwords
from asr.decoding.scorer import fuse
from asr.text.tokenizer import Tokenizer
from tests.decoding.test_beam import EVERYTHING, heard, random_log_probs, spoken

TOKENIZER = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *"▁ab"]})


def gain(text: str, phrases: Mapping[str, float]) -> float:
    """Return what a text gains: at each word the letters of the phrases that are said from there on."""
    words, total = text.split(), 0.0
    for first, last in itertools.combinations(range(len(words) + 1), 2):
        said = " ".join(words[first:last])
        if phrases.get(said, 0.0) < 0:
            total += phrases[said] * len(said.replace(" ", ""))
    for first in range(len(words)):
        rest = " ".join(words[first:]) + " "
        longest = max(
            (phrase for phrase in phrases if phrases[phrase] >= 0 and rest.startswith(phrase + " ")),
            key=len,
            default="",
        )
        for end in range(1, len(longest) + 1):
            if longest[end - 1] != " ":
                total += max(0.0, *(weight for phrase, weight in phrases.items() if phrase.startswith(longest[:end])))
    return total


def with_and_without(
    tokenizer: Tokenizer, phrases: Mapping[str, float], seed: int
) -> list[tuple[str, float, float, float]]:
    """Return every text in 7 random frames, its score without phrases and with them, and the acoustic one."""
    log_probs, answers = random_log_probs(7, tokenizer.size, seed), []
    for hotwords in ({}, phrases):
        search = BeamSearch(tokenizer.size, EVERYTHING, fuse(tokenizer, hotwords=hotwords))
        search.accept(log_probs)
        answers.append({prefix.token_ids: prefix for prefix in search.finish(10**6)})
    plain, found = answers
    assert len(found) == len(plain) > 100
    return [
        (tokenizer.decode(ids), plain[ids].score, prefix.score, prefix.acoustic_score) for ids, prefix in found.items()
    ]


@pytest.mark.parametrize("seed", range(12))
def test_all_phrases_that_are_said_count(seed: int) -> None:
    generator = np.random.default_rng(seed)
    some = ["a", "b", "ab", "ba", "a b", "b a", "a a", "a a b", "ab a", "b a b", "a b a", "aa b"]
    chosen = generator.choice(some, 5, replace=False).tolist()
    phrases = dict(zip(chosen, generator.choice([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0], 5).tolist(), strict=True))
    for text, without, score, acoustic_score in with_and_without(TOKENIZER, phrases, seed):
        assert score == pytest.approx(without + gain(text, phrases), abs=1e-4), (text, phrases)
        assert acoustic_score == pytest.approx(without, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_characters_of_scripts_without_spaces_are_words(seed: int) -> None:
    """A text without spaces is one word: hotwords were found where it begins, and nowhere else."""
    tokenizer = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *"京北a"]})
    phrases = {"京北": 1.0, "北": -0.5, "a京": 2.0, "北北": 0.5, "aa": 1.5}

    def apart(text: str) -> str:
        return " ".join(text.replace("京", " 京 ").replace("北", " 北 ").split())

    spaced = {apart(phrase): weight for phrase, weight in phrases.items()}
    for text, without, score, acoustic_score in with_and_without(tokenizer, phrases, seed):
        assert score == pytest.approx(without + gain(apart(text), spaced), abs=1e-4), text
        assert acoustic_score == pytest.approx(without, abs=1e-4)


def test_a_phrase_is_found_after_its_own_beginning(tokenizer: Tokenizer) -> None:
    """ "nine nine one" was not found in "nine nine nine one"."""
    log_probs = spoken(tokenizer, "ab ab ab ce", {9: "d"})
    assert heard(tokenizer, log_probs, {}) == "ab ab ab ce"
    assert heard(tokenizer, log_probs, {"ab ab de": 1.0}) == "ab ab ab de"
    assert heard(tokenizer, log_probs, {"ab ab ab ab": 0.1, "ab de": 1.0}) == "ab ab ab de"


def test_only_overlapping_phrases_widen_the_search() -> None:
    apart = build_hotwords({"ab": 1.0, "ab cd": 2.0, "abe": 1.0, "ef": -2.0})
    assert (apart.lift, apart.end_lift) == (0.0, 0.0)
    inside = build_hotwords({"ab cd": 1.0, "cd": 3.0, "cd e": 3.0})
    assert inside.lift == 2.0, "cd has 6 where ab cd has 4"
    assert inside.end_lift >= 6.0, "cd counts beside ab cd"


def test_phrases_that_end_together_count_300_at_most() -> None:
    hotwords = build_hotwords({"a": 300.0, "b a": 150.0, "c b a": 100.0, "d c b a": 75.0})
    assert hotwords.found.max() == 600.0
