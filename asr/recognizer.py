"""Waveforms and files -> transcripts.

Short recordings are batched by length; long ones go in windows with context on both sides.  What the model
says of a window's context is thrown away, the kept parts are joined frame by frame and read as one sequence,
so no word is doubled or lost at a border; for the best path only two numbers a frame are kept.  A model that normalises
features over the utterance normalises windows over the whole recording, which is then read twice.  A model that
streams needs no windows: it reads on.
"""

import importlib.resources
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from asr.audio.files import open_blocks
from asr.audio.resample import Waveform, resample
from asr.audio.source import AudioSource
from asr.audio.waveforms import as_samples, waveform_fault
from asr.config import Config
from asr.decoding.calibration import Calibration
from asr.decoding.confidence import mean_confidence, mean_posterior
from asr.decoding.greedy import GreedyReader, Reading, hypothesis_from_path
from asr.decoding.hypothesis import Candidate, Token, Word
from asr.decoding.nbest import distinct_texts
from asr.decoding.times import tokens_from_spans
from asr.errors import DataError, InputError, MachineError, UsageError, did_you_mean
from asr.receipts import cores
from asr.text.tokenizer import named_characters
from asr.units import FrameGeometry, Seconds

if TYPE_CHECKING:
    from torch import Tensor

    from asr.decoding.searching import LogProbs
    from asr.features.normalization import Moments
    from asr.model import AcousticModel

SUFFIX = ".safetensors"
# An LSTM of oneDNN takes six times as long for two rows as for one (measured, AVX-512), and wins from eight on.
CPU_MIN_ROWS = 8
MAX_POOL_FILES = 512  # files sorted by length together: the first transcript waits for no more than these

Progress = Callable[[int, int | None, float], None]
Item = TypeVar("Item")


class RecognizerConfig(Config):
    """How audio is cut and batched; none of it changes what a short recording's transcript says."""

    batch_seconds: float = Field(
        default=60.0, gt=0, description="audio of a batch of short files, padding included, seconds"
    )
    pool_seconds: float = Field(default=1200.0, gt=0, description="files sorted by length together, seconds of audio")
    whole_seconds: float = Field(default=60.0, gt=0, description="longer recordings go in windows, seconds")
    window_seconds: float = Field(default=30.0, gt=0, description="kept part of a window, seconds")
    context_seconds: float = Field(
        default=4.0, ge=0, description="heard and thrown away on each side of a window, seconds"
    )
    window_batch: int = Field(default=1, ge=1, description="windows computed at once; on CPU 1 is fast and smallest")


class Reader(Protocol):
    """Turns log-probs into a path: `GreedyReader`, `SearchReader` (language model, hotwords) or `GivenTextReader`.

    What it hears of a recording can be sliced by frames.
    """

    def hear(self, log_probs: "Tensor", lengths: "Tensor") -> Sequence[Any]:
        """Return what is kept of log-probs (B, E, V), for each utterance."""

    def join(self, parts: Sequence[Any]) -> Any:
        """Return consecutive parts of one recording as one."""

    def read(self, heard: Any) -> Reading:
        """Return what is read, and its score."""


class Recording(Protocol):
    """Something to transcribe, wherever its audio comes from.  Both methods raise DataError as `read_audio`."""

    def measure(self) -> Seconds:
        """Return its length as its header says it."""

    def read(self, sample_rate: int) -> Waveform:
        """Return its waveform (S,) at `sample_rate` in Hz."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was recognised.

    Attributes:
        words: with times in seconds from the start of what was transcribed, and confidence in [0, 1].
        tokens: that spell them, spaces among them, with times and confidence.
        duration: of the audio, in seconds.
        score: natural log-probability of the best path, or what the search maximised.
        warnings: one line each; empty if nothing looks wrong.
        confidence: the probability that the text holds no error, where the model's calibration knows it; otherwise
            the mean over words of their confidence before any calibration; None without words.
        posterior: mean posterior of the words' frames (`mean_posterior`), which tells the domain; None without words.
        nbest: the best texts, the first being `text`, where a search was asked for them (`SearchReader`).
        is_strange: whether it looks unlike what the model knows.
    """

    text: str
    words: tuple[Word, ...]
    duration: Seconds
    score: float
    warnings: tuple[str, ...] = ()
    confidence: float | None = None
    posterior: float | None = None
    nbest: tuple[Candidate, ...] = ()
    tokens: tuple[Token, ...] = ()
    is_strange: bool = False

    def row(self, *, tokens: bool = False) -> dict[str, object]:
        """Return what JSON Lines files hold of it (docs/formats.md): times in whole milliseconds.

        Args: tokens: whether the tokens are listed, too.
        """
        row: dict[str, object] = {
            "text": self.text,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "words": [{"word": word.word, **_time_row(word)} for word in self.words],
            "score": round(self.score, 4),
            "duration": round(self.duration, 3),
        }
        if tokens:
            row["tokens"] = [{"token": token.token, **_time_row(token)} for token in self.tokens]
        if self.nbest:
            row["nbest"] = [_candidate_row(candidate) for candidate in self.nbest]
        return row


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of a recording; of its encoder frames the first `skip` are context, then `keep` are kept."""

    waveform: Waveform
    skip: int
    keep: int | None  # None: all to the end


class Recognizer:
    """A model that is ready to transcribe."""

    def __init__(
        self,
        model: "AcousticModel",
        *,
        device: str = "cpu",
        config: RecognizerConfig | None = None,
        reader: Reader | None = None,
    ) -> None:
        """Take over `model`: it is put into evaluation mode on `device`.

        Args: reader: of the model's log-probs; without one the best path is read.
        Raises: UsageError for a device that torch does not know; MachineError for one that is not there; DataError
            for a calibration that is none.
        """
        self.device = _device(device)
        self.model = model.eval().to(self.device)
        self.config = config or RecognizerConfig()
        self.reader = reader or GreedyReader()
        self.calibration = Calibration.stored(model.notes.calibration)

    @staticmethod
    def load(model: str | Path, *, device: str = "cpu", config: RecognizerConfig | None = None) -> "Recognizer":
        """Return the recogniser of a bundled model's name, a model file or a run folder.

        Raises: DataError if there is no such model or the file is none; otherwise as the constructor.
        """
        path = resolve_model(model)
        from asr.model import AcousticModel

        return Recognizer(AcousticModel.load(path), device=device, config=config)

    def with_reader(self, reader: Reader) -> "Recognizer":
        """Return a recogniser of the same model that reads its log-probs by another reader."""
        other = copy(self)
        other.reader = reader
        return other

    def transcribe(
        self,
        audio: "str | Path | AudioSource | ArrayLike",
        sample_rate: int | None = None,
        *,
        channel: int | None = None,
    ) -> Transcript:
        """Return the transcript of a file, or of a waveform with its sample rate.

        Longer recordings than `whole_seconds` go in windows.

        Args:
            audio: a path, or (S,) floats in [-1, 1].
            sample_rate: of the waveform, in Hz; for files it is read from the file.
            channel: of a file, counted from 0; None mixes all channels.
        Raises: DataError if the audio cannot be read, is empty or holds NaN; UsageError for a wrong call.
        """
        if isinstance(audio, (str, Path, AudioSource)):
            if sample_rate is not None:
                raise UsageError("sample_rate goes with a waveform; a file holds its own")
            source = as_source(audio, channel)
            return self._transcribe_source(source, source.measure(), lambda seconds: None)
        if channel is not None or sample_rate is None:
            raise UsageError("a waveform needs sample_rate and has one channel; give audio[:, channel], sample_rate")
        waveform = resample(_checked_waveform(audio), sample_rate, self.model.sample_rate)
        return self._transcribe_waveform(waveform, lambda seconds: None)

    def align(
        self,
        audio: "str | Path | AudioSource | ArrayLike",
        text: str,
        sample_rate: int | None = None,
        *,
        channel: int | None = None,
    ) -> Transcript:
        """Return where a text that is known lies in a file or waveform: its words and tokens with their times.

        Hours can be aligned; the score is the natural log-probability of the most probable path that spells the text.

        Args: text: what is said; normalised as the model's texts are.  audio, sample_rate, channel: as `transcribe`.
        Raises: as `transcribe`; DataError for a text that is empty, holds characters that the model cannot write, or is
            too long for the audio.
        """
        return self.with_reader(self._given_text(text)).transcribe(audio, sample_rate, channel=channel)

    def align_files(
        self, files: "Iterable[str | Path | Recording]", texts: Iterable[str], *, progress: Progress | None = None
    ) -> Iterator[Transcript | InputError]:
        """Yield where each text lies in its file, in the order given; what `align` would raise is yielded in its place.

        Args: progress: as `transcribe_files`.
        Raises: UsageError if there are not as many texts as files.
        """
        sources, given = list(files), list(texts)
        if len(sources) != len(given):
            raise UsageError(f"{len(given)} texts for {len(sources)} files; give one each")
        readers = [_caught(self._given_text, text) for text in given]
        hearing = next((reader for reader in readers if not isinstance(reader, InputError)), self.reader)
        yield from self.with_reader(hearing)._results(list(zip(sources, readers, strict=True)), progress)

    def _given_text(self, text: str) -> Reader:
        """Return the reader of a text.  Raises: DataError if it cannot be spelled."""
        from asr.decoding.given_text import GivenTextReader

        tokenizer = self.model.tokenizer
        if tokenizer.lexicon is None and (strange := tokenizer.unknown(text)):
            raise DataError(
                f"the text holds {named_characters(strange)}, which the model cannot write; spell it as the model's"
                " texts are spelled (asr info lists the tokens)"
            )
        token_ids = tokenizer.encode(text)
        if not token_ids:
            raise DataError("the text is empty: there is nothing to align; write what is said")
        return GivenTextReader(token_ids)

    def transcribe_files(
        self,
        files: "Iterable[str | Path | Recording]",
        *,
        progress: Progress | None = None,
    ) -> Iterator[Transcript | InputError]:
        """Yield a transcript for each file, in the order given; for a file that cannot be read, its error.

        Args: progress: called with (files done, files in all, seconds of audio done).
        """
        yield from self._results([(file, self.reader) for file in files], progress)

    def _results(
        self, files: "Sequence[tuple[str | Path | Recording, Reader | InputError]]", progress: Progress | None
    ) -> Iterator[Transcript | InputError]:
        """Yield what the reader of each file makes of it; all of them hear alike.  An error is yielded as it is."""
        tracker = _Tracker(len(files), progress)
        for pool in _pools(files, self.config.pool_seconds):
            results: dict[int, Transcript | InputError] = {}
            waiting = iter(range(len(pool)))
            upcoming = next(waiting, None)
            for index, result in self._transcribe_pool(pool, tracker):
                results[index] = result
                while upcoming in results:
                    tracker.finish()
                    yield results.pop(upcoming)
                    upcoming = next(waiting, None)

    def log_probs(
        self, files: "Iterable[str | Path | Recording]", *, progress: Progress | None = None
    ) -> "Iterator[LogProbs | InputError]":
        """Yield the log-probs (E, V) of each file, as `transcribe_files` yields transcripts: to tune a search."""
        from asr.decoding.searching import SearchReader

        hearing = _Hearing(self.model, device=self.device, config=self.config, reader=SearchReader())
        yield from hearing.transcribe_files(files, progress=progress)  # type: ignore[misc]

    def _transcribe_pool(
        self, pool: "Sequence[_Measured]", tracker: "_Tracker"
    ) -> Iterator[tuple[int, Transcript | InputError]]:
        """Yield (position in the pool, result): the unreadable, then the short in batches, then the long."""
        for index, item in enumerate(pool):
            if isinstance(item.seconds, InputError):
                yield index, item.seconds
        whole = self.config.whole_seconds
        seconds = {index: item.seconds for index, item in enumerate(pool) if not isinstance(item.seconds, InputError)}
        short = [index for index in sorted(seconds, key=lambda index: seconds[index]) if seconds[index] <= whole]
        min_rows = CPU_MIN_ROWS if self.device == "cpu" else 1
        batches = _batches(short, seconds, self.config.batch_seconds, min_rows)
        for batch, read in _prefetched((batch, [self._read(pool[index]) for index in batch]) for batch in batches):
            yield from self._transcribe_batch(batch, read, pool, tracker)
        for index in (index for index in seconds if seconds[index] > whole):
            yield index, self._long_result(pool[index], tracker)

    def _transcribe_batch(
        self,
        batch: Sequence[int],
        read: "Sequence[Waveform | InputError]",
        pool: "Sequence[_Measured]",
        tracker: "_Tracker",
    ) -> Iterator[tuple[int, Transcript | InputError]]:
        good = [(index, audio) for index, audio in zip(batch, read, strict=True) if not isinstance(audio, InputError)]
        yield from ((index, audio) for index, audio in zip(batch, read, strict=True) if isinstance(audio, InputError))
        heard = self._heard([audio for _, audio in good])
        durations = [len(audio) / self.model.sample_rate for _, audio in good]
        readers = [self.with_reader(pool[index].reader) for index, _ in good]
        with ThreadPoolExecutor(cores(), thread_name_prefix="asr-search") as threads:
            results = threads.map(
                lambda reader, *given: _caught(reader.transcript_of, *given), readers, heard, durations
            )
            for (index, _), duration, result in zip(good, durations, results, strict=True):
                tracker.hear(duration)
                yield index, result

    def _long_result(self, item: "_Measured", tracker: "_Tracker") -> Transcript | InputError:
        assert not isinstance(item.seconds, InputError)
        return _caught(self.with_reader(item.reader)._transcribe_source, item.source, item.seconds, tracker.hear)

    def _read(self, item: "_Measured") -> Waveform | InputError:
        return _caught(item.source.read, self.model.sample_rate)

    def _transcribe_source(self, source: Recording, seconds: Seconds, hear: Callable[[float], None]) -> Transcript:
        if isinstance(source, AudioSource) and source.is_whole_file and seconds > self.config.whole_seconds:
            block_seconds = self.config.window_seconds
            return self._transcribe_blocks(
                lambda: open_blocks(source.path, block_seconds, self.model.sample_rate, source.channel), hear
            )
        return self._transcribe_waveform(source.read(self.model.sample_rate), hear)

    def _transcribe_waveform(self, waveform: Waveform, hear: Callable[[float], None]) -> Transcript:
        duration = len(waveform) / self.model.sample_rate
        if duration > self.config.whole_seconds:
            step = int(self.config.window_seconds * self.model.sample_rate) + 1
            pieces = [waveform[first : first + step] for first in range(0, len(waveform), step)]
            return self._transcribe_blocks(lambda: iter(pieces), hear)
        (heard,) = self._heard([waveform])
        hear(duration)
        return self.transcript_of(heard, duration)

    def _transcribe_blocks(
        self, open_again: Callable[[], Iterator[Waveform]], hear: Callable[[float], None]
    ) -> Transcript:
        """Return the transcript of consecutive blocks; memory holds a few windows and what the reader keeps."""
        if self.model.config.streams:
            return self._transcribe_stream(open_again(), hear)
        moments = self._moments(open_again()) if self.model.frontend.normalizer.kind == "utterance" else None
        counted = _Counted(open_again())
        parts: list[Any] = []
        seconds_heard = 0.0
        windows = _prefetched(_windows(counted, self.model.geometry, self.config))
        while batch := list(islice(windows, self.config.window_batch)):
            heard = self._heard([window.waveform for window in batch], moments)
            parts += [_kept(item, window) for item, window in zip(heard, batch, strict=True)]
            before, seconds_heard = seconds_heard, counted.num_samples / self.model.sample_rate
            hear(seconds_heard - before)
        return self.transcript_of(self.reader.join(parts), counted.num_samples / self.model.sample_rate)

    def _transcribe_stream(self, blocks: Iterator[Waveform], hear: Callable[[float], None]) -> Transcript:
        """Return the transcript of consecutive blocks by a model that streams: without windows, as of one call."""
        import torch

        from asr.streaming import Stream

        stream = Stream(self.model, self.model.sample_rate)
        parts: list[Any] = []

        def keep(log_probs: "Tensor") -> None:
            if len(log_probs):
                parts.extend(self.reader.hear(log_probs.unsqueeze(0), torch.tensor([len(log_probs)])))

        for block in _prefetched(blocks):
            keep(stream.accept(block))
            hear(len(block) / self.model.sample_rate)
        keep(stream.finish())
        return self.transcript_of(self.reader.join(parts), stream.seconds)

    def _heard(self, waveforms: Sequence[Waveform], moments: "Moments | None" = None) -> Sequence[Any]:
        """Return what the reader keeps of each waveform, computed as one batch."""
        import torch

        if not waveforms:
            return []
        with torch.inference_mode():
            log_probs, frames = self.model(*self._batch(waveforms), moments)
            return self.reader.hear(log_probs, frames)

    def _moments(self, blocks: Iterator[Waveform]) -> "Moments | None":
        """Return the moments of a recording's features, but for the few frames across two blocks."""
        import torch

        found = None
        for block in _prefetched(blocks):
            with torch.inference_mode():
                moments = self.model.frontend.moments(*self._batch([block]))
            found = moments if found is None else found + moments
        return found

    def _batch(self, waveforms: Sequence[Waveform]) -> "tuple[Tensor, Tensor]":
        """Return (waveform (B, S), lengths (B,)) on the device."""
        import torch

        lengths = [len(waveform) for waveform in waveforms]
        padded = np.zeros((len(waveforms), max(lengths)), np.float32)
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = waveform
        return torch.from_numpy(padded).to(self.device), torch.tensor(lengths, device=self.device)

    def transcript_of(self, heard: Any, duration: Seconds, first: int = 0) -> Transcript:
        """Return the transcript of what the reader has kept of audio of a duration.

        Args: first: encoder frame at which it begins in its recording, whose clock times are by.
        """
        reading = self.reader.read(heard)
        tokenizer, geometry, log_probs = self.model.tokenizer, self.model.geometry.later(first), reading.path.log_probs
        end = first * geometry.encoder_hop / geometry.sample_rate + duration
        hypothesis = hypothesis_from_path(reading.path, tokenizer, geometry, end)
        words, confidence = hypothesis.words, mean_confidence(hypothesis.words)
        if self.calibration is not None:
            words, confidence = self.calibration.judge_words(words), self.calibration.judge_utterance(confidence)
        posterior = mean_posterior(hypothesis.spans, log_probs, tokenizer)
        strange = self._domain_warnings(posterior)
        return Transcript(
            hypothesis.text,
            words,
            duration,
            reading.score,
            (*reading.path.warnings, *strange),
            confidence,
            posterior,
            distinct_texts(reading.answers, tokenizer, reading.nbest),
            tuple(tokens_from_spans(hypothesis.spans, log_probs, tokenizer, geometry, end)),
            is_strange=bool(strange),
        )

    def _domain_warnings(self, posterior: float | None) -> tuple[str, ...]:
        least = (self.model.notes.domain or {}).get("min_confidence")
        if least is None or posterior is None or posterior >= least:
            return ()
        return (f"looks unlike what this model knows (mean posterior {posterior:.2f} < {least:.2f}): see asr info",)


class _Hearing(Recognizer):
    """A recogniser that stops before it reads."""

    def transcript_of(self, heard: Any, duration: Seconds, first: int = 0) -> Any:
        """Return what was heard."""
        return heard


def _time_row(item: Word | Token) -> dict[str, object]:
    return {"start": round(item.start, 3), "end": round(item.end, 3), "confidence": round(item.confidence, 4)}


def _candidate_row(candidate: Candidate) -> dict[str, object]:
    return {
        "text": candidate.text,
        "score": round(candidate.score, 4),
        "acoustic_score": round(candidate.acoustic_score, 4),
        "lm_score": round(candidate.lm_score, 4),
    }


def as_source(file: "str | Path | AudioSource", channel: int | None = None) -> AudioSource:
    """Return a file as the source of all of it."""
    return file if isinstance(file, AudioSource) else AudioSource(Path(file), channel=channel)


def bundled_models() -> dict[str, Path]:
    """Return the models that come with the package, by name."""
    folder = importlib.resources.files("asr").joinpath("models")
    if not folder.is_dir():
        return {}
    files = [file for file in folder.iterdir() if file.name.endswith(SUFFIX)]
    return {file.name.removesuffix(SUFFIX): Path(str(file)) for file in sorted(files, key=lambda file: file.name)}


def bundled_sample() -> Path:
    """Return the recording that comes with the package.  Raises: DataError if the package lacks it."""
    path = Path(str(importlib.resources.files("asr").joinpath("models", "sample.flac")))
    if not path.is_file():
        raise DataError(f"{path}: the bundled sample is missing; install the package again, or give files")
    return path


def resolve_model(model: str | Path) -> Path:
    """Return the file of a bundled model's name, a model file or a run folder; a name goes before a file.

    Raises: DataError if there is none.
    """
    bundled = bundled_models()
    if str(model) in bundled:
        return bundled[str(model)]
    path = Path(model)
    if os.path.isdir(path):  # where Path.is_dir raises errors of names that are too long
        file = path / f"model{SUFFIX}"
        if not file.is_file():
            raise DataError(f"{path}: a folder without model{SUFFIX}; finish the run, or give one of its checkpoints")
        return file
    if os.path.exists(path):
        return path
    if path.suffix or len(path.parts) > 1:
        raise DataError(f"{path}: no such model file or run folder; check the path")
    raise DataError(f"'{model}': neither a bundled model, a file nor a run folder{did_you_mean(str(model), bundled)}")


def _device(name: str) -> str:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device '{name}': not one that torch knows; use cpu, cuda or cuda:N") from None
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise MachineError(f"device '{name}': torch sees {count} GPUs here; use cpu, or see asr doctor")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise MachineError(f"device '{name}': this machine has none; use cpu")
    return name


def _checked_waveform(audio: "ArrayLike") -> Waveform:
    waveform = as_samples(audio)
    fault = waveform_fault(waveform) or ("has no samples; give at least one sample" if len(waveform) == 0 else None)
    if fault:
        raise DataError(f"waveform {fault}")
    checked: Waveform = waveform.astype(np.float32, copy=False)
    return checked


class _Counted:
    """Blocks of a waveform as they pass, counting their samples."""

    def __init__(self, blocks: Iterator[Waveform]) -> None:
        self._blocks = blocks
        self.num_samples = 0

    def __iter__(self) -> Iterator[Waveform]:
        for block in self._blocks:
            self.num_samples += len(block)
            yield block


def _windows(blocks: Iterable[Waveform], geometry: FrameGeometry, config: RecognizerConfig) -> Iterator[_Window]:
    """Cut consecutive blocks into windows that start on multiples of the encoder hop.

    So the frames of a window coincide with those of the whole recording.  The window that reaches the end
    keeps all that is left: there is never a window too short to understand.
    """
    hop = geometry.encoder_hop
    keep = max(1, int(config.window_seconds * geometry.sample_rate / hop))
    context = ceil(config.context_seconds * geometry.sample_rate / hop)
    start = first = 0  # encoder frames: of the buffer's first sample, and of the first one to keep
    buffer: Waveform = np.zeros(0, np.float32)
    for block in blocks:
        buffer = np.concatenate([buffer, block]) if len(buffer) else block
        while len(buffer) > (size := (first + keep + context - start) * hop):
            yield _Window(buffer[:size], first - start, keep)
            first += keep
            dropped = max(first - context, 0) - start
            buffer, start = buffer[dropped * hop :], start + dropped
    if len(buffer):
        yield _Window(buffer, first - start, None)


def _kept(heard: Any, window: _Window) -> Any:
    end = None if window.keep is None else window.skip + window.keep
    return heard[slice(window.skip, end)]


def _prefetched(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, the next one being made by a thread meanwhile: audio is read while the model computes."""
    iterator = iter(items)

    def take() -> list[Item]:
        return list(islice(iterator, 1))

    with ThreadPoolExecutor(1, thread_name_prefix="asr-read") as thread:
        pending = thread.submit(take)
        while item := pending.result():
            pending = thread.submit(take)
            yield item[0]


@dataclass(frozen=True, slots=True)
class _Measured:
    """A source with its length, or why it cannot be read, and who reads what is heard of it."""

    source: Recording
    seconds: Seconds | InputError
    reader: Reader


def _measured(file: "str | Path | Recording", reader: Reader | InputError) -> _Measured:
    source = as_source(file) if isinstance(file, (str, Path)) else file
    if isinstance(reader, InputError):
        return _Measured(source, reader, GreedyReader())
    return _Measured(source, _caught(source.measure), reader)


def _caught(work: Callable[..., Item], *arguments: Any) -> Item | InputError:
    """Return what the work returns, or its error."""
    try:
        return work(*arguments)
    except InputError as error:
        return error


def _pools(
    files: "Sequence[tuple[str | Path | Recording, Reader | InputError]]", pool_seconds: Seconds
) -> Iterator[list[_Measured]]:
    """Yield consecutive sources together, until they hold `pool_seconds` of audio."""
    pool: list[_Measured] = []
    seconds = 0.0
    for file, reader in files:
        item = _measured(file, reader)
        pool.append(item)
        if not isinstance(item.seconds, InputError):
            seconds += item.seconds
        if seconds >= pool_seconds or len(pool) >= MAX_POOL_FILES:
            yield pool
            pool, seconds = [], 0.0
    if pool:
        yield pool


def _batches(
    ordered: Sequence[int], seconds: dict[int, Seconds], batch_seconds: Seconds, min_rows: int
) -> Iterator[list[int]]:
    """Cut items ordered by rising length into batches whose padded audio stays within `batch_seconds`.

    A batch of fewer than `min_rows` items becomes batches of one.
    """
    first = 0
    while first < len(ordered):
        rows = 1
        while first + rows < len(ordered) and seconds[ordered[first + rows]] * (rows + 1) <= batch_seconds:
            rows += 1
        rows = rows if rows >= min_rows else 1
        yield list(ordered[first : first + rows])
        first += rows


class _Tracker:
    """Counts finished files and heard audio, and reports them."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._done, self._seconds = 0, 0.0

    def hear(self, seconds: Seconds) -> None:
        self._seconds += seconds
        self._report()

    def finish(self) -> None:
        self._done += 1
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, self._seconds)
