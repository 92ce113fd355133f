"""Files of a remote folder (http, https, s3, gs, whatever fsspec knows), fetched whole into a folder of this machine.

All processes of a machine share what one of them has fetched: each file has a lock, and bears its name only when it
is whole and its hash is right.  What is not needed any more is deleted, the least recently used first.
"""

import fcntl
import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from asr.data.download import DownloadLimits, download
from asr.errors import DataError, MachineError, UsageError, writing
from asr.store import replacing

BLOCK_BYTES = 8 << 20  # asked for at a time: few requests, and little is asked for again
_LONGEST_WAIT = 60.0  # seconds between two attempts
_HTTP = ("http", "https")
_NOT_OS_ERRORS = {"botocore.exceptions": "BotoCoreError", "gcsfs.retry": "HttpError", "aiohttp": "ClientError"}
_Found = TypeVar("_Found")


def cache_folder(url: str) -> Path:
    """Return where files of a remote folder are kept: below TMPDIR, in a folder of this user alone.

    Raises: MachineError if that folder is somebody else's.
    """
    top = Path(tempfile.gettempdir()) / f"asr-shards-{os.getuid()}"
    with writing(top):
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.lstat(top)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise MachineError(f"{top}: is not a folder of yours alone; delete it, or set TMPDIR to another folder")
    return top / hashlib.blake2b(url.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True)
class RemoteFolder:
    """A folder at a URL, and where its files come to lie here."""

    url: str
    folder: Path
    limits: DownloadLimits

    def get(self, name: str, *, size: int, sha256: str) -> Path:
        """Return the local copy of a file, fetched if it is not there.

        Raises: DataError if it is missing, not to be had, or another one; MachineError, UsageError as `fetch`.
        """
        path = self.folder / name
        with writing(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.folder / f".{name}.lock"):
            if not _has_size(path, size):
                path.unlink(missing_ok=True)
                fetch(f"{self.url}/{name}", path, size=size, sha256=sha256, limits=self.limits)
            with suppress(OSError):
                os.utime(path)  # the least recently used are deleted first
        return path

    def drop(self, *, but: Collection[str], above_bytes: int) -> None:
        """Delete fetched files until at most `above_bytes` are left, the least recently used first; `but` stay."""
        found = []
        for path in self.folder.glob("*.tar"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= above_bytes:
                return
            if path.name not in but:
                path.unlink(missing_ok=True)
                total -= size


def fetch(
    url: str, target: Path, *, size: int | None = None, sha256: str | None = None, limits: DownloadLimits | None = None
) -> None:
    """Fetch a file to `target`, in pieces that are tried again after a pause, and check it.

    Raises: DataError if it is missing, does not come, or is another one; MachineError if it cannot be written, or
        the package for this kind of URL is missing; UsageError for an unknown kind.
    """
    limits = limits or DownloadLimits()
    if urlsplit(url).scheme in _HTTP:
        download([url], target, size=size, sha256=sha256, limits=limits)
        return
    store, path = _store(url)
    found = _retried(url, lambda: int(store.size(path)), limits)
    if found != size and size is not None:
        raise DataError(f"{url}: has {found} bytes, the index says {size}: it is cut short or another file; restore it")
    if found > limits.max_bytes:
        raise DataError(f"{url}: {found} bytes are more than the limit of {limits.max_bytes}")
    digest = hashlib.sha256()
    with replacing(target) as temporary, open(temporary, "wb") as file:
        for block in _blocks(url, store, path, found, limits):
            digest.update(block)
            file.write(block)
    if sha256 is not None and digest.hexdigest() != sha256:
        target.unlink(missing_ok=True)
        raise DataError(f"{url}: its SHA-256 is {digest.hexdigest()}, expected {sha256}; restore the file")


def _store(url: str) -> tuple[Any, str]:
    """Return (fsspec's file system, the path in it) of a URL."""
    import fsspec

    try:
        store, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MachineError(f"{url}: {' '.join(str(error).split())}: pip install it") from None
    except ValueError as error:
        raise UsageError(f"{url}: {' '.join(str(error).split())}; give a folder, or an http, s3 or gs URL") from None
    return store, str(path)


def _blocks(url: str, store: Any, path: str, size: int, limits: DownloadLimits) -> Iterator[bytes]:
    def piece(start: int, end: int) -> bytes:
        data: bytes = store.cat_file(path, start=start, end=end)
        if len(data) != end - start:
            raise OSError(f"bytes {start} to {end} came as {len(data)} bytes")
        return data

    for start in range(0, size, BLOCK_BYTES):
        end = min(size, start + BLOCK_BYTES)
        yield _retried(url, lambda start=start, end=end: piece(start, end), limits)  # type: ignore[misc]


def _retried(url: str, ask: Callable[[], _Found], limits: DownloadLimits) -> _Found:
    """Return what `ask` returns, asked again after a pause if it fails.  Raises: DataError naming the URL."""
    for attempt in range(limits.attempts):
        try:
            return ask()
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise DataError(f"{url}: {_reason(error)}; put the file back, or make the shards again") from None
        except _store_errors() as error:
            reason = _reason(error)
        if attempt + 1 < limits.attempts:
            time.sleep(min(_LONGEST_WAIT, limits.backoff * 2**attempt))
    raise DataError(f"{url}: cannot be read: {reason} (tried {limits.attempts} times); check the network and try again")


def _store_errors() -> tuple[type[BaseException], ...]:
    """Return what a store of fsspec raises when it fails; some raise no OSError."""
    foreign = (getattr(sys.modules.get(module), name, OSError) for module, name in _NOT_OS_ERRORS.items())
    return (OSError, *foreign)


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock against all other processes of this machine, and wait for it."""
    with writing(path):
        file = open(path, "ab")  # noqa: SIM115 (closed below; opening alone may raise)
    with file:
        with suppress(OSError):  # a file system without locks: a file is fetched twice, and still whole
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
