"""A manifest and its audio → tar shards with an index (docs/formats.md, "Shards"): all of them, or nothing."""

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr.audio.files import encode_audio, read_audio
from asr.data.manifest import Utterance
from asr.data.shard_index import BLOCK_BYTES, MAX_UTTERANCES, RECORD, Shard, identity, write_index
from asr.errors import DataError, MachineError, UsageError, writing
from asr.units import Seconds

_MAX_KEY = 64
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_AHEAD = 512  # utterances that are handed to the processes at a time
Progress = Callable[[int, int | None, float], None]  # utterances so far, in all, seconds of audio so far


@dataclass(frozen=True)
class Sharded:
    """What became of a manifest.

    Attributes:
        num_bytes: of all shards.
        rounded: utterances whose samples had more than 16 bits, or were mixed or resampled.
        without_text: utterances that cannot be trained on.
    """

    utterances: int
    shards: int
    num_bytes: int
    audio_seconds: Seconds
    sample_rate: int
    rounded: int
    without_text: int


@dataclass(frozen=True)
class _Encoded:
    audio: bytes
    samples: int
    sample_rate: int
    rounded: bool


def shard_key(utterance_id: str) -> str:
    """Return the name that an utterance's members have in a tar: safe everywhere, and no other id has it."""
    key = _UNSAFE.sub("_", utterance_id)[:_MAX_KEY]
    return key if key == utterance_id else f"{key}-{identity(utterance_id):016x}"


def write_shards(
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    shard_bytes: int,
    sample_rate: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Sharded:
    """Write the utterances' audio and texts into tar shards of at most `shard_bytes` in a new folder.

    A shard of one utterance may be larger.

    Args:
        sample_rate: in Hz, to resample to; None keeps that of the recordings, which must all have one.
        jobs: processes that read and encode.
    Raises: DataError if audio cannot be read, rates differ, or there is nothing; UsageError if the folder is in use;
        MachineError if it cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"--out {folder}: already exists; delete it or choose another folder")
    if not utterances:
        raise DataError("the manifest has no utterance to put into shards")
    rows = _in_order(utterances)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with writing(folder):
            temporary.mkdir(parents=True)
            with closing(_Writer(temporary, shard_bytes)) as writer:
                for row, encoded in zip(rows, _all_encoded(rows, sample_rate, jobs), strict=True):
                    writer.add(row, encoded)
                    if progress is not None:
                        progress(len(writer.records), len(rows), writer.audio_seconds)
                found = writer.finish()
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def _in_order(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Return the utterances by their identity, which is a shuffle that everybody makes alike."""
    if len(utterances) > MAX_UTTERANCES:
        raise DataError(f"{len(utterances)} utterances are more than {MAX_UTTERANCES}; make several manifests")
    identities = [identity(utterance.id) for utterance in utterances]
    if len(set(identities)) < len(identities):
        twice, _ = Counter(identities).most_common(1)[0]
        names = [utterance.id for utterance, one in zip(utterances, identities, strict=True) if one == twice]
        raise DataError(f"the ids {' and '.join(map(repr, names[:2]))} have one identity; rename one of them")
    return [utterances[place] for place in np.argsort(np.array(identities, np.uint64), kind="stable")]


def _all_encoded(rows: Sequence[Utterance], sample_rate: int | None, jobs: int) -> Iterator[_Encoded]:
    """Yield the audio of each utterance in order.  Raises: DataError; MachineError if a process dies."""
    encode = partial(_encode, sample_rate=sample_rate)
    if jobs <= 1:
        yield from map(encode, rows)
        return
    # "spawn", as forking a process that has threads (a progress bar) may hang.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for first in range(0, len(rows), _AHEAD):
            yield from pool.map(encode, rows[first : first + _AHEAD], chunksize=8)
    except BrokenProcessPool:
        raise MachineError(f"a process of the {jobs} died; use fewer --jobs, or free memory") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _encode(utterance: Utterance, sample_rate: int | None) -> _Encoded:
    waveform, rate = read_audio(
        utterance.audio,
        start=utterance.start,
        duration=utterance.duration,
        channel=utterance.channel,
        sample_rate=sample_rate,
    )
    scaled = waveform * np.float32(32768)
    rounded = bool((scaled != np.rint(scaled)).any() or scaled.max() > 32767)
    return _Encoded(encode_audio(waveform, rate, ".flac", name=utterance.audio), len(waveform), rate, rounded)


@dataclass
class _Writer:
    """Fills one shard after another."""

    folder: Path
    shard_bytes: int
    shards: list[Shard] = field(default_factory=list)
    records: list[tuple[int, int, int]] = field(default_factory=list)
    characters: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    sample_rate: int = 0
    rounded: int = 0
    without_text: int = 0
    _tar: "_Tar | None" = None

    @property
    def audio_seconds(self) -> Seconds:
        """All audio so far."""
        return self.samples / max(1, self.sample_rate)

    def add(self, utterance: Utterance, encoded: _Encoded) -> None:
        """Write an utterance behind the others.  Raises: DataError if its rate is another."""
        self.sample_rate = self.sample_rate or encoded.sample_rate
        if encoded.sample_rate != self.sample_rate:
            raise DataError(
                f"{utterance.audio}: {encoded.sample_rate} Hz where others have {self.sample_rate} Hz; give one rate to"
                f" all with --sample-rate {min(encoded.sample_rate, self.sample_rate)}"
            )
        key, row = shard_key(utterance.id), _row_bytes(utterance, encoded)
        size = sum(BLOCK_BYTES + _padded(len(body)) for body in (row, encoded.audio))
        if self._tar is not None and self._tar.size + size + _Tar.END > self.shard_bytes:
            self._end_shard()
        if self._tar is None:
            self._tar = _Tar(self.folder / f"shard-{len(self.shards):06d}.tar")
        self.records.append((identity(utterance.id), encoded.samples, self._tar.size // BLOCK_BYTES))
        self._tar.add(f"{key}.json", row)
        self._tar.add(f"{key}.flac", encoded.audio)
        self._tar.utterances += 1
        self.samples += encoded.samples
        self.rounded += encoded.rounded
        text = unicodedata.normalize("NFC", utterance.text or "")
        self.without_text += not text.strip()
        self.characters.update(set(text))

    def finish(self) -> Sharded:
        """End the last shard and write the index."""
        self._end_shard()
        write_index(
            self.folder,
            self.shards,
            np.array(self.records, RECORD),
            sample_rate=self.sample_rate,
            without_text=self.without_text,
            characters=dict(sorted(self.characters.items())),
        )
        return Sharded(
            utterances=len(self.records),
            shards=len(self.shards),
            num_bytes=sum(shard.size for shard in self.shards),
            audio_seconds=self.audio_seconds,
            sample_rate=self.sample_rate,
            rounded=self.rounded,
            without_text=self.without_text,
        )

    def close(self) -> None:
        """Close the shard that was being written when something failed."""
        if self._tar is not None:
            self._tar.close()

    def _end_shard(self) -> None:
        assert self._tar is not None, "a shard is ended that was never begun"
        self.shards.append(self._tar.finish())
        self._tar = None


class _Tar:
    """A tar that knows its hash: the same members give the same bytes."""

    END = 2 * BLOCK_BYTES  # of zeros

    def __init__(self, path: Path) -> None:
        self._path, self._hash = path, hashlib.sha256()
        self._file: BinaryIO = open(path, "xb")  # noqa: SIM115 (closed by finish or close)
        self.size = self.utterances = 0

    def add(self, name: str, body: bytes) -> None:
        """Append a member."""
        member = tarfile.TarInfo(name)
        member.size = len(body)
        header = member.tobuf(tarfile.USTAR_FORMAT)
        for piece in (header, body, bytes(_padded(len(body)) - len(body))):
            self._write(piece)

    def finish(self) -> Shard:
        """Write the end and return what the shard is."""
        end = self.size
        self._write(bytes(self.END))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return Shard(self._path.name, self.size, end, self._hash.hexdigest(), self.utterances)

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)


def _row_bytes(utterance: Utterance, encoded: _Encoded) -> bytes:
    row = {
        "id": utterance.id,
        "text": utterance.text,
        "speaker": utterance.speaker,
        "language": utterance.language,
        "sample_rate": encoded.sample_rate,
        "samples": encoded.samples,
    }
    return json.dumps(row, ensure_ascii=False).encode("utf-8")


def _padded(size: int) -> int:
    """Return the bytes that a member's body takes in a tar."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
