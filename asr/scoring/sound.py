"""What the utterances of a report sound and look like: audio and spectrograms small enough to lie inside of a page."""

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.audio.files import encode_audio, read_audio
from asr.audio.resample import Waveform, resample
from asr.errors import DataError
from asr.scoring.spoken import Progress, source_of
from asr.scoring.texts import Text
from asr.units import Seconds

if TYPE_CHECKING:
    from asr.features.frontend import Frontend

MAX_BYTES = 48 << 20  # of all sounds and pictures, about 45 minutes: browsers still open the page at once
MAX_SECONDS = 120.0  # of one utterance
MAX_COLUMNS = 1600  # of a picture; what is longer is averaged over neighbours
RANGE_DB = 70.0  # from black to white, below the loudest point of the utterance
GREYS = 16
_MIN_RATE, _MAX_RATE = 4_000, 16_000  # Hz, of what is heard and drawn


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of one utterance: a FLAC file, a PNG picture (None if it is shorter than a window), its seconds."""

    flac: bytes
    png: bytes | None
    duration: Seconds


@dataclass(frozen=True, slots=True)
class Sounds:
    """The sounds by id, and a line for each reason why some are missing."""

    of: Mapping[str, Sound]
    notes: tuple[str, ...]


def sounds(
    ids: Sequence[str], references: Mapping[str, Text], manifest: str | Path, progress: Progress | None = None
) -> Sounds:
    """Return the sounds of utterances, the first ones where all together were more than `MAX_BYTES`.

    An utterance whose audio cannot be had stays in the page without it; the notes count them and say the first reason.
    """
    report: Callable[[int, int | None, float], None] = progress or (lambda done, total, seconds: None)
    found: dict[str, Sound] = {}
    unread: list[DataError] = []
    held, heard, too_long, left_out = 0, 0.0, 0, 0
    painter = Painter()
    for number, name in enumerate(ids, 1):
        try:
            waveform, rate = _read(name, references[name], manifest)
        except DataError as error:
            unread.append(error)
            continue
        if len(waveform) > MAX_SECONDS * rate:
            too_long += 1
            continue
        flac, png = encode_audio(waveform, rate, ".flac", name=name), painter.png(waveform, rate)
        held += len(flac) + len(png or b"")
        if held > MAX_BYTES:
            left_out = len(ids) - len(found) - len(unread) - too_long
            break
        found[name] = Sound(flac, png, len(waveform) / rate)
        heard += found[name].duration
        report(number, len(ids), heard)
    return Sounds(found, tuple(_notes(unread, too_long, left_out, len(ids))))


def _read(name: str, text: Text, manifest: str | Path) -> tuple[Waveform, int]:
    source = source_of(name, text, manifest)
    duration = source.duration if source.duration is None else min(source.duration, MAX_SECONDS + 1)
    waveform, rate = read_audio(source.path, start=source.start, duration=duration, channel=source.channel)
    wanted = min(max(rate, _MIN_RATE), _MAX_RATE)
    return (waveform if rate == wanted else resample(waveform, rate, wanted)), wanted


def _notes(unread: Sequence[DataError], too_long: int, left_out: int, total: int) -> list[str]:
    notes = []
    if unread:
        notes.append(f"{len(unread)} of {total} utterances are without sound, the first: {unread[0]}")
    if too_long:
        long = f"longer than {MAX_SECONDS:.0f} s"
        notes.append(f"{too_long} of {total} utterances are without sound: {long}; cut them in the manifest")
    if left_out:
        notes.append(
            f"{left_out} of {total} utterances are without sound: the page holds {MAX_BYTES >> 20} MB, those with most"
            " errors first; score a part of the manifest to hear the others"
        )
    return notes


class Painter:
    """Draws spectrograms: the log mel energies of our own frontend, dark where there is sound."""

    def __init__(self) -> None:
        self._frontends: dict[int, Frontend] = {}

    def png(self, waveform: Waveform, sample_rate: int) -> bytes | None:
        """Return the picture of a waveform (S,), time to the right, low tones at the bottom; None if too short."""
        energies = self._log_mel(waveform, sample_rate)
        return None if energies is None else grey_png(_shades(_narrowed(energies)))

    def _log_mel(self, waveform: Waveform, sample_rate: int) -> NDArray[np.float32] | None:
        """Return (T, F) natural logs of energies, frames wholly inside of the waveform; None if there is none."""
        import torch

        from asr.features.frontend import FeatureConfig, Frontend

        if sample_rate not in self._frontends:
            bins = 80 if sample_rate >= _MAX_RATE else 48  # narrower bands than a line of the spectrum stay empty
            self._frontends[sample_rate] = Frontend(FeatureConfig(sample_rate=sample_rate, num_bins=bins))
        frontend = self._frontends[sample_rate]
        lengths = torch.tensor([len(waveform)])
        with torch.no_grad():
            features, _ = frontend.unnormalized(torch.from_numpy(np.ascontiguousarray(waveform))[None], lengths)
            energies: NDArray[np.float32] = features[frontend.heard(lengths, features.shape[1])].numpy()
        return energies if len(energies) else None


def _narrowed(energies: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (T, F) with neighbouring frames averaged, so that at most `MAX_COLUMNS` are left."""
    together = -(-len(energies) // MAX_COLUMNS)
    starts = np.arange(0, len(energies), together)
    counts = np.diff(np.append(starts, len(energies)))
    means = np.add.reduceat(energies, starts, axis=0) / counts[:, None]
    return means.astype(np.float32)


def _shades(energies: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the picture (F, T) of energies (T, F): 0 for the loudest to `GREYS` - 1 for `RANGE_DB` below and more."""
    decibels = (energies.max() - energies) * (10 / np.log(10))
    shades: NDArray[np.uint8] = np.clip(np.rint(decibels * (GREYS - 1) / RANGE_DB), 0, GREYS - 1).astype(np.uint8)
    return np.ascontiguousarray(shades.T[::-1])


def grey_png(shades: NDArray[np.uint8]) -> bytes:
    """Return a PNG of 4 bits a pixel of (height, width) shades, 0 black to 15 white.

    Source: W3C 2003, "Portable Network Graphics (PNG) Specification (Second Edition)", sections 5, 9 and 11.
    """
    height, width = shades.shape
    even = np.pad(shades, ((0, 0), (0, width % 2)))
    packed = (even[:, ::2] << 4 | even[:, 1::2]).astype(np.uint8)
    lines = b"".join(b"\0" + row.tobytes() for row in packed)  # 0: the line is not filtered
    header = struct.pack(">IIBBBBB", width, height, 4, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
