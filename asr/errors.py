"""Errors that a user can cause and cure, and the exit codes they end with.

Every message is one line: where, what is wrong, the value found, what is allowed or what to do.
"""

import difflib
import errno
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_DONE = 0
EXIT_DEFECT = 1  # a defect of ours: the traceback is shown
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_MACHINE = 4
EXIT_INTERRUPTED = 130


class InputError(ValueError):
    """Something given to us is wrong; the message says what and how to cure it."""

    exit_code = EXIT_DATA


class UsageError(InputError):
    """Wrong usage or configuration (exit code 2)."""

    exit_code = EXIT_USAGE


class DataError(InputError):
    """Bad or missing data: audio, manifest, model, language model (exit code 3)."""

    exit_code = EXIT_DATA


class MachineError(InputError):
    """This machine lacks something: disk, memory, permission, GPU, package (exit code 4)."""

    exit_code = EXIT_MACHINE


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest known name, or the known names if none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def to_install(package: str) -> str:
    """Return the command that installs a package for the Python that runs, whichever `pip` comes first on the path."""
    return f"{sys.executable} -m pip install {package}"


_CURES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
}


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn an OSError raised while writing `path` into a one-line MachineError."""
    try:
        yield
    except OSError as error:
        cure = _CURES.get(error.errno or 0, "check the path")
        raise MachineError(f"{path}: cannot write: {error.strerror or error}; {cure}") from error


def shown(value: object) -> str:
    """Return a value from a file as short JSON for a message: ASCII, at most 40 characters."""
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
