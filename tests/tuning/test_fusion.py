"""Tuning the weights of a language model: the best setting has the fewest errors that the search itself makes."""

import itertools
from pathlib import Path

import pytest

from asr.decoding.beam import BeamConfig
from asr.decoding.scorer import FusionConfig
from asr.decoding.searching import LogProbs, SearchReader
from asr.errors import DataError
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from asr.scoring.error_rate import word_errors
from asr.text.tokenizer import Tokenizer
from asr.tuning.fusion import BONUSES, PENALTIES, WEIGHTS, Setting, Tuned, tune_fusion
from tests.decoding.test_beam import spoken
from tests.decoding.test_lexicon import peaked, phones

BEAM = BeamConfig(beam=10)
TEXTS = ["bad cab", "cab fed", "fed bad cab", "bad fed"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_state(
        {"kind": "char", "normalizer": {"case": "lower"}, "symbols": ["<blank>", *"▁abcdefghij"]}
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    text: Path = tmp_path_factory.mktemp("fusion") / "text"
    text.write_text("\n".join(TEXTS * 5))
    return train_ngram(text, 2).model


@pytest.fixture(scope="module")
def heard(tokenizer: Tokenizer) -> list[LogProbs]:
    """The texts with an e in place of each first a on the best path, and the a nearly as probable."""
    found = []
    for text in TEXTS:
        place = text.find("a")
        wrong = text[:place] + "e" + text[place + 1 :]
        found.append(spoken(tokenizer, wrong, {place + 1: "a"}))  # a space comes first
    return found


def text_of(log_probs: LogProbs, tokenizer: Tokenizer, model: NgramModel, setting: Setting) -> str:
    weights = FusionConfig(weight=setting.weight, bonus=setting.bonus)
    config = BEAM.model_copy(update={"blank_penalty": setting.blank_penalty})
    path = SearchReader.of(tokenizer, config, model=model, weights=weights).read(log_probs).path
    return tokenizer.decode([token for token, _ in itertools.groupby(path.token_ids.tolist()) if token])


@pytest.fixture(scope="module")
def tuned(tokenizer: Tokenizer, model: NgramModel, heard: list[LogProbs]) -> Tuned:
    return tune_fusion(heard, [text.upper() for text in TEXTS], tokenizer, model, config=BEAM)


def test_what_helps_is_found(tuned: Tuned) -> None:
    assert (tuned.words, tuned.greedy_errors) == (9, 4)
    assert tuned.best.errors == 0
    assert max(setting.errors for setting in tuned.settings) == 4


def test_the_best_is_the_least_of_all_that_was_tried(tuned: Tuned) -> None:
    assert tuned.best in tuned.settings
    assert all(
        (tuned.best.errors, tuned.best.character_errors) <= (s.errors, s.character_errors) for s in tuned.settings
    )
    tried = [(setting.weight, setting.bonus, setting.blank_penalty) for setting in tuned.settings]
    assert len(set(tried)) == len(tried), "nothing is tried twice"
    assert {(weight, bonus, 0.0) for weight in WEIGHTS for bonus in BONUSES} < set(tried)
    assert set(PENALTIES) < {penalty for _, _, penalty in tried}
    assert min(weight for weight, _, _ in tried) == 0, "a weight below 0 is none"


def test_the_errors_are_those_of_the_search(
    tuned: Tuned, tokenizer: Tokenizer, model: NgramModel, heard: list[LogProbs]
) -> None:
    worst = max(tuned.settings, key=lambda setting: setting.errors)
    for setting in (tuned.best, worst, tuned.settings[0], tuned.settings[-1]):
        texts = [text_of(item, tokenizer, model, setting) for item in heard]
        pairs = zip(TEXTS, texts, strict=True)
        assert setting.errors == sum(word_errors(left.split(), right.split()) for left, right in pairs)


def test_of_words_that_sound_alike_those_that_the_search_says_count(tmp_path: Path) -> None:
    tokenizer = phones("two a")
    (tmp_path / "text").write_text("to oh\noh to\n" * 5)
    model = train_ngram(tmp_path / "text", 2).model
    ids = tokenizer.encode("to oh")
    log_probs = peaked([token for pair in ids for token in (pair, 0)], tokenizer.size)
    tuned = tune_fusion([log_probs], ["to oh"], tokenizer, model, config=BEAM)
    assert tuned.best.errors == 0
    assert tuned.greedy_errors == 2, "the tokens alone mean the words that the lexicon names first"


def test_of_equal_settings_the_one_nearest_to_the_defaults_is_best() -> None:
    usual = FusionConfig()
    near = Setting(usual.weight + 0.1, usual.bonus, 0.0, 3, 5)
    others = [
        Setting(usual.weight, usual.bonus, 0.5, 3, 5),
        Setting(usual.weight - 0.3, usual.bonus, 0.0, 3, 5),
        Setting(usual.weight, usual.bonus, 0.0, 3, 6),
        Setting(usual.weight, usual.bonus, 0.0, 4, 1),
    ]
    assert Tuned((*others[:2], near, *others[2:]), -8.0, 10, 3).best == near


def test_each_setting_is_reported(tokenizer: Tokenizer, model: NgramModel, heard: list[LogProbs]) -> None:
    calls: list[tuple[int, int | None]] = []
    tuned = tune_fusion(heard[:1], TEXTS[:1], tokenizer, model, config=BEAM, progress=lambda *call: calls.append(call))
    assert calls == [(number, None) for number in range(1, len(tuned.settings) + 1)]


def test_references_without_a_word_are_refused(tokenizer: Tokenizer, model: NgramModel, heard: list[LogProbs]) -> None:
    with pytest.raises(DataError, match="the references hold no words; give held-out speech with its texts"):
        tune_fusion(heard[:2], ["", "  "], tokenizer, model)
