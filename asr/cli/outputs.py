"""Where commands write: never over what they read."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from asr.errors import UsageError


def refuse_overwriting(out: str | Path, inputs: Iterable[str | Path], *, flag: str = "--out") -> None:
    """Raise UsageError if the file `out` is one of the files to read, also under another name or through a link.

    Devices and pipes are left alone: a terminal may be read and written.
    """
    refuse_overwriting_any([out], inputs, flag=flag)


def refuse_overwriting_any(outs: Iterable[str | Path], inputs: Iterable[str | Path], *, flag: str = "--out") -> None:
    """Raise UsageError as `refuse_overwriting` if one of the files `outs` is one of the files to read."""
    there = [out for out in outs if os.path.isfile(out)]
    if not there:
        return
    read: dict[tuple[int, int], str | Path] = {}
    for path in inputs:
        with suppress(OSError):  # what cannot be read is said by its reader
            read[_identity(path)] = path
    for out in there:
        if (same := read.get(_identity(out))) is not None:
            raise UsageError(f"{flag} {out}: is one of the files to read ({same}); choose another name")


def refuse_folder(out: str | Path, *, flag: str = "--out") -> None:
    """Raise UsageError if `out` is a folder where a file is to be written: before the work, not after it."""
    if os.path.isdir(Path(out)):  # an empty name is the folder itself
        raise UsageError(f"{flag} {out}: is a folder; name the file to write")


def _identity(path: str | Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
