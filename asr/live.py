"""A stream of audio → utterances, each with what is heard of it so far and, after a silence, its transcript."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from asr.audio.resample import Waveform
from asr.decoding.endpoint import EndpointConfig, utterance_end
from asr.decoding.greedy import GreedyReader
from asr.nn.ctc import BLANK_ID
from asr.recognizer import Recognizer, Transcript
from asr.streaming import Stream

if TYPE_CHECKING:
    from torch import Tensor

_QUIET = 1e-10  # power below which nothing is heard, -100 dB of full scale


@dataclass(frozen=True, slots=True)
class Event:
    """What is known of an utterance.

    Attributes:
        kind: partial: heard so far, by the best path, it may still change; final: by the recogniser's reader.
        transcript: times in seconds from the start of the stream; duration is the length of the utterance.
        start: where the utterance begins, in seconds from the start of the stream.
    """

    kind: Literal["partial", "final"]
    transcript: Transcript
    start: float


class LiveRecognizer:
    """Recognises one stream: accept(waveform) any number of times, then finish() once."""

    def __init__(self, recognizer: Recognizer, sample_rate: int, endpoint: EndpointConfig | None = None) -> None:
        """Start a stream of audio at `sample_rate` Hz.  Raises: UsageError for a model that cannot stream."""
        self.recognizer = recognizer
        self.endpoint = endpoint or EndpointConfig()
        self.stream = Stream(recognizer.model, sample_rate)
        self._partial = recognizer.with_reader(GreedyReader())
        geometry = recognizer.model.geometry
        self._frame_seconds = geometry.encoder_hop / geometry.sample_rate
        self._early = round(-geometry.encoder_frame_start(0) / self._frame_seconds)  # frames in the edge
        self._log_probs: list[Tensor] = []  # of the utterance
        self._first = 0  # encoder frame at which it begins
        self._loudness = _Loudness(sample_rate, self._frame_seconds)
        self._shown = ""

    def accept(self, waveform: ArrayLike, sample_rate: int | None = None) -> list[Event]:
        """Return what is new: utterances that are over, then what is heard of the next one if that has changed.

        Raises: as `Stream.accept`.
        """
        checked, size = self.stream.check(waveform, sample_rate), self.stream.sample_rate
        events: list[Event] = []
        for first in range(0, len(checked), size):  # a second at a time: an hour may be handed over in one piece
            piece = checked[first : first + size]
            self._loudness.hear(piece)
            events = [event for event in events if event.kind == "final"] + self._hear(self.stream.accept(piece))
        return events

    def finish(self) -> list[Event]:
        """Return the utterances that were not over, if anything was said in them.  Raises: as `Stream.finish`."""
        events = self._hear(self.stream.finish(), partial=False)
        last = self._event("final", self.recognizer, self._joined())
        return [*events, last] if last.transcript.text else events

    def _hear(self, log_probs: "Tensor", *, partial: bool = True) -> list[Event]:
        if not len(log_probs):
            return []
        self._log_probs.append(log_probs.cpu())
        events = []
        while (end := self._end()) is not None:
            events.append(self._event("final", self.recognizer, self._joined()[:end]))
            self._shown = ""
            self._forget(end)
        self._forget_silence()
        if partial:
            event = self._event("partial", self._partial, self._joined())
            if event.transcript.text != self._shown:
                self._shown = event.transcript.text
                events.append(event)
        return [event for event in events if event.kind == "partial" or event.transcript.text]

    def _joined(self) -> "Tensor":
        if len(self._log_probs) > 1:
            self._log_probs = [torch.cat(self._log_probs)]
        return self._log_probs[0] if self._log_probs else torch.zeros(0, self.recognizer.model.tokenizer.size)

    def _end(self) -> int | None:
        """Return the frame at which the utterance is over, counted from its first; None: it goes on."""
        tokens = _tokens(self._joined())
        power = self._loudness.of(self._first - self._early, len(tokens))
        return utterance_end(tokens, power, self.endpoint, self._frame_seconds)

    def _event(self, kind: Literal["partial", "final"], recognizer: Recognizer, heard: "Tensor") -> Event:
        """Return what a recogniser makes of the first frames of the utterance."""
        begin = self._first * self._frame_seconds
        duration = max(0.0, min(len(heard) * self._frame_seconds, self.stream.seconds - begin))
        (kept,) = recognizer.reader.hear(heard.unsqueeze(0), torch.tensor([len(heard)]))
        transcript = recognizer.transcript_of(kept, duration)
        words = tuple(replace(word, start=word.start + begin, end=word.end + begin) for word in transcript.words)
        tokens = tuple(replace(token, start=token.start + begin, end=token.end + begin) for token in transcript.tokens)
        return Event(kind, replace(transcript, words=words, tokens=tokens), begin)

    def _forget(self, count: int) -> None:
        """Let go of the first frames."""
        self._log_probs = [self._joined()[count:]]
        self._first += count
        self._loudness.forget(self._first - self._early)

    def _forget_silence(self) -> None:
        """Let go of blanks before an utterance begins, but for half of what would end one."""
        kept = round(self.endpoint.silence_ms / 2000 / self._frame_seconds)
        tokens = _tokens(self._joined())
        before = int(tokens.argmax()) if tokens.any() else len(tokens)
        if before > kept:
            self._forget(before - kept)


class _Loudness:
    """The power of a stream, an encoder frame at a time."""

    def __init__(self, sample_rate: int, frame_seconds: float) -> None:
        self._samples_of_frame = sample_rate * frame_seconds
        self._rest = np.zeros(0, np.float32)
        self._power: list[float] = []
        self._first = 0  # frame of the first power
        self._begin = 0  # sample of the first one in the rest

    def hear(self, waveform: Waveform) -> None:
        """Add samples (S,)."""
        self._rest = np.concatenate([self._rest, waveform])
        while True:
            number = self._first + len(self._power)
            begin, end = (round(edge * self._samples_of_frame) - self._begin for edge in (number, number + 1))
            if end > len(self._rest):
                break
            self._power.append(float(np.square(self._rest[begin:end], dtype=np.float64).mean()))
            self._rest, self._begin = self._rest[end:], self._begin + end

    def of(self, first: int, count: int) -> NDArray[np.float64]:
        """Return the power of frames, (count,); where there is no audio, that of silence."""
        numbers = range(first - self._first, first - self._first + count)
        known = range(len(self._power))
        return np.array([self._power[number] if number in known else 0.0 for number in numbers]) + _QUIET

    def forget(self, first: int) -> None:
        """Let go of the frames before one."""
        count = min(max(0, first - self._first), len(self._power))
        del self._power[:count]
        self._first += count


def _tokens(log_probs: "Tensor") -> NDArray[np.bool_]:
    """Return (E,) bool, True where something else than the blank is most likely."""
    tokens: NDArray[np.bool_] = (log_probs.argmax(-1) != BLANK_ID).numpy()
    return tokens
