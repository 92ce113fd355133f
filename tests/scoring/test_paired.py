"""Paired tests against enumerations and closed forms, and their edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.scoring.error_rate import align
from asr.scoring.paired import Column, bootstrap_difference, matched_pairs, mcnemar, merged, segment_errors
from tests.oracles import paired as oracle

WORDS = st.lists(st.sampled_from("abc"), max_size=9)


@given(WORDS, WORDS, WORDS)
def test_merging_loses_no_word_and_no_error(reference: list[str], a: list[str], b: list[str]) -> None:
    alignments = align(reference, a), align(reference, b)
    columns = merged(*alignments)
    for place, words in enumerate((reference, a, b)):
        assert [column[place] for column in columns if column[place] is not None] == words
    for place, alignment in enumerate(alignments, 1):
        assert sum(column[place] != column[0] for column in columns) == sum(left != right for left, right in alignment)


@given(WORDS, WORDS, WORDS)
def test_segments_are_those_between_two_good_words(reference: list[str], a: list[str], b: list[str]) -> None:
    columns = merged(align(reference, a), align(reference, b))
    assert segment_errors(columns) == oracle.segments(columns)


def test_an_insertion_between_good_words_keeps_a_segment_together() -> None:
    inserted: Column = (None, "x", None)
    right: Column = ("g", "g", "g")
    wrong: Column = ("g", "g", "x")
    assert segment_errors([wrong, right, inserted, right, wrong]) == [(1, 2)]
    assert segment_errors([wrong, right, right, inserted, wrong]) == [(0, 1), (1, 1)]
    assert segment_errors([right, right]) == []


def test_matched_pairs_is_the_z_test_of_the_mean() -> None:
    """Differences 1, 1, 1, -1: mean 1/2, deviation 1, so the statistic is 1 and p is erfc(1 / sqrt 2)."""
    found = matched_pairs([(0, 1), (2, 3), (1, 2), (1, 0)])
    assert (found.segments, found.mean, found.statistic) == (4, 0.5, 1.0)
    assert found.p_value == pytest.approx(0.31731050786)
    assert matched_pairs([(1, 0), (3, 2), (2, 1), (0, 1)]).statistic == -1.0


def test_matched_pairs_is_near_the_permutation_test() -> None:
    differences = [5, -2, 3, -7, 1, -4, 6, 2, -1, 8, 3, -3, 2, 4]
    found = matched_pairs([(0, d) if d > 0 else (-d, 0) for d in differences])
    assert found.p_value is not None
    assert found.p_value == pytest.approx(oracle.sign_flips(differences), abs=0.05)  # so sure is the normal with 14


def test_matched_pairs_that_cannot_be_computed() -> None:
    assert matched_pairs([]).p_value == 1.0
    assert matched_pairs([(1, 1), (2, 2)]).p_value == 1.0
    assert matched_pairs([(0, 1)]).p_value is None
    assert matched_pairs([(0, 1), (1, 2), (4, 5)]).p_value is None


def test_bootstrap_has_the_distribution_of_all_draws() -> None:
    errors_a, errors_b, lengths = [1, 0, 2, 1], [0, 1, 1, 0], [3, 2, 5, 1]
    exact = oracle.all_draws([b - a for a, b in zip(errors_a, errors_b, strict=True)], lengths)
    found = bootstrap_difference(errors_a, errors_b, lengths, seed=5)
    assert found is not None
    better = (sum(d < 0 for d in exact) + sum(d == 0 for d in exact) / 2) / len(exact)
    tail = min(sum(d <= 0 for d in exact), sum(d >= 0 for d in exact)) / len(exact)
    # 10,000 draws: a share is good to 0.005 (one deviation)
    assert found.b_better == pytest.approx(better, abs=0.02)
    assert found.p_value == pytest.approx(2 * tail, abs=0.04)
    low, high = np.quantile([float(d) for d in exact], [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
    mirrored = bootstrap_difference(errors_b, errors_a, lengths, seed=5)
    assert mirrored is not None
    assert (mirrored.low, mirrored.b_better) == (pytest.approx(-found.high), pytest.approx(1 - found.b_better))
    assert mirrored.p_value == found.p_value


def test_bootstrap_of_equal_and_of_always_better_systems() -> None:
    equal = bootstrap_difference([1, 2, 0], [1, 2, 0], [4, 4, 4])
    assert equal is not None
    assert (equal.low, equal.high, equal.b_better, equal.p_value) == (0.0, 0.0, 0.5, 1.0)
    better = bootstrap_difference([1, 2, 1], [0, 0, 0], [4, 4, 4], replications=99)
    assert better is not None
    assert (better.b_better, better.p_value) == (1.0, 0.02)  # no draw against it: 2 (0 + 1) / (99 + 1)
    assert bootstrap_difference([1], [0], [0]) is None


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 3), (1, 7), (10, 2)])
def test_mcnemar_is_the_permutation_test(only_a: int, only_b: int) -> None:
    wrong_a = [False] * only_a + [True] * only_b + [True, False]
    wrong_b = [True] * only_a + [False] * only_b + [True, False]
    found = mcnemar(wrong_a, wrong_b)
    assert (found.only_a_right, found.only_b_right) == (only_a, only_b)
    differences = [int(b) - int(a) for a, b in zip(wrong_a, wrong_b, strict=True) if a != b]
    assert found.p_value == pytest.approx(oracle.sign_flips(differences))


def test_mcnemar_of_many_utterances() -> None:
    """Normal with continuity: (|n01 - n10| - 1) / sqrt(n01 + n10)."""
    found = mcnemar([True] * 5200 + [False] * 4800, [False] * 5200 + [True] * 4800)
    assert found.p_value == pytest.approx(math.erfc(399 / 100 / math.sqrt(2)), rel=0.01)
