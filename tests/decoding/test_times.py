"""Words and their times from token spans."""

import numpy as np
import pytest

from asr.decoding.greedy import FramePath, collapse
from asr.decoding.times import span_seconds, words_from_spans
from asr.units import FrameGeometry


def words_of(ids, tokenizer, geometry, duration=10.0):
    path = FramePath(np.array(ids, np.int64), np.zeros(len(ids), np.float32))
    return words_from_spans(collapse(path), path.log_probs, tokenizer, geometry, duration)


def test_a_word_starts_and_ends_with_its_frames(tokenizer, geometry: FrameGeometry) -> None:
    space, a, b = 1, *tokenizer.encode("ab")
    ids = [0] * 10 + [a, 0, b, b] + [space] * 3 + [0, b] + [0] * 5
    first, second = words_of(ids, tokenizer, geometry)
    assert (first.word, second.word) == ("ab", "b")
    # Frame 10 is centred 10 * 40 ms - 100 ms + 12.5 ms into the audio, and is 40 ms wide.
    assert (first.start, first.end) == pytest.approx((0.2925, 0.2925 + 4 * 0.04))
    assert (second.start, second.end) == pytest.approx((0.2925 + 8 * 0.04, 0.2925 + 9 * 0.04))


def test_doubled_spaces_make_no_word(tokenizer, geometry: FrameGeometry) -> None:
    space, a, b = 1, *tokenizer.encode("ab")
    ids = [space, a, space, 0, space, b, space]
    assert [word.word for word in words_of(ids, tokenizer, geometry)] == ["a", "b"]


def test_times_stay_inside_the_audio_and_in_order(tokenizer, geometry: FrameGeometry) -> None:
    generator = np.random.default_rng(0)
    for num_samples in (1, 100, 1600, 16000, 12345):
        duration = num_samples / geometry.sample_rate
        ids = generator.integers(0, 12, geometry.encoder_frames(num_samples)).tolist()
        times = [time for word in words_of(ids, tokenizer, geometry, duration) for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0.0 <= time <= duration for time in times)


def test_a_beep_is_found_within_one_frame(geometry: FrameGeometry) -> None:
    """The frames whose centres lie in the beep give back its times to within one encoder frame."""
    hop = geometry.encoder_hop / geometry.sample_rate
    for start in np.arange(0.3, 0.4, 0.007):
        end = start + 0.5
        centres = [geometry.encoder_frame_start(index) + hop / 2 for index in range(100)]
        inside = [index for index, centre in enumerate(centres) if start <= centre < end]
        found = span_seconds(inside[0], inside[-1] + 1, geometry, 4.0)
        assert found == pytest.approx((start, end), abs=hop)
