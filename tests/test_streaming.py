"""Contract 4: what a stream says is what the model says of the whole, however it is cut."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asr import streaming
from asr.audio.resample import resample
from asr.errors import DataError, UsageError
from asr.model import AcousticModel
from asr.nn.chunks import WHOLE, Context
from asr.recognizer import Recognizer, RecognizerConfig
from asr.streaming import Stream, accept_together, finish_together
from tests.tiny_model import babble, tiny_model

RATE = 16000
CHUNKED = {"chunk_ms": 160, "right_context_ms": 80}
ONE_WAY: dict[str, object] = {"bidirectional": False}
ENCODERS: dict[str, dict[str, object]] = {
    "chunked": CHUNKED,
    "chunked without right context": {"chunk_ms": 40},
    "chunked, more right context than chunk": {"chunk_ms": 80, "right_context_ms": 200},
    "one way": ONE_WAY,
    "one way with lookahead": {**ONE_WAY, "lookahead_ms": 120},
    "factor 3": {**CHUNKED, "factor": 3},
    "factor 1": {**ONE_WAY, "factor": 1},
    "vgg": {**CHUNKED, "subsampling": "vgg"},
    "vgg one way": {**ONE_WAY, "subsampling": "vgg", "factor": 2},
    "slstm": {**CHUNKED, "cell": "slstm"},
    "gru one way": {**ONE_WAY, "cell": "gru"},
    "projected": {**CHUNKED, "cell": "lstm_projected"},
    "no residual, no norm": {**CHUNKED, "residual": False, "layer_norm": False},
}


def model_of(normalization: str = "running", **encoder: object) -> AcousticModel:
    model: AcousticModel = tiny_model(normalization=normalization, **encoder)
    if model.encoder.lookahead is not None:
        with torch.no_grad():
            nn.init.normal_(model.encoder.lookahead.weight, std=0.3, generator=torch.Generator().manual_seed(1))
    return model


def whole(model: AcousticModel, waveform: np.ndarray) -> Tensor:
    """Return the log-probs (E, V) of one call."""
    with torch.inference_mode():
        log_probs, lengths = model(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    assert int(lengths) == log_probs.shape[1]
    return log_probs[0]


def pieces(waveform: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(waveform), size):
        yield waveform[first : first + size]


def streamed(model: AcousticModel, waveforms: Sequence[np.ndarray], rate: int = RATE) -> Tensor:
    stream = Stream(model, rate)
    parts = [stream.accept(waveform, rate) for waveform in waveforms]
    return torch.cat([*parts, stream.finish()])


def assert_same(found: Tensor, expected: Tensor) -> None:
    """1e-4 is for trained models; the outputs of the tiny one are scaled up, and with them float32's rounding."""
    torch.testing.assert_close(found, expected, atol=5e-4, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [137, 1600, 8000, 40000])
def test_a_stream_is_the_whole_however_it_is_cut(name: str, size: int) -> None:
    model, waveform = model_of(**ENCODERS[name]), babble(1.7, RATE, 3)
    assert_same(streamed(model, list(pieces(waveform, size))), whole(model, waveform))


@pytest.mark.parametrize("normalization", ["none", "global", "running"])
def test_a_stream_of_single_samples(normalization: str) -> None:
    model, waveform = model_of(normalization, **CHUNKED), babble(0.21, RATE, 4)
    assert_same(streamed(model, list(pieces(waveform, 1))), whole(model, waveform))


@pytest.mark.parametrize("name", ["chunked", "one way with lookahead", "vgg"])
def test_every_length_has_all_its_frames(name: str) -> None:
    """The last word is never lost: the end is flushed, whatever is missing to a chunk."""
    model, waveform = model_of(**ENCODERS[name]), babble(1.0, RATE, 5)
    for count in [1, 2, 159, 399, 400, 401, 1600, *range(3000, 16000, 971)]:
        assert_same(streamed(model, list(pieces(waveform[:count], 1000))), whole(model, waveform[:count]))


def test_random_cuts_with_empty_pieces_between() -> None:
    model, waveform = model_of(**CHUNKED), babble(2.0, RATE, 6)
    generator = np.random.default_rng(1)
    for _ in range(5):
        borders = np.sort(generator.integers(0, len(waveform), 30))
        parts = [*np.split(waveform, borders), np.zeros(0, np.float32)]
        assert_same(streamed(model, parts), whole(model, waveform))


def test_a_stream_of_another_rate_is_the_resampled_whole() -> None:
    model, waveform = model_of(**CHUNKED), babble(1.5, 8000, 7)
    found = streamed(model, list(pieces(waveform, 333)), 8000)
    assert_same(found, whole(model, resample(waveform, 8000, RATE)))


def test_streams_that_step_together_are_each_itself_alone() -> None:
    model = model_of(**CHUNKED)
    waveforms = [babble(seconds, RATE, seed) for seed, seconds in enumerate((1.1, 0.3, 2.0, 1.4))]
    streams = [Stream(model, RATE) for _ in waveforms]
    found: list[list[Tensor]] = [[] for _ in streams]
    cuts = [list(pieces(waveform, 2000 + 300 * row)) for row, waveform in enumerate(waveforms)]
    for turn in range(max(map(len, cuts))):
        going = [row for row, parts in enumerate(cuts) if turn < len(parts)]
        ended = [row for row, parts in enumerate(cuts) if turn == len(parts)]
        for rows, results in (
            (going, accept_together([streams[row] for row in going], [cuts[row][turn] for row in going])),
            (ended, finish_together([streams[row] for row in ended])),
        ):
            for row, result in zip(rows, results, strict=True):
                found[row].append(result)
    for row, stream in enumerate(streams):
        if not stream.finished:
            found[row].append(stream.finish())
    for parts, waveform in zip(found, waveforms, strict=True):
        assert_same(torch.cat(parts), whole(model, waveform))


def test_two_interleaved_streams_do_not_mix() -> None:
    model = model_of(**ONE_WAY)
    waveforms = [babble(1.0, RATE, 8), babble(1.0, RATE, 9)]
    streams = [Stream(model, RATE), Stream(model, RATE)]
    found: list[list[Tensor]] = [[], []]
    for parts in zip(*(pieces(waveform, 1000) for waveform in waveforms), strict=True):
        for row, part in enumerate(parts):
            found[row].append(streams[row].accept(part))
    for row, waveform in enumerate(waveforms):
        assert_same(torch.cat([*found[row], streams[row].finish()]), whole(model, waveform))


def test_frames_come_as_soon_as_they_can_be_known() -> None:
    """Of a chunk of 160 ms with 80 ms behind it, the convolutions, and a window of 25 ms."""
    model, waveform = model_of(**CHUNKED), babble(1.0, RATE, 10)
    geometry = model.geometry
    last = geometry.inputs_of(0, 4 + 2)[1] - 1  # feature frames that 4 encoder frames and 2 behind them are made of
    needed = last * geometry.hop - geometry.edge + geometry.window
    stream = Stream(model, RATE)
    assert len(stream.accept(waveform[: needed - 1])) == 0
    assert len(stream.accept(waveform[needed - 1 : needed])) == 4


def test_a_long_piece_is_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, waveform = model_of(**CHUNKED), babble(3.0, RATE, 15)
    monkeypatch.setattr(streaming, "MAX_SECONDS", 0.7)
    taken: list[int] = []
    advance = streaming.advance_features

    def counted(frontend: Any, streams: Any, waveforms: Sequence[Tensor], ends: Any) -> list[Tensor]:
        taken.append(len(waveforms[0]))
        return advance(frontend, streams, waveforms, ends)

    monkeypatch.setattr(streaming, "advance_features", counted)
    assert_same(streamed(model, [waveform]), whole(model, waveform))
    assert max(taken) <= 0.7 * RATE + 1
    assert len(taken) == 6


def bytes_held(stream: Stream) -> int:
    """Return the memory behind the tensors of a stream, each with all that it is a part of."""
    encoder, features = stream.encoder, stream.features
    states = [tensor for state in encoder.states for tensor in state]
    tensors = [features.samples, features.moments, encoder.features, encoder.frames, encoder.shown, *states]
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def test_a_long_stream_keeps_no_more_than_a_short_one() -> None:
    stream = Stream(model_of(**CHUNKED), RATE)
    held = []
    for part in pieces(babble(20.0, RATE, 11), 1600):
        stream.accept(part)
        held.append(bytes_held(stream))
    assert max(held[100:]) <= max(held[:20])


@pytest.mark.parametrize("name", ["chunked", "one way with lookahead"])
def test_a_stream_that_waits_keeps_nothing_of_the_batch(name: str) -> None:
    model = model_of(**ENCODERS[name])
    alone, *others = [Stream(model, RATE) for _ in range(21)]
    waveform = babble(1.0, RATE, 11)
    alone.accept(waveform)
    accept_together(others, [waveform] * 20)
    assert bytes_held(others[3]) <= 1.1 * bytes_held(alone)


@pytest.mark.parametrize(
    ("feed", "error", "says"),
    [
        (
            lambda stream: stream.accept([0.0, np.nan]),
            DataError,
            r"piece from 0\.500 s on holds NaN or infinite samples, the first at sample 1",
        ),
        (lambda stream: stream.accept(np.zeros(9), 8000), UsageError, "began at 1000 Hz and goes on at 8000 Hz"),
        (lambda stream: stream.accept(np.zeros((2, 9))), DataError, r"shape \(2, 9\)"),
        (lambda stream: stream.accept(np.zeros(9, np.int16)), DataError, "piece from 0.500 s on is int16"),
    ],
)
def test_what_cannot_follow_is_refused_and_changes_nothing(
    feed: Callable[[Stream], Any], error: type[Exception], says: str
) -> None:
    model, waveform = model_of(**CHUNKED), babble(1.0, 1000, 12)
    stream = Stream(model, 1000)
    found = [stream.accept(waveform[:500])]
    with pytest.raises(error, match=says):
        feed(stream)
    assert_same(
        torch.cat([*found, stream.accept(waveform[500:]), stream.finish()]),
        whole(model, resample(waveform, 1000, RATE)),
    )


def test_a_finished_stream_takes_no_more() -> None:
    stream = Stream(model_of(**CHUNKED), RATE)
    stream.finish()
    for call in (stream.finish, lambda: stream.accept(np.zeros(5))):
        with pytest.raises(UsageError, match="the stream is finished"):
            call()


def test_streams_that_cannot_step_together_are_refused_and_unchanged() -> None:
    stream, other = Stream(model := model_of(**CHUNKED), RATE), Stream(model_of(**ONE_WAY), RATE)
    waveform = babble(1.0, RATE, 15)
    for streams, says in (([stream, stream], "a stream is given twice"), ([stream, other], "must be of one model")):
        with pytest.raises(UsageError, match=says):
            accept_together(streams, [waveform, waveform])
        with pytest.raises(UsageError, match=says):
            finish_together(streams)
    assert_same(torch.cat([stream.accept(waveform), stream.finish()]), whole(model, waveform))


def test_an_error_in_between_breaks_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(model_of(**CHUNKED), RATE)

    def fails(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("asr.streaming.advance_encoder", fails)
        with pytest.raises(RuntimeError):
            stream.accept(babble(1.0, RATE, 16))
    for call in (stream.finish, lambda: stream.accept(np.zeros(5))):
        with pytest.raises(UsageError, match="an error broke the stream"):
            call()


def test_tensors_and_whole_rates_of_any_kind_are_taken() -> None:
    model, waveform = model_of(**CHUNKED), babble(1.0, RATE, 17)
    stream = Stream(model, float(RATE))
    parts = [stream.accept(torch.from_numpy(waveform[:8000]).requires_grad_()), stream.accept(waveform[8000:])]
    assert_same(torch.cat([*parts, stream.finish()]), whole(model, waveform))
    assert Stream(model, RATE).accept(torch.zeros(9, dtype=torch.bfloat16)).shape == (0, 12)
    for rate in (16000.5, float("nan"), "16000"):
        with pytest.raises(UsageError, match="give a whole number of samples a second"):
            Stream(model, rate)  # type: ignore[arg-type]


def test_a_stream_of_nothing_says_nothing() -> None:
    assert Stream(model_of(**CHUNKED), RATE).finish().shape == (0, 12)


@pytest.mark.parametrize(
    ("normalization", "encoder", "says"),
    [("running", {}, r"offline.*an4-live.*docs/lstm.md"), ("utterance", CHUNKED, "normalization=running")],
)
def test_a_model_that_cannot_stream_says_what_to_use(normalization: str, encoder: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Stream(model_of(normalization, **encoder), RATE)


@pytest.mark.parametrize("name", ["chunked", "one way with lookahead"])
def test_a_long_recording_is_read_on_without_windows(name: str) -> None:
    model, waveform = model_of(**ENCODERS[name]), babble(9.0, RATE, 13)
    whole_transcript = Recognizer(model).transcribe(waveform, RATE)
    config = RecognizerConfig(whole_seconds=2.0, window_seconds=1.0, context_seconds=0.2)
    found = Recognizer(model, config=config).transcribe(waveform, RATE)
    assert found.text == whole_transcript.text
    assert [(word.start, word.end) for word in found.words] == [(w.start, w.end) for w in whole_transcript.words]
    assert found.score == pytest.approx(whole_transcript.score, abs=1e-3)


def test_a_model_sees_what_it_is_told_to() -> None:
    model, waveform = model_of(**CHUNKED), babble(1.5, RATE, 14)
    before = whole(model, waveform)
    model.see(320, 160)
    assert (model.encoder.context, model.config.encoder.chunk_ms) == (Context(8, 4), 320)
    assert (whole(model, waveform) - before).abs().max() > 0.01
    assert_same(streamed(model, list(pieces(waveform, 700))), whole(model, waveform))
    model.see(0, 0)
    with pytest.raises(UsageError, match="offline"):
        Stream(model, RATE)
    model.see(160, 80)
    assert torch.equal(whole(model, waveform), before)
    with pytest.raises(UsageError, match="trained on whole recordings and mishears chunks"):
        model_of().see(320, 0)
    with pytest.raises(UsageError, match="this model reads in one direction, without chunks; leave it out"):
        model_of(**ONE_WAY).see(320, 0)
    model.see(320)
    assert model.encoder.context == Context(8, 2), "the right context stays"
    model.see(0)
    assert model.encoder.context == WHOLE
