"""Lines of the text files that corpora come with."""

from collections.abc import Iterator
from pathlib import Path

from asr.errors import DataError

MAX_LINE_BYTES = 1_000_000


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end) of a UTF-8 text; lines end in LF or CRLF and in nothing else.

    Raises: DataError if it cannot be read, for a line that is not UTF-8, and for one of a megabyte or more.
    """
    try:
        with open(path, "rb") as file:
            number = 0
            while raw := file.readline(MAX_LINE_BYTES):
                number += 1
                if len(raw) >= MAX_LINE_BYTES:
                    raise DataError(
                        f"{path}:{number}: the line is longer than {MAX_LINE_BYTES} bytes; get the file again"
                    )
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, line.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: not UTF-8 ({error.reason}); get the file again, or save it as UTF-8"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}; check --corpus") from None
