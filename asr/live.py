"""A stream of audio → utterances, each with what is heard of it so far and, after a silence, its transcript."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from asr.audio.resample import Waveform
from asr.decoding.endpoint import EndpointConfig, utterance_end
from asr.decoding.greedy import GreedyReader, best_paths, collapse, join_paths
from asr.nn.ctc import BLANK_ID
from asr.recognizer import Recognizer, Transcript
from asr.streaming import Stream

if TYPE_CHECKING:
    from torch import Tensor

_QUIET = 1e-10  # power below which nothing is heard, -100 dB of full scale
# Whether an utterance is over is asked so often in the stream's own time, not when pieces happen to end: in seconds,
# and two chunks of the bundled model at once, which cost less than one after the other.
_SETTLED_EVERY = 0.3


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
    """Recognises one stream: accept(waveform) any number of times, then finish() once.

    Where utterances end and what is heard in them does not depend on how the stream is cut into pieces.  For
    push-to-talk take one for each push: `finish()` says all that was heard, and a new one costs next to nothing.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        sample_rate: float,
        endpoint: EndpointConfig | None = None,
        *,
        partials: bool = True,
    ) -> None:
        """Start a stream.

        Args:
            sample_rate: of what it hears, in Hz.
            partials: whether to tell what is heard of an utterance that is not over.
        Raises: UsageError for a model that cannot stream.
        """
        self.recognizer = recognizer
        self._partials = partials
        self.endpoint = endpoint or EndpointConfig()
        self.stream = Stream(recognizer.model, sample_rate)
        self._greedy = recognizer.with_reader(GreedyReader())
        self._searches = not isinstance(recognizer.reader, GreedyReader)
        self._geometry = recognizer.model.geometry
        self._frame_seconds = self._geometry.encoder_hop / self._geometry.sample_rate
        self._early = round(-self._geometry.encoder_frame_start(0) / self._frame_seconds)  # frames in the edge
        self._settled_every = max(1, round(_SETTLED_EVERY * self.stream.sample_rate))
        self._path = join_paths([])  # the best path of the utterance
        self._log_probs: list[Tensor] = []  # of the utterance, for a reader that searches
        self._first = 0  # encoder frame at which it begins
        self._loudness = _Loudness(self.stream.sample_rate, self._frame_seconds)
        self._shown = ""
        self._collapsed: list[int] = []  # the tokens of what was last looked at, to be shown

    def accept(self, waveform: ArrayLike, sample_rate: int | None = None) -> list[Event]:
        """Return what is new: utterances that are over, then what is heard of the next one if that has changed.

        Raises: as `Stream.accept`.
        """
        rest = self.stream.check(waveform, sample_rate)
        events: list[Event] = []
        is_new = False
        while len(rest):
            size = self._settled_every - self.stream.num_samples % self._settled_every
            piece, rest = rest[:size], rest[size:]
            self._loudness.hear(piece)
            is_new |= self._hear(self.stream.accept(piece))
            if len(piece) == size:
                events += self._settle()
        return [*events, *self._partial()] if is_new and self._partials else events

    def finish(self) -> list[Event]:
        """Return the utterances that were not over, if anything was said in them.  Raises: as `Stream.finish`."""
        self._hear(self.stream.finish())
        events = self._settle()
        return events + self._final(len(self._path.token_ids))

    def _hear(self, log_probs: "Tensor") -> bool:
        """Add what is known now, and return whether it is anything."""
        if not len(log_probs):
            return False
        (path,) = best_paths(log_probs.unsqueeze(0), torch.tensor([len(log_probs)]))
        self._path = join_paths([self._path, path])
        if self._searches:
            self._log_probs.append(log_probs.cpu())
        return True

    def _settle(self) -> list[Event]:
        """Return the utterances that are over, and let go of silence."""
        events = []
        while (end := self._end()) is not None:
            events += self._final(end)
        self._forget_silence()
        return events

    @property
    def _tokens(self) -> NDArray[np.bool_]:
        """(E,), True where something else than the blank is most likely."""
        tokens: NDArray[np.bool_] = self._path.token_ids != BLANK_ID
        return tokens

    def _end(self) -> int | None:
        """Return the frame at which the utterance is over, counted from its first; None: it goes on."""
        tokens = self._tokens
        power = self._loudness.of(self._first - self._early, len(tokens))
        return utterance_end(tokens, power, self.endpoint, self._frame_seconds)

    def _partial(self) -> list[Event]:
        """Return what is heard so far, if that has changed."""
        collapsed = [span.token_id for span in collapse(self._path)]
        if collapsed == self._collapsed:
            return []
        self._collapsed = collapsed
        event = self._event("partial")
        if event.transcript.text == self._shown:
            return []
        self._shown = event.transcript.text
        return [event]

    def _final(self, end: int) -> list[Event]:
        """Return the final of the frames before one and let go of them; none if nothing was said or shown of it.

        Blanks are nothing said, whatever a search makes of them: a grammar has a best phrase for silence, too.
        """
        events = []
        if self._shown or self._tokens[:end].any():
            event = self._event("final", end)
            events = [event] if event.transcript.text or self._shown else []
        self._shown, self._collapsed = "", []
        self._forget(end)
        return events

    def _event(self, kind: Literal["partial", "final"], end: int | None = None) -> Event:
        """Return what the recogniser, of a partial the best path, makes of it before a frame; None: of all of it."""
        path = self._path[:end]
        begin, count = self._first * self._frame_seconds, len(path.token_ids)
        duration = max(0.0, min(count * self._frame_seconds, self.stream.seconds - begin))
        recognizer, kept = self._greedy if kind == "partial" else self.recognizer, path
        if kind == "final" and self._searches:
            (kept,) = recognizer.reader.hear(self._joined()[:end].unsqueeze(0), torch.tensor([count]))
        start = max(0.0, self._geometry.encoder_frame_start(self._first))
        return Event(kind, recognizer.transcript_of(kept, duration, self._first), start)

    def _joined(self) -> "Tensor":
        if len(self._log_probs) > 1:
            self._log_probs = [torch.cat(self._log_probs)]
        return self._log_probs[0] if self._log_probs else torch.zeros(0, self.recognizer.model.tokenizer.size)

    def _forget(self, count: int) -> None:
        """Let go of the first frames."""
        self._path = self._path[count:]
        if self._searches:
            self._log_probs = [self._joined()[count:].clone()]
        self._first += count
        self._loudness.forget(self._first - self._early)

    def _forget_silence(self) -> None:
        """Let go of blanks before an utterance begins, but for half of what would end one.

        So does the normaliser: after an hour of silence or noise, speech is heard as it is after a moment of it.
        """
        kept = round(self.endpoint.silence_ms / 2000 / self._frame_seconds)
        tokens = self._tokens
        before = int(tokens.argmax()) if tokens.any() else len(tokens)
        if before > kept:
            self._forget(before - kept)
            self.stream.forget(kept * self._frame_seconds)


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
