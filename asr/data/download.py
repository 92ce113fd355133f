"""Downloads that resume, and the unpacking of archives from strangers.

A download grows in `NAME.part` and is renamed when its size and hash (SHA-256, or MD5 where nothing better was
published) are right, so a file under its own name is always whole.  Every failure says how to get the file by hand.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol, cast
from urllib.parse import urlsplit

from asr.errors import DataError, MachineError, UsageError, writing
from asr.units import Seconds

BLOCK_BYTES = 1 << 18
_HASHES = {"sha256": "SHA-256", "md5": "MD5"}  # as people write them
Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where known


@dataclass(frozen=True)
class DownloadLimits:
    """How patient a download is, and how large a file it accepts.

    Attributes:
        attempts: consecutive failures, without a single new byte, after which a URL is given up.
        timeout: seconds without an answer or a byte that count as a failure.
        backoff: seconds before the second attempt; doubles with each further one, 60 at most.
        max_bytes: larger files are refused.
    """

    attempts: int = 5
    timeout: Seconds = 30.0
    backoff: Seconds = 1.0
    max_bytes: int = 200 << 30


@dataclass(frozen=True)
class ExtractLimits:
    """How much an archive may unpack to."""

    max_files: int = 1_000_000
    max_bytes: int = 500 << 30


class Readable(Protocol):
    """What a tar archive can be read from, once, from its start."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


class _RetryError(Exception):
    """This attempt failed in a way that may pass."""


class _GiveUpError(Exception):
    """This URL cannot give the file."""


def download(
    urls: Sequence[str],
    target: str | Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    limits: DownloadLimits | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return `target`, fetched from the first of `urls` that gives the right file.

    A file already in place is accepted if its size and hash are right.  An interrupted download goes on where
    it stopped; one without a hash does so only within this call, as an old part may be of another file.

    Args:
        urls: http or https addresses of the same bytes, tried in order.
        sha256, md5: hexadecimal digest of the whole file; MD5 tells a damaged file, not a forged one.
        size: in bytes.
    Raises: DataError with the way to get the file by hand; MachineError if it cannot be written;
        UsageError for an address of another scheme.
    """
    target, limits = Path(target), limits or DownloadLimits()
    for url in urls:
        if urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(f"{url}: only http and https addresses can be downloaded")
    expected = _Expected(size, {"sha256": sha256, "md5": md5})
    job = _Job(target, expected, limits, progress)
    if target.exists():
        fault = expected.fault_of(target)
        if fault:
            raise DataError(f"{target}: {fault}; delete it to download it again, or {_by_hand(urls, target)}")
        return target
    failures = []
    with _locked_part(target) as part:
        for url in urls:
            try:
                job.fetch(url, part)
                return target
            except _GiveUpError as error:
                failures.append(f"{url}: {error}")
    raise DataError(f"{target}: cannot download: {'; '.join(failures)}; {_by_hand(urls, target)}")


def sha256_of(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes.  Raises: DataError if it cannot be read."""
    return _digest_of(path, "sha256")


def extract_tar(
    archive: str | Path,
    folder: str | Path,
    *,
    limits: ExtractLimits | None = None,
    source: Readable | None = None,
    wanted: Callable[[str], bool] | None = None,
) -> Path:
    """Return `folder`, made from a tar archive (plain, gzip, bzip2 or xz): all of it, or nothing.

    Only files and folders are unpacked, with fresh permissions.  Nothing is run, linked or written outside.

    Args:
        source: where to read the archive, if not from a file of its own; `archive` then names it in messages.
        wanted: whether to unpack the file of this path ("usr/share/..."); the others are passed over.
    Raises: DataError for an archive that is damaged, too large, or holds links, devices or paths that lead
        outside; DataError if `folder` exists; MachineError if it cannot be written.
    """
    folder, limits = Path(folder), limits or ExtractLimits()
    if folder.exists():
        raise DataError(f"{folder}: already exists; delete it to unpack {archive} again")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with writing(folder):
            temporary.mkdir(parents=True)
        _extract_members(_members(Path(archive), source, wanted), Path(archive), temporary, limits)
        with writing(folder):
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _by_hand(urls: Sequence[str], target: Path) -> str:
    return f"get it by hand: fetch {' or '.join(urls)} and save it as {target}"


@dataclass(frozen=True)
class _Expected:
    """What is known of a file: its size in bytes, its hexadecimal digest by the name of the hash; None: not known."""

    size: int | None
    digests: Mapping[str, str | None]

    @property
    def is_known(self) -> bool:
        """Whether a hash tells this file from any other."""
        return any(self.digests.values())

    def fault_of(self, path: Path) -> str | None:
        """Return what is wrong with a whole file, or None."""
        found = path.stat().st_size
        if self.size is not None and found != self.size:
            return f"has {found} bytes, expected {self.size}"
        for name, expected in self.digests.items():
            if expected and (digest := _digest_of(path, name)) != expected.lower():
                return f"its {_HASHES[name]} is {digest}, expected {expected.lower()}"
        return None


def _digest_of(path: str | Path, name: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}; check the path") from None


@contextlib.contextmanager
def _locked_part(target: Path) -> Iterator[BinaryIO]:
    """Yield the open `.part` file, held for this process alone; remove it if it ends up empty."""
    path = target.with_name(target.name + ".part")
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = open(path, "ab+")  # noqa: SIM115 (closed below; opening alone may raise)
    with part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineError(f"{path}: another process is downloading it; wait for that one to end") from None
        except OSError:
            pass  # a file system without locks: the size and the hash still guard the result
        try:
            yield part
        finally:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size == 0:
                    path.unlink()


@dataclass
class _Job:
    """One file to fetch, from whichever address."""

    target: Path
    expected: _Expected
    limits: DownloadLimits
    progress: Progress | None

    def fetch(self, url: str, part: BinaryIO) -> None:
        """Fetch the file from one address and rename it.  Raises: _GiveUpError."""
        if not self.expected.is_known:
            self._restart(part)
        for fresh in (_length(part) == 0, True):
            self._fetch_bytes(url, part)
            fault = self.expected.fault_of(Path(part.name))
            if fault is None:
                with writing(self.target):
                    os.fsync(part.fileno())
                    os.replace(part.name, self.target)
                return
            self._restart(part)
            if fresh:
                break
            # The start came from an older part, perhaps of another file: once more, from nothing.
        raise _GiveUpError(fault)

    def _fetch_bytes(self, url: str, part: BinaryIO) -> None:
        """Let the part grow to its full length.  Raises: _GiveUpError."""
        failures, validator = 0, _Validator()
        highest = _length(part)
        while True:
            try:
                self._attempt(url, part, validator)
                return
            except _RetryError as error:
                # An attempt that brought new bytes does not count: a line that drops every minute still ends.
                length = _length(part)
                failures = 1 if length > highest else failures + 1
                highest = max(highest, length)
                if failures >= self.limits.attempts:
                    raise _GiveUpError(f"{error} (tried {failures} times)") from None
            time.sleep(min(60.0, self.limits.backoff * 2 ** (failures - 1)))

    def _attempt(self, url: str, part: BinaryIO, validator: "_Validator") -> None:
        offset = _length(part)
        if offset and offset == self.expected.size:
            return
        headers = {"User-Agent": "asr-download/1", "Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", **validator.headers()}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=self.limits.timeout
            ) as response:
                validator.note(response.headers)
                self._receive(response, part)
        except urllib.error.HTTPError as error:
            self._refused(error, part)
        except (http.client.InvalidURL, UnicodeError) as error:
            raise _GiveUpError(f"not an address: {_one_line(error)}") from None
        except (http.client.HTTPException, OSError) as error:  # urllib's URLError is an OSError
            raise _RetryError(_one_line(getattr(error, "reason", None) or error)) from None

    def _refused(self, error: urllib.error.HTTPError, part: BinaryIO) -> None:
        """Raise what an HTTP status means: try again, or give this address up."""
        error.close()
        if error.code == 416:  # the part is longer than the file, or exactly as long
            self._restart(part)
            raise _RetryError("the part did not fit the file") from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _RetryError(_one_line(f"HTTP {error.code} {error.reason}")) from None
        raise _GiveUpError(_one_line(f"HTTP {error.code} {error.reason}")) from None

    def _receive(self, response: http.client.HTTPResponse, part: BinaryIO) -> None:
        """Append the body to the part (or start it anew where the server sends everything)."""
        if response.status == 206:
            start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if start is None or int(start[1]) != _length(part):
                self._restart(part)
                raise _RetryError("the server sent another range than asked for")
        else:
            self._restart(part)
        length = response.headers.get("Content-Length", "")
        total = _length(part) + int(length) if length.isdigit() else None
        self._check_room(part, total)
        while block := self._next_block(response):
            with writing(Path(part.name)):
                part.write(block)
                part.flush()
            self._check_room(part, None)
            if self.progress is not None:
                self.progress(_length(part), total)
        if total is not None and _length(part) < total:
            raise _RetryError(f"the connection ended after {_length(part)} of {total} bytes")

    def _next_block(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read1(BLOCK_BYTES)
        except (http.client.HTTPException, OSError) as error:
            raise _RetryError(_one_line(error)) from None

    def _check_room(self, part: BinaryIO, total: int | None) -> None:
        """Refuse a file that is too large for the limit, for its known size, or for the disk."""
        length = total if total is not None else _length(part)
        limit = self.limits.max_bytes if self.expected.size is None else self.expected.size
        if length > limit:
            self._restart(part)
            raise _GiveUpError(f"sends {length} bytes or more, expected {limit} at most")
        free = shutil.disk_usage(self.target.parent).free
        if total is not None and total - _length(part) > free:
            raise MachineError(f"{self.target}: needs {total} bytes, {free} are free; free some space")

    def _restart(self, part: BinaryIO) -> None:
        with writing(Path(part.name)):
            part.truncate(0)


class _Validator:
    """What says that the rest of a file belongs to its start: a strong ETag or the date of its last change."""

    def __init__(self) -> None:
        self._value: str | None = None

    def note(self, headers: http.client.HTTPMessage) -> None:
        tag = headers.get("ETag", "")
        self._value = tag if tag.startswith('"') else headers.get("Last-Modified")

    def headers(self) -> dict[str, str]:
        return {"If-Range": self._value} if self._value else {}


def _length(part: BinaryIO) -> int:
    return os.fstat(part.fileno()).st_size


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_Member = tuple[tarfile.TarInfo, IO[bytes] | None]


def _extract_members(members: Iterator[_Member], archive: Path, folder: Path, limits: ExtractLimits) -> None:
    num_files = num_bytes = 0
    for member, source in members:
        # Python 3.11.0 to 3.11.3 have no tarfile.data_filter, so its rules are written out, and stricter: no links.
        path = folder / _path_inside(archive, member)
        if member.isdir():
            with writing(path):
                path.mkdir(parents=True, exist_ok=True)
            continue
        num_files += 1
        num_bytes += member.size
        if num_files > limits.max_files or num_bytes > limits.max_bytes:
            allowed = f"{limits.max_files} files or {limits.max_bytes} bytes"
            raise DataError(f"{archive}: unpacks to more than {allowed} (at '{member.name}'); not what was expected")
        assert source is not None, "a regular member has a body"
        _copy_member(archive, member, source, path)


def _members(archive: Path, source: Readable | None, wanted: Callable[[str], bool] | None) -> Iterator[_Member]:
    """Yield (member, its body or None).  Raises: DataError for a damaged archive."""
    with _reading(archive), _opened(archive, source) as tar:
        for member in tar:
            if wanted is not None and not wanted(str(_path_inside(archive, member))):
                continue
            if not (member.isreg() or member.isdir()):
                kind = "a link" if member.issym() or member.islnk() else "a device or another special file"
                raise DataError(f"{archive}: '{member.name}' is {kind}, refused; get the archive again")
            yield member, tar.extractfile(member) if member.isreg() else None


def _opened(archive: Path, source: Readable | None) -> tarfile.TarFile:
    if source is None:
        return tarfile.open(archive, "r:*")
    return tarfile.open(mode="r|*", fileobj=cast(IO[bytes], source))  # reads, and never seeks


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, LZMAError) as error:
        why = _one_line(error)
    except OSError as error:
        why = error.strerror or _one_line(error)
    else:
        return
    raise DataError(f"{archive}: not a whole tar archive ({why}); delete it and get it again")


def _path_inside(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise DataError(f"{archive}: '{member.name}' leads outside the folder, refused; get the archive again")
    return name


def _copy_member(archive: Path, member: tarfile.TarInfo, source: IO[bytes], path: Path) -> None:
    if path.exists():
        raise DataError(f"{archive}: '{member.name}' appears twice, refused; get the archive again")
    left = member.size
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            while left:
                with _reading(archive):
                    block = source.read(min(left, BLOCK_BYTES))
                if not block:
                    raise DataError(f"{archive}: '{member.name}' is cut off; delete the archive and get it again")
                file.write(block)
                left -= len(block)
