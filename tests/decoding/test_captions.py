"""Subtitles from words."""

import re

import numpy as np
import pytest

from asr.decoding.captions import MAX_CHARACTERS, MAX_SECONDS, cues_from_words, to_srt, to_vtt
from asr.decoding.hypothesis import Word


def talk(num_words: int, seed: int = 0) -> list[Word]:
    generator = np.random.default_rng(seed)
    words, time = [], 0.0
    for _ in range(num_words):
        start = time + generator.exponential(0.3)
        time = start + generator.uniform(0.0, 0.6)
        words.append(Word("x" * int(generator.integers(1, 14)), start, time, 0.9))
    return words


@pytest.mark.parametrize("seed", range(5))
def test_cues_hold_every_word_within_the_limits_and_do_not_overlap(seed: int) -> None:
    words = talk(300, seed)
    cues = cues_from_words(words, words[-1].end)
    assert " ".join(cue.text for cue in cues) == " ".join(word.word for word in words)
    assert max(len(cue.text) for cue in cues) <= MAX_CHARACTERS
    assert max(cue.end - cue.start for cue in cues) <= MAX_SECONDS
    times = [time for cue in cues for time in (cue.start, cue.end)]
    assert times == sorted(times)
    assert times[-1] <= words[-1].end
    assert max(len(cue.text) for cue in cues) > 30


def test_a_pause_starts_a_new_cue_and_a_short_cue_stays_a_moment() -> None:
    words = [Word("one", 1.0, 1.1, 1), Word("two", 1.2, 1.3, 1), Word("three", 4.0, 4.1, 1)]
    first, second = cues_from_words(words, 4.5)
    assert (first.text, first.start, first.end) == ("one two", 1.0, 2.0)
    assert (second.text, second.start, second.end) == ("three", 4.0, 4.5)


def test_text_without_spaces_is_split_in_proportion() -> None:
    cues = cues_from_words([Word("言" * 100, 0.0, 30.0, 1)], 30.0)
    assert "".join(cue.text for cue in cues) == "言" * 100
    assert max(len(cue.text) for cue in cues) <= MAX_CHARACTERS
    assert max(cue.end - cue.start for cue in cues) <= MAX_SECONDS
    assert (cues[0].start, cues[-1].end) == (0.0, 30.0)


def test_srt_and_vtt() -> None:
    words = [Word("a<b", 0.5, 2.0004, 1), Word("&", 3661.0, 3662.0, 1)]
    assert to_srt(words, 4000.0) == ("1\n00:00:00,500 --> 00:00:02,000\na<b\n\n2\n01:01:01,000 --> 01:01:02,000\n&\n")
    assert to_vtt(words, 4000.0) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\na&lt;b\n\n01:01:01.000 --> 01:01:02.000\n&amp;\n"
    )


def test_no_words_make_empty_subtitles() -> None:
    assert to_srt([], 3.0) == ""
    assert re.fullmatch(r"WEBVTT\n", to_vtt([], 3.0))
