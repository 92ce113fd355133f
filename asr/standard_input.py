"""Standard input as bytes, for commands that take - for a file."""

import sys
from typing import BinaryIO

from asr.errors import DataError


def standard_input() -> BinaryIO:
    """Return it.  Raises: DataError where this program was started without one."""
    if sys.stdin is None:  # as `<&-` does, and services may
        raise DataError("standard input is closed; pipe something to it, or give a file")
    return sys.stdin.buffer
