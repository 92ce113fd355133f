"""What the data check finds in audio: each utterance's samples are read once and measured.

Nothing here knows texts or models, so it runs in worker processes as it is.
"""

import hashlib
import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.audio.files import AudioInfo, audio_info, read_audio
from asr.errors import DataError, MachineError
from asr.units import Seconds

DURATION_TOLERANCE: Seconds = 0.01  # by which an utterance may reach over its file's end (docs/formats.md)
FULL_SCALE = 32766 / 32768  # a 16-bit sample of this size or more counts as full scale
CLIPPED_RUN = 3  # full-scale samples in a row that count as clipped: fewer happen in loud clean speech
LEVEL_WINDOW: Seconds = 0.025  # over which loudness is taken
_WORDS = (
    ("truncated", "truncated-audio"),
    ("not finite", "nan-samples"),
    ("is empty (0 bytes)", "empty-audio"),
    ("no samples", "empty-audio"),
    ("segment [", "wrong-duration"),
)
Span = tuple[Seconds, Seconds, int | None]  # start, duration, channel


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What was measured in the samples of one utterance.

    Attributes:
        num_samples: at the file's own rate.
        sample_rate, channels: of the file.
        digest: hash of the decoded samples; equal samples, equal digest.
        clipped: share of the samples that lie in runs at full scale, in [0, 1].
        level: root mean square of the loudest window of 25 ms in dB below full scale; -inf for zeros.
    """

    num_samples: int
    sample_rate: int
    channels: int
    digest: bytes
    clipped: float
    level: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Faults (kind, message) of one utterance's audio, what could be measured, and its true duration."""

    faults: tuple[tuple[str, str], ...]
    facts: AudioFacts | None
    duration: Seconds


def measure_file(audio: Path, spans: Sequence[Span]) -> list[Measured]:
    """Return what is wrong and what was measured in each span of one file.  Never raises for bad audio."""
    try:
        info = audio_info(audio)
    except DataError as error:
        fault = _fault_of(audio, error)
        return [Measured((fault,), None, duration) for _, duration, _ in spans]
    return list(starmap(partial(_measure_span, audio, info), spans))


def measure_files(files: Sequence[tuple[Path, Sequence[Span]]], jobs: int = 1) -> Iterator[list[Measured]]:
    """Yield `measure_file` of each file in order, computed by `jobs` processes (1: this one).

    Raises: MachineError if a process dies (out of memory, as a rule).
    """
    if jobs <= 1:
        yield from starmap(measure_file, files)
        return
    # "spawn", as forking a process that has threads (torch, a progress bar) may hang.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(measure_file, *zip(*files, strict=True), chunksize=16)
    except BrokenProcessPool:
        raise MachineError(f"a process of the {jobs} died; use fewer --jobs, or free memory") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _fault_of(audio: Path, error: DataError) -> tuple[str, str]:
    """Return (kind, message without the path) of what reading a file raised.

    asr.audio.files tells all faults as one type; its words tell them apart (each kind is tested with a file).
    """
    message = str(error).removeprefix(f"{audio}: ")
    if not os.path.exists(audio):  # unlike Path.exists, it never raises
        return "missing-audio", "no such file"
    kind = next((kind for words, kind in _WORDS if words in message), "unreadable-audio")
    # The report has one cure for all files of a kind; what makes a file unreadable may need one of its own.
    return kind, message if kind == "unreadable-audio" else message.rpartition("; ")[0] or message


def _measure_span(audio: Path, info: AudioInfo, start: Seconds, duration: Seconds, channel: int | None) -> Measured:
    end, faults = start + duration, []
    if channel is not None and channel >= info.channels:
        fault = ("wrong-channel", f"channel {channel} of a file with {info.channels} (they count from 0)")
        return Measured((fault,), None, duration)
    if end > info.duration + DURATION_TOLERANCE:
        message = f"spans [{start:.2f}, {end:.2f}) s but the recording lasts {info.duration:.2f} s"
        faults.append(("wrong-duration", message))
        if start >= info.duration:
            return Measured(tuple(faults), None, duration)
    available = min(duration, info.duration - start)
    try:
        waveform, rate = read_audio(audio, start=start, duration=available, channel=channel)
    except DataError as error:
        return Measured((*faults, _fault_of(audio, error)), None, duration)
    facts = AudioFacts(
        num_samples=len(waveform),
        sample_rate=rate,
        channels=info.channels,
        digest=_digest(waveform, rate),
        clipped=clipped_share(waveform),
        level=loudest_level(waveform, rate),
    )
    return Measured(tuple(faults), facts, available if faults else duration)


def _digest(waveform: NDArray[np.float32], rate: int) -> bytes:
    digest = hashlib.blake2b(str(rate).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(waveform).data)
    return digest.digest()


def clipped_share(waveform: NDArray[np.float32]) -> float:
    """Return the share of the samples (S,) that lie in runs of at least 3 at full scale, in [0, 1]."""
    if len(waveform) < CLIPPED_RUN or np.abs(waveform).max() < FULL_SCALE:
        return 0.0
    loud = np.concatenate([[False], np.abs(waveform) >= FULL_SCALE, [False]])
    edges = np.flatnonzero(loud[1:] != loud[:-1])
    runs = edges[1::2] - edges[::2]
    return float(runs[runs >= CLIPPED_RUN].sum() / len(waveform))


def loudest_level(waveform: NDArray[np.float32], rate: int) -> float:
    """Return the root mean square of the loudest 25 ms of (S,) in dB below full scale, without its offset."""
    width = max(1, min(len(waveform), int(LEVEL_WINDOW * rate)))
    centred = waveform - waveform.mean(dtype=np.float64)
    windows = centred[: len(centred) // width * width].reshape(-1, width)
    power = float(np.square(windows, dtype=np.float64).mean(1).max())
    return 10 * math.log10(power) if power > 1e-18 else -math.inf
