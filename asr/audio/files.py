"""Audio files and waveforms: WAV, FLAC, Ogg Vorbis and Opus, MP3, NIST SPHERE, and headerless AN4 `.raw`.

Every fault of a file is one DataError: path, what is wrong, cure.  Nothing that a file lacks is made up: a
segment outside the recording, a truncated file or a sample that is not a number is an error, not silence.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio.conversions import note_channels, note_rate
from asr.audio.headers import is_chained, sphere_fields, truncation
from asr.audio.mp3 import read_mp3_length, with_length
from asr.audio.resample import Resampler, Waveform, resample
from asr.errors import DataError, UsageError
from asr.store import replacing
from asr.units import Seconds, samples_from_seconds

_TOLERANCE: Seconds = 0.01  # a segment may end this much after the file does (docs/formats.md)
_BLOCK = 1 << 16  # samples decoded at a time
_UNKNOWN = 1 << 62  # libsndfile's length of a file that does not declare one is greater
_MAX_PEAK = 16.0  # of floating-point files: 24 dB over full scale is no recording but integers stored as floats
_MIN_RATE, _MAX_RATE = 1_000, 768_000  # in Hz, of recordings; resampling from others takes no end of memory
_FORGETS: Seconds = 5.0  # after which decoders of MP3 and Opus depend no longer on where they started
_FROM_START: Seconds = 120.0  # nearer to the file's start, decoding all of it is as fast
_WRITTEN = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds.

    Attributes:
        sample_rate: in Hz.
        num_samples: of each channel.
        format: container and coding, such as "WAV PCM_16".
    """

    sample_rate: int
    num_samples: int
    channels: int
    format: str

    @property
    def duration(self) -> Seconds:
        """Its length in seconds."""
        return self.num_samples / self.sample_rate


@dataclass(frozen=True)
class RawFormat:
    """What a headerless file of 16-bit samples does not say; AN4 comes as big and as little endian."""

    sample_rate: int = 16000
    byte_order: Literal["big", "little"] = "big"
    channels: int = 1


def audio_info(path: str | Path, *, raw: RawFormat | None = None) -> AudioInfo:
    """Return rate, length and format of a file, from its headers.

    Raises: DataError if it is missing, unreadable, no audio, empty, or shorter than it declares.
    """
    with _opened(path, raw) as source:
        return source.info


def read_audio(
    path: str | Path,
    *,
    start: Seconds = 0.0,
    duration: Seconds | None = None,
    channel: int | None = None,
    sample_rate: int | None = None,
    raw: RawFormat | None = None,
) -> tuple[Waveform, int]:
    """Return (waveform (S,) float32, its sample rate) of a file or a segment of it.

    Args:
        start, duration: the segment [start, start + duration) in seconds; only it is decoded; it may end up to
            0.01 s after the file and is then cut there.  Default: the whole file.
        channel: counted from 0; None mixes all channels (their mean).
        sample_rate: in Hz, to resample to; None keeps the file's.
        raw: for a headerless file, what it holds.

    Samples lie in [-1, 1]; those of lossy and floating-point files may exceed it a little.
    Raises: DataError if the file is missing, unreadable, no audio, empty, truncated or damaged, holds samples
    that are not finite, or has no such segment or channel.
    """
    with _opened(path, raw) as source:
        source.check_channel(channel)
        first, count = source.segment(start, duration)
        blocks = list(source.blocks(first, count, _BLOCK, channel))
        info = source.info
    waveform = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if sample_rate is None or sample_rate == info.sample_rate:
        return waveform, info.sample_rate
    note_rate(path, info.sample_rate, sample_rate)
    return resample(waveform, info.sample_rate, sample_rate), sample_rate


def open_blocks(
    path: str | Path,
    block_seconds: Seconds,
    sample_rate: int,
    channel: int | None = None,
    *,
    raw: RawFormat | None = None,
) -> Iterator[Waveform]:
    """Yield a file as blocks (S,) float32 at `sample_rate` in Hz; memory does not grow with its length.

    The blocks joined are `read_audio` of the file.  Each is about `block_seconds` long (the resampler keeps a
    few milliseconds back) and never empty.
    Raises: DataError as `read_audio`, when the block that shows the fault is asked for.
    """
    with _opened(path, raw) as source:
        source.check_channel(channel)
        info = source.info
        note_rate(path, info.sample_rate, sample_rate)
        resampler = Resampler(info.sample_rate, sample_rate)
        block = max(1, samples_from_seconds(block_seconds, info.sample_rate))
        for waveform in source.blocks(0, info.num_samples, block, channel):
            output = resampler.accept(waveform)
            if len(output):
                yield output
        tail = resampler.finish()
        if len(tail):
            yield tail


def write_audio(path: str | Path, waveform: Waveform, sample_rate: int) -> None:
    """Write a waveform (S,) or (S, channels) in [-1, 1]; the suffix says how (.wav .flac .ogg .opus .mp3).

    WAV and FLAC get 16 bits, rounded to the nearest and clipped, so what was read from 16 bits is written back
    equal.  Raises: UsageError for another suffix or a rate that the coding has not; MachineError if the file
    cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITTEN:
        raise UsageError(f"{path}: cannot write '{suffix}' audio; use one of {', '.join(_WRITTEN)}")
    encoded = encode_audio(waveform, sample_rate, suffix, name=path)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)


def encode_audio(waveform: Waveform, sample_rate: int, suffix: str, *, name: str | Path) -> bytes:
    """Return the bytes of an audio file as `write_audio` writes it.

    Args: suffix: a known one; name: of the file, for the message.
    Raises: UsageError for a rate or a number of channels that the coding has not.
    """
    container, coding = _WRITTEN[suffix]
    samples = np.asarray(waveform, np.float32)
    data: NDArray[np.float32] | NDArray[np.int16] = samples
    if coding == "PCM_16":
        data = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    channels = 1 if data.ndim == 1 else data.shape[1]
    encoded = io.BytesIO()  # so that a full disk is the system's error, not libsndfile's
    try:
        with soundfile.SoundFile(encoded, "w", sample_rate, channels, coding, format=container) as file:
            for first in range(0, len(data), _BLOCK):  # libsndfile 1.2 crashes on minutes of Vorbis in one piece
                file.write(data[first : first + _BLOCK])
    except soundfile.LibsndfileError as error:
        problem = _one_line(error.error_string)
        raise UsageError(
            f"{name}: cannot write {channels} channels at {sample_rate} Hz as {coding}: {problem}"
        ) from None
    return encoded.getvalue()


def decode_flac(data: bytes | memoryview, *, name: str) -> tuple[Waveform, int]:
    """Return (waveform (S,) float32, its sample rate) of the bytes of a FLAC file of one channel.

    Args: name: where they come from, for the message.
    Raises: DataError if they are something else, truncated or damaged.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if (file.format, file.channels) != ("FLAC", 1):
                raise DataError(f"{name}: {file.format} of {file.channels} channels where FLAC of one is expected")
            declared = file.frames
            waveform: Waveform = file.read(dtype="float32")
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise DataError(f"{name}: damaged audio ({_one_line(error.error_string)}); get the file again") from None
    if len(waveform) != declared:
        raise DataError(f"{name}: truncated: {len(waveform)} of {declared} samples; get the file again")
    return waveform, rate


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """A SoundFile that seeks when told only.

    soundfile seeks after every read to where the decoder already is, and libsndfile's MP3 decoder then starts
    afresh: it loses the bits that frames borrow from earlier ones.
    """

    def seekable(self) -> bool:
        """Return False, which keeps soundfile from seeking by itself."""
        return False


class _Source:
    """An open file: its info and its samples, every fault a DataError."""

    def __init__(self, path: str | Path, file: _Sequential) -> None:
        self._path, self._file = path, file
        num_samples = file.frames if file.frames < _UNKNOWN else self._count()
        self.info = AudioInfo(file.samplerate, num_samples, file.channels, f"{file.format} {file.subtype}")

    def check_channel(self, channel: int | None) -> None:
        """Raise DataError if there is no such channel; log that channels are mixed."""
        channels = self.info.channels
        if channel is not None and not 0 <= channel < channels:
            allowed = "0" if channels == 1 else f"0 to {channels - 1}, or null to mix them"
            raise DataError(f"{self._path}: there is no channel {channel}; the file has {channels}; use {allowed}")
        note_channels(self._path, channels, channel)

    def segment(self, start: Seconds, duration: Seconds | None) -> tuple[int, int]:
        """Return (first sample, number of samples).  Raises: DataError if it is outside the file."""
        info = self.info
        if not (0 <= start < info.duration and (duration is None or duration > 0)):
            raise self._outside(start, duration)
        first = samples_from_seconds(start, info.sample_rate)
        if duration is None:
            count = info.num_samples - first
        else:
            if start + duration > info.duration + _TOLERANCE:
                raise self._outside(start, duration)
            count = min(samples_from_seconds(duration, info.sample_rate), info.num_samples - first)
        if count < 1:
            raise self._outside(start, duration)
        return first, count

    def blocks(self, first: int, count: int, block: int, channel: int | None) -> Iterator[Waveform]:
        """Yield samples [first, first + count) of one channel or the mix, at most `block` at a time."""
        self._seek(first)
        position = first
        while position < first + count:
            samples = self._read(position, min(block, first + count - position))
            waveform = samples[:, 0] if samples.shape[1] == 1 else _one_channel(samples, channel)
            self._check_samples(waveform, position)
            yield waveform
            position += len(waveform)

    def _count(self) -> int:
        """Return the samples of a file that does not declare them, such as FLAC written to a pipe."""
        total = 0
        while count := len(self._decode(total, _BLOCK)):
            total += count
        self._file.seek(0)
        return total

    def _seek(self, first: int) -> None:
        rate = self.info.sample_rate
        begin = first
        if self._file.format == "MP3" or self._file.subtype == "OPUS":
            begin = 0 if first < _FROM_START * rate else first - samples_from_seconds(_FORGETS, rate)
        try:
            if begin:
                self._file.seek(begin)
        except soundfile.LibsndfileError:  # codings such as GSM 6.10 cannot seek
            begin = 0
        for position in range(begin, first, _BLOCK):
            self._read(position, min(_BLOCK, first - position))

    def _read(self, position: int, count: int) -> Waveform:
        samples = self._decode(position, count)
        if len(samples) < count:
            raise self._damaged(position + len(samples), f"its header says {self.info.duration:.2f} s")
        return samples

    def _decode(self, position: int, count: int) -> Waveform:
        try:
            samples: Waveform = self._file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise self._damaged(position, _one_line(error.error_string)) from None
        return samples

    def _check_samples(self, waveform: Waveform, position: int) -> None:
        if not np.isfinite(waveform.sum()):
            bad = np.flatnonzero(~np.isfinite(waveform))
            if len(bad):
                raise DataError(
                    f"{self._path}: samples are not finite, the first at {self._seconds(position + int(bad[0]))}, "
                    f"{len(bad)} near it; export the file again"
                )
        if self._file.subtype in ("FLOAT", "DOUBLE") and (peak := float(np.abs(waveform).max())) > _MAX_PEAK:
            raise DataError(
                f"{self._path}: samples reach {peak:.6g}; floating-point audio lies in [-1, 1]; scale it (16-bit "
                "numbers by 1/32768)"
            )

    def _damaged(self, position: int, why: str) -> DataError:
        return DataError(
            f"{self._path}: truncated or damaged: cannot be decoded from {self._seconds(position)} on ({why}); "
            "get the file again"
        )

    def _outside(self, start: Seconds, duration: Seconds | None) -> DataError:
        end = f"{start + duration:.2f}" if duration is not None else "its end"
        return DataError(
            f"{self._path}: segment [{start:.2f}, {end}) s is empty or lies outside the recording, which lasts "
            f"{self.info.duration:.2f} s; correct start and duration"
        )

    def _seconds(self, position: int) -> str:
        return f"{position / self._file.samplerate:.2f} s"


@contextmanager
def _opened(path: str | Path, raw: RawFormat | None) -> Iterator[_Source]:
    _check_file(path, raw)
    try:
        with _sound_file(path, raw) as file:
            _check_headers(path, file, raw)
            yield _Source(path, file)
    except soundfile.LibsndfileError as error:
        raise _refusal(path, error) from None
    except OSError as error:
        raise DataError(f"{path}: cannot read the audio: {error.strerror or error}; check the file") from None


def _check_file(path: str | Path, raw: RawFormat | None) -> None:
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            os.close(os.open(path, os.O_RDONLY))  # libsndfile does not tell a permission from a missing file
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such audio file; check the path") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read the audio; change the file's mode or owner") from None
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot read the audio: {problem}; check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path}: a folder, not an audio file; name the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: not a regular file; save the audio to a file first")
    if status.st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes); get it again or leave it out")
    if raw is None and Path(path).suffix.lower() == ".raw":
        raise DataError(f"{path}: headerless audio, whose rate and byte order are not known; convert it to WAV first")


@contextmanager
def _sound_file(path: str | Path, raw: RawFormat | None) -> Iterator[_Sequential]:
    if raw is not None:
        order = "BIG" if raw.byte_order == "big" else "LITTLE"
        with _Sequential(os.fsencode(path), "r", raw.sample_rate, raw.channels, "PCM_16", order, "RAW") as file:
            yield file
        return
    with _Sequential(os.fsencode(path)) as file:
        length = read_mp3_length(path) if file.format == "MP3" else None
        if length is None or length.declared == length.found:
            yield file
            return
    if length.is_truncated:
        raise DataError(
            f"{path}: truncated: holds {length.found} of {length.declared} frames of audio; get the file again"
        )
    with with_length(path, length) as repaired, _Sequential(repaired) as file:
        yield file


def _check_headers(path: str | Path, file: _Sequential, raw: RawFormat | None) -> None:
    if not _MIN_RATE <= file.samplerate <= _MAX_RATE:
        raise DataError(
            f"{path}: its header says {file.samplerate} Hz; sample rates are {_MIN_RATE} to {_MAX_RATE} Hz; correct "
            "the header or export the file again"
        )
    if raw is not None:
        odd = os.stat(path).st_size % (2 * raw.channels)
        fault = f"ends with {odd} bytes of a sample" if odd else None
    elif file.format == "RAW":  # guessed from the suffix, such as .vox
        raise DataError(f"{path}: headerless audio; convert it to WAV first")
    else:
        fault = truncation(path, file.format)
        if fault is None and file.format == "OGG" and is_chained(path):
            raise DataError(f"{path}: several Ogg streams joined, of which one would be read; convert it to FLAC")
    if fault:
        raise DataError(f"{path}: truncated: {fault}; get the file again")
    if file.frames < 1:
        raise DataError(f"{path}: holds no samples; record it again or leave it out")


def _refusal(path: str | Path, error: soundfile.LibsndfileError) -> DataError:
    coding = sphere_fields(path).get("sample_coding", "")
    if "shorten" in coding:
        return DataError(
            f"{path}: SPHERE with shorten compression, which is not read; convert it: sph2pipe -f wav IN OUT"
        )
    return DataError(
        f"{path}: not audio that can be read ({_one_line(error.error_string)}); known are WAV, FLAC, Ogg Vorbis and "
        "Opus, MP3, NIST SPHERE: convert it to one of them"
    )


def _one_channel(samples: Waveform, channel: int | None) -> Waveform:
    return samples.mean(1, dtype=np.float32) if channel is None else np.ascontiguousarray(samples[:, channel])


def _one_line(message: str) -> str:
    return " ".join(message.split()).rstrip(".").removeprefix("Error : ")
