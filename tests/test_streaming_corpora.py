"""The trained live model over all of AN4 test: streams say what one call says, whatever the cut and the company."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.audio.files import read_audio
from asr.live import LiveRecognizer
from asr.recognizer import Recognizer, bundled_models
from asr.streaming import Stream, accept_together, finish_together

pytestmark = [pytest.mark.corpora, pytest.mark.slow]

CUTS = (160, 1601, 5120, 16000, 10**6)  # samples of a piece: 10 ms, a prime, 320 ms, a second, all


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    if "an4-live" not in bundled_models():
        pytest.skip("the bundled model an4-live is not there yet")
    return Recognizer.load("an4-live")


@pytest.fixture(scope="module")
def waveforms(corpora: Path) -> list[np.ndarray]:
    return [read_audio(file)[0] for file in sorted((corpora / "an4" / "wav" / "an4test_clstk").rglob("*.flac"))]


def whole(recognizer: Recognizer, waveform: np.ndarray) -> Tensor:
    with torch.inference_mode():
        log_probs, _ = recognizer.model(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    return log_probs[0]


def streamed(recognizer: Recognizer, pieces: Sequence[np.ndarray]) -> Tensor:
    stream = Stream(recognizer.model, recognizer.model.sample_rate)
    return torch.cat([*(stream.accept(piece) for piece in pieces), stream.finish()])


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_log_probs_of_every_file_are_those_of_one_call(recognizer: Recognizer, waveforms: list[np.ndarray]) -> None:
    assert len(waveforms) == 130
    for number, waveform in enumerate(waveforms):
        size = CUTS[number % len(CUTS)]
        pieces = [waveform[first : first + size] for first in range(0, len(waveform), size)]
        assert_same(streamed(recognizer, pieces), whole(recognizer, waveform))


def test_log_probs_of_single_samples(recognizer: Recognizer, waveforms: list[np.ndarray]) -> None:
    shortest = min(waveforms, key=len)
    assert_same(streamed(recognizer, list(shortest[:, None])), whole(recognizer, shortest))


def test_a_hundred_files_through_one_recogniser_are_a_hundred_fresh_ones(
    recognizer: Recognizer, waveforms: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each also in other pieces; and, but for what live forgets of silence, as the whole recording says."""
    told = [heard_live(recognizer, waveform, len(waveform)) for waveform in waveforms[:100]]
    for waveform, expected in zip(waveforms, told, strict=False):
        fresh = Recognizer(copy.deepcopy(recognizer.model))
        assert heard_live(fresh, waveform, 1600) == expected
    monkeypatch.setattr(Stream, "forget", lambda stream, seconds: None)
    for waveform in waveforms[:100]:
        assert heard_live(recognizer, waveform, 1600) == recognizer.transcribe(waveform, 16000).text


def heard_live(recognizer: Recognizer, waveform: np.ndarray, size: int) -> str:
    live = LiveRecognizer(recognizer, 16000)
    events = [event for first in range(0, len(waveform), size) for event in live.accept(waveform[first : first + size])]
    return " ".join(event.transcript.text for event in events + live.finish() if event.kind == "final")


def test_streams_in_company_say_what_they_say_alone(recognizer: Recognizer, waveforms: list[np.ndarray]) -> None:
    streams = [Stream(recognizer.model, 16000) for _ in waveforms]
    found: list[list[Tensor]] = [[] for _ in streams]
    for first in range(0, max(map(len, waveforms)), 3200):
        going = [row for row, waveform in enumerate(waveforms) if first < len(waveform)]
        pieces = [waveforms[row][first : first + 3200] for row in going]
        for row, log_probs in zip(going, accept_together([streams[row] for row in going], pieces), strict=True):
            found[row].append(log_probs)
    for parts, log_probs in zip(found, finish_together(streams), strict=True):
        parts.append(log_probs)
    for parts, waveform in zip(found, waveforms, strict=True):
        assert_same(torch.cat(parts), whole(recognizer, waveform))
