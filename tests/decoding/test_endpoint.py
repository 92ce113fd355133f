"""Where an utterance ends: blanks and quiet together, blanks alone for longer, or the longest there may be."""

import numpy as np
import pytest

from asr.decoding.endpoint import EndpointConfig, first_run, utterance_end

FRAME = 0.04
CONFIG = EndpointConfig(silence_ms=400, blanks_ms=1200, max_seconds=10)  # 10, 30 and 250 frames


def speech(*parts: tuple[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens and power of parts: s speech, b a blank as loud, n a blank 10 dB below, q one 20 dB below."""
    tokens = np.concatenate([np.full(count, kind == "s") for kind, count in parts])
    decibels = {"s": 0, "b": 0, "n": -10, "q": -20}
    power = np.concatenate([np.full(count, 10 ** (decibels[kind] / 10)) for kind, count in parts])
    return tokens, power


@pytest.mark.parametrize(
    ("parts", "end"),
    [
        ([("q", 100)], None),
        ([("q", 20), ("s", 5), ("q", 9)], None),
        ([("q", 20), ("s", 5), ("q", 10)], 25 + 5),
        ([("s", 1), ("q", 9), ("s", 1), ("q", 10)], 11 + 5),
        ([("s", 5), ("b", 20), ("q", 5)], None),  # a long vowel: blanks, and loud
        ([("s", 5), ("n", 29)], None),
        ([("s", 5), ("n", 30)], 5 + 15),
        ([("s", 5), ("q", 10), ("s", 5), ("q", 10)], 5 + 5),
        ([("s", 5), ("n", 30), ("s", 5), ("q", 10)], 5 + 15),  # the first to be complete
        ([("s", 1), *[("b", 5), ("s", 1)] * 41], None),
        # too long: cut in the longest pause of the second half, of equal ones the last; without one, where it is
        ([("s", 1), *[("b", 5), ("s", 1)] * 42, ("q", 10)], 241 + 2),
        ([("s", 1), *[("b", 5), ("s", 1)] * 42], 241 + 2),
        ([("s", 10), ("b", 9), ("s", 141), ("b", 7), ("s", 1), *[("b", 5), ("s", 1)] * 14], 160 + 3),
        ([("s", 260)], 250),
    ],
)
def test_the_end_of_an_utterance(parts: list[tuple[str, int]], end: int | None) -> None:
    assert utterance_end(*speech(*parts), CONFIG, FRAME) == end


def test_blanks_end_after_twice_the_silence_that_was_asked_for() -> None:
    config = EndpointConfig(silence_ms=3000)  # 75 frames
    assert utterance_end(*speech(("s", 5), ("q", 74)), config, FRAME) is None
    assert utterance_end(*speech(("s", 5), ("q", 75)), config, FRAME) == 5 + 37
    assert utterance_end(*speech(("s", 5), ("n", 149)), config, FRAME) is None
    assert utterance_end(*speech(("s", 5), ("n", 150)), config, FRAME) == 5 + 75


def test_the_first_run_behind_an_index() -> None:
    flags = np.array([1, 1, 1, 0, 1, 1, 0, 1, 1, 1], bool)
    assert first_run(flags, 2, after=-1) == 0
    assert first_run(flags, 2, after=1) == 4
    assert first_run(flags, 3, after=1) == 7
    assert first_run(flags, 4, after=-1) is None
