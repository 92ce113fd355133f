"""Confidence of words."""

import numpy as np
import pytest

from asr.decoding.confidence import mean_confidence, span_confidence
from asr.decoding.hypothesis import TokenSpan, Word


def test_confidence_is_the_mean_posterior_over_frames_that_are_not_blank() -> None:
    posteriors = np.log(np.array([0.99, 0.5, 0.7, 0.99, 0.9, 0.99], np.float32))
    spans = [TokenSpan(3, 1, 3), TokenSpan(4, 4, 5)]
    assert span_confidence(spans, posteriors) == pytest.approx((0.5 + 0.7 + 0.9) / 3)


def test_confidence_stays_between_0_and_1() -> None:
    assert span_confidence([TokenSpan(1, 0, 1)], np.array([1e-6], np.float32)) == 1.0
    assert span_confidence([TokenSpan(1, 0, 1)], np.array([-np.inf], np.float32)) == 0.0
    assert span_confidence([], np.zeros(0, np.float32)) == 0.0


def test_mean_confidence_over_words() -> None:
    assert mean_confidence([]) is None
    assert mean_confidence([Word("a", 0, 1, 0.2), Word("b", 1, 2, 0.6)]) == pytest.approx(0.4)
