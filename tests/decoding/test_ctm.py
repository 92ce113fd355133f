"""CTM: a line a word."""

from asr.decoding.ctm import to_ctm
from asr.decoding.hypothesis import Word


def test_a_line_a_word_with_its_duration() -> None:
    words = [Word("good", 0.3775, 0.5875, 0.97654), Word("day", 1, 1, 0)]
    assert to_ctm(words, "call-1") == "call-1 1 0.378 0.210 good 0.9765\ncall-1 1 1.000 0.000 day 0.0000\n"


def test_channels_are_counted_from_one() -> None:
    assert to_ctm([Word("a", 0, 1, 1)], "x", 1) == "x 2 0.000 1.000 a 1.0000\n"
    assert to_ctm([], "x") == ""
