"""Fitting maps from confidence to the probability of being right."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.calibration import IsotonicMap, LogitMap, sigmoid
from asr.decoding.hypothesis import Word
from asr.errors import DataError
from asr.recognizer import Transcript
from asr.scoring.calibration import cross_entropy, expected_calibration_error
from asr.tuning.calibration import (
    Observed,
    fit,
    fit_isotonic,
    fit_temperature,
    foreseen,
    observe,
    pool_adjacent_violators,
)
from tests.oracles.isotonic import isotonic_regression


def drawn(count: int, temperature: float, bias: float, seed: int = 0) -> Observed:
    """Return confidences whose logits, so changed, are the true probability of being right."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(1.0, 2.0, count)
    right = generator.random(count) < sigmoid(logits / temperature + bias)
    return Observed(sigmoid(logits), right, np.arange(count) // 10)


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.5, 0.0), (0.6, -1.0), (3.0, 1.5)])
def test_a_known_temperature_and_bias_are_found_again(temperature: float, bias: float) -> None:
    observed = drawn(20_000, temperature, bias)
    found = fit_temperature(observed.confidences, observed.right)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.bias == pytest.approx(bias, abs=0.06)


def test_the_fitted_numbers_are_the_best_ones() -> None:
    observed = drawn(500, 2.0, 0.5)
    found = fit_temperature(observed.confidences, observed.right)
    best = cross_entropy(found(observed.confidences), observed.right)
    for scale in (0.9, 1.1):
        for shift in (-0.1, 0.1):
            other = LogitMap(temperature=found.temperature * scale, bias=found.bias + shift)
            assert cross_entropy(other(observed.confidences), observed.right) > best


def test_well_separated_words_do_not_claim_certainty() -> None:
    confidences = np.concatenate([np.linspace(0.1, 0.4, 10), np.linspace(0.6, 0.999, 10)])
    right = np.arange(20) >= 10
    found = fit_temperature(confidences, right)(confidences)
    assert 0.8 < found[10:].mean() < 0.95
    assert 0.05 < found[:10].mean() < 0.2
    ends = fit_isotonic(confidences, right)(np.array([0.0, 1.0]))
    assert ends == pytest.approx([1 / 11, 10 / 11])


def test_confidence_that_tells_nothing_becomes_the_share_that_is_right() -> None:
    for confidences in (np.full(40, 0.9), np.linspace(0.9, 0.1, 40)):
        right = np.arange(40) % 4 > 0
        assert fit_temperature(confidences, right)(confidences).mean() == pytest.approx(0.75, abs=0.03)
        assert fit_isotonic(confidences, right)(confidences).mean() == pytest.approx(0.75, abs=0.05)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=12))
def test_pooling_gives_what_the_formula_gives(rows: list[tuple[int, bool]]) -> None:
    inputs, targets = np.array([row[0] / 6 for row in rows]), np.array([float(row[1]) for row in rows])
    places, values = pool_adjacent_violators(inputs, targets)
    assert (np.diff(places) > 0).all()
    assert (np.diff(values) > 0).all()
    expected = isotonic_regression(inputs.tolist(), targets.tolist())
    # a block's value holds from its first input to its last; the nearest block in value must be the expected one
    for value in expected:
        assert np.abs(values - value).min() < 1e-9
    sizes = [sum(abs(value - other) < 1e-9 for other in expected) for value in values]
    means = [inputs[[abs(other - value) < 1e-9 for other in expected]].mean() for value in values]
    assert sum(sizes) == len(rows)
    assert places == pytest.approx(means)


def test_fitting_makes_unheard_confidence_better() -> None:
    fitted_on, judged = drawn(1500, 3.0, 0.5, seed=1), drawn(5000, 3.0, 0.5, seed=2)
    before = expected_calibration_error(judged.confidences, judged.right)
    for method in ("temperature", "isotonic"):
        found = fit(fitted_on, method).map(judged.confidences)
        assert expected_calibration_error(found, judged.right) < before / 3


def test_isotonic_is_chosen_only_where_it_foresees_better() -> None:
    assert isinstance(fit(drawn(4000, 2.0, 0.0)).map, LogitMap)
    bent = drawn(4000, 2.0, 0.0)
    right = np.random.default_rng(5).random(4000) < np.where(bent.confidences > 0.6, 0.9, 0.2)
    assert isinstance(fit(Observed(bent.confidences, right, bent.groups)).map, IsotonicMap)
    few = Observed(bent.confidences[:900], right[:900], bent.groups[:900])
    assert isinstance(fit(few).map, LogitMap)


def test_nobody_is_judged_by_a_map_fitted_on_them() -> None:
    confidences, groups = np.full(50, 0.5), np.arange(50) // 10 * 7
    right = groups == 0

    def share(confidences, right):
        value = float(right.mean())
        return IsotonicMap(knots=((0.0, value),))

    found = foreseen(Observed(confidences, right, groups), share)
    assert found.tolist() == [0.0] * 10 + [0.25] * 40


# What was observed


def transcript(*words: tuple[str, float]) -> Transcript:
    return Transcript("", tuple(Word(word, 0, 0, confidence) for word, confidence in words), 1.0, 0.0)


def test_words_and_utterances_are_observed() -> None:
    transcripts = [transcript(("a", 0.5), ("b", 1.0)), transcript(), transcript(("c", 0.25))]
    words, utterances = observe(transcripts, ["a b", "x", "c d"], ["one", None, "one"])
    assert words.confidences.tolist() == [0.5, 1.0, 0.25]
    assert words.right.tolist() == [True, True, True]
    assert utterances.confidences.tolist() == [0.75, 0.25]
    assert utterances.right.tolist() == [True, False]  # a word is missing
    assert words.groups.tolist() == [0, 0, 2]  # two speakers are too few to be told apart
    named = [transcript(("a", 0.5))] * 10
    words, _ = observe(named, ["a"] * 10, [f"s{index % 5}" for index in range(10)])
    assert words.groups.tolist() == [0, 1, 2, 3, 4] * 2


@pytest.mark.parametrize(
    ("right", "message"),
    [
        ([], "no words were recognised"),
        ([True] * 40, "all 40 words are right.*not trained on"),
        ([False] * 40, "none of 40 words is right; check that the texts"),
        ([True] * 40 + [False] * 9, "40 of 49 words are right, and at least 10 must be.*give more speech"),
        ([False] * 20 + [True] * 20, r"no higher confidence than wrong ones \(0.00 of pairs"),
    ],
)
def test_where_nothing_can_be_learnt_that_is_said(right: list[bool], message: str) -> None:
    confidences = np.linspace(0.9, 0.1, len(right))
    with pytest.raises(DataError, match=message), warnings.catch_warnings():
        fit(Observed(confidences, np.array(right, bool), np.arange(len(right))))


def test_one_utterance_is_not_enough() -> None:
    observed = drawn(100, 2.0, 0.0)
    with pytest.raises(DataError, match="all words come from one utterance"):
        fit(Observed(observed.confidences, observed.right, np.zeros(100, int)))
