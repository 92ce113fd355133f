"""What an archive holds: the files of a folder, the rows of a manifest, or the utterances of tar shards.

An archive is given out in lots: rows [first, last) as something small that can be sent to another process, which
opens it there.  Lengths come from headers, so nothing is decoded before its turn.
"""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asr.audio.resample import Waveform
from asr.audio.source import AudioSource
from asr.data.manifest import read_manifest
from asr.data.shard_index import HEADER, Shard, ShardIndex
from asr.data.shard_reader import ShardReader, is_remote, read_index
from asr.data.shard_row import ShardedUtterance
from asr.errors import DataError, InputError
from asr.recognizer import Recording
from asr.units import Seconds

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph"})
MANIFEST_SUFFIX = ".jsonl"
Lengths = NDArray[np.float64]


class Lot(Protocol):
    """Rows of an archive, in their order."""

    @property
    def names(self) -> Sequence[str]:
        """What each row is called as long as it is not opened."""

    def opened(self, shelf: "Shelf") -> Iterator[tuple[str, Recording | InputError]]:
        """Yield the name and the recording of each row, or why there is none."""

    def part(self, row: int) -> "Lot":
        """Return a lot of one row alone."""


class Archive(Protocol):
    """Recordings in a fixed order."""

    @property
    def key(self) -> str:
        """What the name of a recording is called in results: "id", or "file" in a folder."""

    @property
    def notes(self) -> Sequence[str]:
        """What was seen and left out, a line each."""

    @property
    def seconds(self) -> Lengths:
        """(rows,) the length of each recording; 0 where it cannot be read."""

    @property
    def groups(self) -> NDArray[np.int64]:
        """(rows,) non-decreasing: rows of one group are best read by one process."""

    def lot(self, first: int, last: int) -> Lot:
        """Return rows [first, last)."""

    def identity(self) -> str:
        """Return a hash of which recordings there are and how long they are."""


def open_archive(name: str, *, progress: Callable[[int, int | None], None] | None = None) -> Archive:
    """Return the archive that a name means.

    Args: progress: called with (files measured, files in all) while the files of a folder are.
    Raises: DataError if it is missing, faulty or empty; MachineError, UsageError as `read_index`.
    """
    if name.endswith(MANIFEST_SUFFIX) and not os.path.isdir(name):
        return ManifestArchive.read(name)
    if is_remote(name) or not os.path.isdir(name) or os.path.isfile(os.path.join(name, HEADER)):
        return ShardArchive(read_index(name))
    return FolderArchive.scan(name, progress or (lambda done, total: None))


@dataclass(frozen=True)
class _FileLot:
    names: Sequence[str]
    sources: Sequence[AudioSource]

    def opened(self, shelf: "Shelf") -> Iterator[tuple[str, Recording | InputError]]:
        """Yield each name and its stretch of a file."""
        return zip(self.names, self.sources, strict=True)

    def part(self, row: int) -> "_FileLot":
        """Return a lot of one row alone."""
        return _FileLot(self.names[row : row + 1], self.sources[row : row + 1])


@dataclass(frozen=True)
class FolderArchive:
    """All audio files below a folder, by path; hidden ones and those with other suffixes are left out and told."""

    folder: str
    paths: Sequence[str]  # relative, with "/"
    seconds: Lengths
    notes: Sequence[str]
    key: str = "file"

    @classmethod
    def scan(cls, folder: str, progress: Callable[[int, int | None], None]) -> "FolderArchive":
        """Return the archive of a folder.  Raises: DataError if it holds no audio or cannot be listed."""
        paths, notes = _audio_below(folder)
        if not paths:
            known = ", ".join(sorted(AUDIO_SUFFIXES))
            raise DataError(f"{folder}: holds no audio files ({known}); check the folder, or give a manifest")
        seconds = np.zeros(len(paths))
        for row, path in enumerate(paths):
            seconds[row] = _seconds_of(AudioSource(Path(folder, path)))
            progress(row + 1, len(paths))
        return cls(folder, paths, seconds, notes)

    @property
    def groups(self) -> NDArray[np.int64]:
        """One group: files are read one by one."""
        return np.zeros(len(self.paths), np.int64)

    def lot(self, first: int, last: int) -> Lot:
        """Return rows [first, last)."""
        names = self.paths[first:last]
        base = os.path.abspath(self.folder)  # workers may stand in another folder
        return _FileLot(names, [AudioSource(Path(base, name)) for name in names])

    def identity(self) -> str:
        """Return a hash of paths and lengths."""
        return _hash(f"{path}\t{seconds}\n" for path, seconds in zip(self.paths, self.seconds, strict=True))


@dataclass(frozen=True)
class ManifestArchive:
    """The rows of a manifest."""

    sources: Sequence[AudioSource]
    names: Sequence[str]
    seconds: Lengths
    notes: Sequence[str] = ()
    key: str = "id"

    @classmethod
    def read(cls, path: str) -> "ManifestArchive":
        """Return the archive of a manifest.  Raises: DataError for a faulty or an empty one."""
        rows = read_manifest(path)
        if not rows:
            raise DataError(f"{path}: holds no utterances; give a manifest with at least one")
        sources = [row.source for row in rows]
        return cls(sources, [row.id for row in rows], np.array([row.duration for row in rows]))

    @property
    def groups(self) -> NDArray[np.int64]:
        """One group: files are read one by one."""
        return np.zeros(len(self.names), np.int64)

    def lot(self, first: int, last: int) -> Lot:
        """Return rows [first, last)."""
        return _FileLot(self.names[first:last], self.sources[first:last])

    def identity(self) -> str:
        """Return a hash of ids and stretches, not of where the files lie."""
        rows = zip(self.names, self.sources, strict=True)
        return _hash(f"{name}\t{item.start}\t{item.duration}\t{item.channel}\n" for name, item in rows)


@dataclass(frozen=True)
class ShardArchive:
    """The utterances of tar shards, shard after shard."""

    index: ShardIndex
    notes: Sequence[str] = ()
    key: str = "id"

    @property
    def seconds(self) -> Lengths:
        """The lengths in the index."""
        return self.index.records["samples"] / self.index.sample_rate

    @property
    def groups(self) -> NDArray[np.int64]:
        """The shard of each utterance: whoever has read one goes on with it."""
        counts = np.diff(self.index.firsts)
        return np.repeat(np.arange(len(counts)), counts)

    def lot(self, first: int, last: int) -> Lot:
        """Return rows [first, last), with as much of the index as describes their shards."""
        index = self.index
        begin, end = index.shard_of(first), index.shard_of(last - 1) + 1
        start = int(index.firsts[begin])
        few = replace(index, shards=index.shards[begin:end], records=index.records[start : int(index.firsts[end])])
        return _ShardLot(few, range(first - start, last - start))

    def identity(self) -> str:
        """Return the hash of the index, which holds those of the shards."""
        return self.index.sha256


@dataclass(frozen=True)
class _ShardLot:
    index: ShardIndex
    rows: range

    @property
    def names(self) -> Sequence[str]:
        """SHARD:ROW, as ids stand in the shards only."""
        firsts = self.index.firsts
        shards = [self.index.shard_of(row) for row in self.rows]
        return [
            f"{self.index.shards[shard].file}:{row - int(firsts[shard])}"
            for row, shard in zip(self.rows, shards, strict=True)
        ]

    def opened(self, shelf: "Shelf") -> Iterator[tuple[str, Recording | InputError]]:
        """Yield the id of each utterance and its audio; SHARD:ROW and the error of one that cannot be read."""
        reader = shelf.reader(self.index)
        for name, row in zip(self.names, self.rows, strict=True):
            try:
                utterance = reader.read(row)
            except InputError as error:
                yield name, error
            else:
                yield utterance.id, _ShardRecording(reader, row, utterance)

    def part(self, row: int) -> "_ShardLot":
        """Return a lot of one row alone."""
        return _ShardLot(self.index, self.rows[row : row + 1])


@dataclass(frozen=True)
class _ShardRecording:
    """The audio of an utterance, as FLAC in memory."""

    reader: ShardReader
    row: int
    utterance: ShardedUtterance

    def measure(self) -> Seconds:
        """Return what the index says."""
        return int(self.reader.index.records["samples"][self.row]) / self.reader.index.sample_rate

    def read(self, sample_rate: int) -> Waveform:
        """Return the waveform (S,).  Raises: DataError."""
        return self.reader.waveform(self.row, self.utterance, sample_rate)


@dataclass
class Shelf:
    """What a process keeps open between two lots: a shard is read and checked as a whole when it is opened."""

    _reader: "_LastingReader | None" = field(default=None, init=False)

    def reader(self, index: ShardIndex) -> ShardReader:
        """Return a reader of these shards: the last one if they are the same, so that none is checked twice."""
        last = self._reader
        if last is not None and (last.index.place, last.index.shards) == (index.place, index.shards):
            return last
        if last is not None:
            last.look_ahead([], [])  # closes its files
        self._reader = _LastingReader(index)
        return self._reader


class _LastingReader(ShardReader):
    """A reader that says at once that a shard is damaged, without reading (or fetching) it for each utterance anew."""

    def __init__(self, index: ShardIndex) -> None:
        super().__init__(index)
        self._refused: dict[str, InputError] = {}

    def _checked(self, shard: Shard) -> int:
        known = self._refused.get(shard.file)
        if known is not None:
            raise known
        try:
            return super()._checked(shard)
        except InputError as error:
            self._refused[shard.file] = error
            raise


def _audio_below(folder: str) -> tuple[list[str], list[str]]:
    """Return the audio files below a folder, sorted, and what to say about all that is left out."""
    found: list[str] = []
    others: Counter[str] = Counter()
    links: list[str] = []
    for place, folders, files in os.walk(folder, onerror=_unlisted):
        links += [os.path.join(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
        others["hidden"] += sum(name.startswith(".") for name in (*folders, *files))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (name for name in files if not name.startswith(".")):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in AUDIO_SUFFIXES and not _is_special(os.path.join(place, name)):
                found.append(os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/"))
            else:
                others[suffix or "without suffix"] += 1
    notes = [f"{folder}: left out, as by name no audio: {_counted(others)}"] if others.total() else []
    if links:
        notes.append(f"{folder}: {len(links)} links to folders are not followed, the first is {min(links)}")
    return sorted(found), notes


def _unlisted(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot list the folder: {error.strerror}; check the path and its permissions")


def _is_special(path: str) -> bool:
    """Return whether there is a pipe or a device at a path, which reading might wait for without end."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # a broken link: its turn will tell
        return False
    return not stat.S_ISREG(mode)


def _counted(others: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(others.items()) if count)


def _seconds_of(source: AudioSource) -> Seconds:
    try:
        return source.measure()
    except InputError:  # told when its turn comes
        return 0.0


def _hash(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(line.encode("utf-8", "surrogatepass"))
    return found.hexdigest()
