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
    if not os.path.isfile(out):
        return
    for path in inputs:
        with suppress(OSError):  # what cannot be read is said by its reader
            if os.path.samefile(out, path):
                raise UsageError(f"{flag} {out}: is one of the files to read ({path}); choose another name")
