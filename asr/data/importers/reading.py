"""Text files as other programs leave them: their encodings, line ends, numbers and JSON rows."""

import codecs
import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from asr.errors import DataError, shown
from asr.units import Seconds

MAX_LIST_BYTES = 1 << 31
MAX_ROW_BYTES = 1 << 26  # of a JSON row; lhotse writes all words of an hour, with their times, into one
MAX_ROWS_BYTES = 1 << 34  # of all rows, decompressed
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_NUMBER = re.compile(r"-?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:[.,]\d+)?)", re.ASCII)


def read_text(path: str | Path, *, max_bytes: int = MAX_LIST_BYTES) -> str:
    """Return a text file, UTF-8 or, with its byte-order mark, UTF-16.

    Raises: DataError if it cannot be read, is too long or in another encoding.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}; check the path") from None
    if len(data) > max_bytes:
        raise DataError(f"{path}: longer than {max_bytes} bytes; is this the right file?")
    bom, encoding = next(((bom, name) for bom, name in _BOMS if data.startswith(bom)), (b"", "utf-8"))
    try:
        text = data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].decode(encoding, "replace").count("\n") + 1
        name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
        raise DataError(f"{path}:{line}: not {name}; save the file as UTF-8") from None
    if "\0" in text:
        raise DataError(f"{path}: holds zero bytes, as binary files do, or UTF-16 without its mark; save it as UTF-8")
    return text


def text_lines(text: str) -> list[str]:
    """Return the lines of a text; only LF, CR LF and the lone CR of old spreadsheets end one."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")  # splitlines() would also split at U+2028 and U+0085, which are part of transcripts
    return lines[:-1] if lines[-1] == "" else lines


def seconds(text: str) -> Seconds:
    """Return a time written as 1.5, 1,5 (decimal comma), 1:02.5 or 1:02:03.5.  Raises: ValueError saying what it is."""
    stripped = text.strip()
    if _NUMBER.fullmatch(stripped):
        value = float(stripped.replace(",", "."))
        if math.isfinite(value):
            return value
    clock = _CLOCK.fullmatch(stripped)
    if clock is None:
        raise ValueError(f"{shown(text)} is no time; write seconds, as 1.5, or 1:02:03.5")
    hours, minutes, rest = clock.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


def between(start: Seconds, end: Seconds) -> Seconds:
    """Return end - start without the noise of the subtraction: what was written as decimals comes out as decimals."""
    return round(end - start, 9)


def json_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of a .jsonl or .jsonl.gz file, without blank lines.

    Raises: DataError if it cannot be read or is too long.
    """
    opener: Any = gzip.open if os.fspath(path).endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            yield from _limited_lines(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(f"{path}: not a whole gzip file; get it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}; check the path") from None


def _limited_lines(path: str | Path, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    total = number = 0
    while raw := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        total += len(raw)
        if len(raw) > MAX_ROW_BYTES or total > MAX_ROWS_BYTES:
            raise DataError(f"{path}:{number}: rows of more than {MAX_ROW_BYTES} bytes; is this the right file?")
        raw = raw.removeprefix(codecs.BOM_UTF8)
        if raw.strip():
            yield number, raw


def parse_row(raw: bytes) -> dict[str, Any]:
    """Return one row of JSON Lines.  Raises: ValueError saying what is wrong."""
    try:
        row = json.loads(raw.decode("utf-8").rstrip())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError):  # an integer of thousands of digits; brackets nested thousands deep
        raise ValueError("not JSON that a list could hold") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object {{...}}, found {shown(row)}")
    return row
