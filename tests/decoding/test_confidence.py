"""Confidence of words."""

import numpy as np
import pytest

from asr.decoding.confidence import mean_confidence, mean_posterior, span_confidence
from asr.decoding.hypothesis import TokenSpan, Word


def test_confidence_is_the_geometric_mean_of_the_tokens_peaks() -> None:
    posteriors = np.log(np.array([0.99, 0.5, 0.7, 0.99, 0.9, 0.99], np.float32))
    spans = [TokenSpan(3, 1, 3), TokenSpan(4, 4, 5)]
    assert span_confidence(spans, posteriors) == pytest.approx((0.7 * 0.9) ** 0.5)


def test_confidence_stays_between_0_and_1() -> None:
    assert span_confidence([TokenSpan(1, 0, 1)], np.array([1e-6], np.float32)) == 1.0
    assert span_confidence([TokenSpan(1, 0, 1)], np.array([-np.inf], np.float32)) == 0.0
    assert span_confidence([], np.zeros(0, np.float32)) == 0.0


def test_mean_confidence_over_words() -> None:
    assert mean_confidence([]) is None
    assert mean_confidence([Word("a", 0, 1, 0.2), Word("b", 1, 2, 0.6)]) == pytest.approx(0.4)


def test_the_mean_posterior_is_over_all_frames_of_each_word(tokenizer) -> None:
    space, a, b = 1, *tokenizer.encode("ab")
    posteriors = np.log(np.array([0.99, 0.5, 0.7, 0.99, 0.9, 0.99, 0.3], np.float32))
    spans = [TokenSpan(a, 1, 3), TokenSpan(b, 4, 5), TokenSpan(space, 5, 6), TokenSpan(b, 6, 7)]
    assert mean_posterior(spans, posteriors, tokenizer) == pytest.approx(((0.5 + 0.7 + 0.9) / 3 + 0.3) / 2)
    assert mean_posterior([], posteriors, tokenizer) is None
