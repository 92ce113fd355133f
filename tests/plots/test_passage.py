"""A passage lies on the axis of time as the recording does, in both directions of a layer."""

from functools import cache

import numpy as np
import pytest

from asr.nn.gates import DIRECTIONS, Direction
from asr.plots.passage import Passage, listen
from asr.recognizer import Recognizer
from tests.tiny_model import babble, tiny_model

RATE = 16000
REACH = 0.1  # seconds that a frame hears around itself: its window and the convolutions


@cache
def recognizer() -> Recognizer:
    return Recognizer(tiny_model())


def passage(waveform: np.ndarray, direction: Direction = "forwards") -> Passage:
    return listen(recognizer(), waveform, layer=1, direction=direction)


def test_a_click_is_where_it_was_made() -> None:
    waveform = np.zeros(RATE, np.float32)
    waveform[int(0.7 * RATE)] = 0.9
    found = passage(waveform)
    loudest = found.features.sum(1).max()
    times = [
        found.feature_axis.start + (frame + 0.5) * found.feature_axis.hop
        for frame, loud in enumerate(found.features.sum(1))
        if loud > 0.9 * loudest
    ]
    assert np.mean(times) == pytest.approx(0.7, abs=0.005)


def test_encoder_frames_are_where_words_have_them() -> None:
    found, geometry = passage(babble(1.5)), recognizer().model.geometry
    assert found.axis.frames == len(found.layer.log_probs) == len(found.layer.memory) == geometry.encoder_frames(24000)
    for frame in range(found.axis.frames + 1):
        here = found.axis.start + frame * found.axis.hop
        assert here == pytest.approx(geometry.encoder_frame_start(frame), abs=1e-9)
    assert found.axis.end == pytest.approx(1.5 + 0.1, abs=found.axis.hop)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_changes_the_sound_changes_the_gates_from_there_on(direction: Direction) -> None:
    """Forwards, frames before a change know nothing of it; backwards, those behind it."""
    before, after = babble(2), babble(2)
    after[int(0.9 * RATE) : int(1.1 * RATE)] = babble(0.2, seed=5)
    first, second = (passage(waveform, direction) for waveform in (before, after))
    moved = (first.layer.gates["forget"] - second.layer.gates["forget"]).abs().amax(1).numpy()
    middles = first.axis.start + (np.arange(first.axis.frames) + 0.5) * first.axis.hop
    unaware = middles < 0.9 - REACH if direction == "forwards" else middles > 1.1 + REACH
    aware = (middles > 0.9) & (middles < 1.1)
    assert moved[unaware].max() < 1e-6
    assert moved[aware].min() > 1e-3


def test_the_transcript_is_the_recognizers() -> None:
    waveform = babble(2)
    assert passage(waveform).transcript == recognizer().transcribe(waveform, RATE)
    assert passage(waveform).symbols[1] == "▁"
