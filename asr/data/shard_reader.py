"""Utterances out of tar shards: each shard is read once as a whole and checked, then its utterances in any order."""

import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from asr.audio.conversions import note_rate
from asr.audio.files import decode_flac
from asr.audio.resample import Waveform, resample
from asr.data.shard_index import (
    HEADER,
    INDEX,
    MAX_HEADER_BYTES,
    RECORD,
    Shard,
    ShardIndex,
    index_of,
    parse_header,
)
from asr.data.shard_row import RowError, ShardedUtterance, parse_row
from asr.errors import DataError, InputError

if TYPE_CHECKING:
    from asr.data.download import DownloadLimits
    from asr.data.remote import RemoteFolder

_READ_BYTES = 1 << 20


def is_remote(place: str) -> bool:
    """Return whether a place is a URL and not a path."""
    return "://" in place


def is_shards(place: str) -> bool:
    """Return whether a place is meant as shards: a URL, a folder, or the header in a folder."""
    return is_remote(place) or os.path.isdir(place) or os.path.basename(place) == HEADER


def read_index(place: str, limits: "DownloadLimits | None" = None) -> ShardIndex:
    """Return the index of the shards in a folder or at a URL (that of the folder, or of its shards.json).

    Raises: DataError if it is missing, or not one; MachineError, UsageError as `fetch`.
    """
    place = place.rstrip("/").removesuffix(f"/{HEADER}") if place != HEADER else "."
    if not is_remote(place):
        header_bytes = _local_bytes(Path(place) / HEADER, MAX_HEADER_BYTES)
        header = parse_header(header_bytes, place)
        data = _local_bytes(Path(place) / INDEX, header["utterances"] * RECORD.itemsize + 1)
        return index_of(header, hashlib.sha256(header_bytes).hexdigest(), data, place)
    from asr.data.remote import cache_folder, fetch  # needs a system with file locks

    folder = cache_folder(place)
    copies = [folder.with_name(f"{folder.name}.{os.getpid()}.{name}") for name in (HEADER, INDEX)]
    try:
        fetch(f"{place}/{HEADER}", copies[0], limits=limits)
        header_bytes = _local_bytes(copies[0], MAX_HEADER_BYTES)
        header = parse_header(header_bytes, place)
        fetch(f"{place}/{INDEX}", copies[1], limits=limits)
        data = _local_bytes(copies[1], header["utterances"] * RECORD.itemsize + 1)
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)
    return index_of(header, hashlib.sha256(header_bytes).hexdigest(), data, place)


class ShardReader:
    """Reads utterances of an index.  Every shard is checked against its hash when it is opened.

    Remote shards are fetched first; `cache_mb` of them stay here beside those in use.
    """

    def __init__(self, index: ShardIndex, *, cache_mb: int = 0, limits: "DownloadLimits | None" = None) -> None:
        self.index = index
        self._cache_bytes = cache_mb << 20
        self._remote = _remote_folder(index.place, limits) if is_remote(index.place) else None
        self._open: dict[int, int] = {}  # shard -> file descriptor
        self._locks: dict[int, threading.Lock] = {}
        self._ahead: threading.Thread | None = None

    def read(self, index: int) -> ShardedUtterance:
        """Return an utterance.  Raises: DataError if its shard is missing, damaged or another one."""
        number, first, last = self.index.span(index)
        data = os.pread(self._descriptor(number), last - first, first)
        try:
            if len(data) < last - first:
                raise RowError("is cut short")
            return parse_row(data, self.index.identity_of(index))
        except RowError as error:
            where = f"{self._name(self.index.shards[number])}: utterance {index - int(self.index.firsts[number])}"
            raise DataError(f"{where} {error}; {_CURE}") from None

    def waveform(self, index: int, utterance: ShardedUtterance, sample_rate: int) -> Waveform:
        """Return the waveform (S,) of an utterance that was read, at `sample_rate` in Hz.  Raises: DataError."""
        name = f"{self.index.place}: utterance '{utterance.id}'"
        waveform, rate = decode_flac(utterance.audio, name=name)
        expected = int(self.index.records["samples"][index])
        if (len(waveform), rate) != (expected, self.index.sample_rate):
            wanted = f"{expected} at {self.index.sample_rate} Hz"
            raise DataError(f"{name} has {len(waveform)} samples at {rate} Hz, the index says {wanted}; {_CURE}")
        if rate == sample_rate:
            return waveform
        note_rate(self.index.place, rate, sample_rate)
        return resample(waveform, rate, sample_rate)

    def look_ahead(self, now: Iterable[int], soon: Iterable[int]) -> None:
        """Close all shards but those of `now` and `soon`, and open these beside the work of others."""
        kept = dict.fromkeys([*now, *soon])  # in their order
        for number in self._open.keys() - kept:
            os.close(self._open.pop(number))
        if self._remote is not None:
            names = {self.index.shards[number].file for number in kept}
            self._remote.drop(but=names, above_bytes=self._cache_bytes)
        self._ahead = threading.Thread(target=self._open_all, args=(list(kept), self._ahead), daemon=True)
        self._ahead.start()

    def _open_all(self, numbers: Iterable[int], before: threading.Thread | None) -> None:
        if before is not None:
            before.join()  # one shard is fetched at a time, and in their order
        for number in numbers:
            try:
                self._descriptor(number)
            except InputError:  # whoever needs the shard will meet it again, and say so
                return

    def _descriptor(self, number: int) -> int:
        found = self._open.get(number)
        if found is not None:
            return found
        with self._locks.setdefault(number, threading.Lock()):
            if number not in self._open:
                self._open[number] = self._checked(self.index.shards[number])
            return self._open[number]

    def _checked(self, shard: Shard) -> int:
        """Return the descriptor of a shard that was read as a whole and is the one of the index."""
        if self._remote is None:
            return self._opened(Path(self.index.place) / shard.file, shard)
        path = self._remote.get(shard.file, size=shard.size, sha256=shard.sha256)
        try:
            return self._opened(path, shard)
        except DataError:  # of an earlier training, and damaged since
            path.unlink(missing_ok=True)
            path = self._remote.get(shard.file, size=shard.size, sha256=shard.sha256)
            return self._opened(path, shard)

    def _opened(self, path: Path, shard: Shard) -> int:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DataError(f"{path}: this shard is lost; put it back, or {_CURE}") from None
        except OSError as error:
            raise DataError(f"{path}: cannot read the shard: {error.strerror}; check the file") from None
        try:
            _check(descriptor, shard, self._name(shard))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _name(self, shard: Shard) -> str:
        return f"{self.index.place}/{shard.file}"


def _remote_folder(url: str, limits: "DownloadLimits | None") -> "RemoteFolder":
    from asr.data.download import DownloadLimits
    from asr.data.remote import RemoteFolder, cache_folder

    return RemoteFolder(url, cache_folder(url), limits or DownloadLimits())


_CURE = "copy the shards again, or make them again with asr shard"


def _check(descriptor: int, shard: Shard, where: str) -> None:
    size = os.fstat(descriptor).st_size
    if size != shard.size:
        why = "cut short" if size < shard.size else "another file"
        raise DataError(f"{where}: has {size} bytes, the index says {shard.size}: {why}; {_CURE}")
    digest, position, buffer = hashlib.sha256(), 0, memoryview(bytearray(_READ_BYTES))
    _advise(descriptor, "POSIX_FADV_SEQUENTIAL")  # the disk reads while we hash: 1.1 instead of 0.7 GB/s
    while position < size:
        try:
            count = os.preadv(descriptor, [buffer], position)
        except OSError as error:
            raise DataError(f"{where}: cannot read the shard: {error.strerror}; check the disk") from None
        if not count:
            raise DataError(f"{where}: ends at {position} of {size} bytes; {_CURE}")
        digest.update(buffer[:count])
        position += count
    _advise(descriptor, "POSIX_FADV_NORMAL")
    if digest.hexdigest() != shard.sha256:
        raise DataError(f"{where}: its SHA-256 is not the one in the index: damaged, or of another corpus; {_CURE}")


def _advise(descriptor: int, how: str) -> None:
    if hasattr(os, "posix_fadvise"):  # not on every system
        os.posix_fadvise(descriptor, 0, 0, getattr(os, how))


def _local_bytes(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of a file."""
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        raise DataError(f"{path}: missing; give a manifest, or a folder made by asr shard") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}; check the path") from None
