"""Texts of any size in blocks of whole lines: plain, gzip, standard input, or the texts of a manifest."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from asr.errors import DataError
from asr.standard_input import standard_input

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 1_000_000
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


def named(path: str | Path) -> str:
    """Return what messages call the text at `path`."""
    return "standard input" if str(path) == "-" else str(path)


def line_blocks(path: str | Path, spelling: Callable[[str], str] | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield (number of its first line, from 1; whole lines, each ended by a newline) of a UTF-8 text.

    `path` "-" is standard input; what starts like gzip is expanded; a byte-order mark at the start is dropped; of a
    manifest (*.jsonl) each row's text is a line.

    Args: spelling: what becomes of a line, such as a recogniser's normaliser.
    Raises: DataError if it cannot be read, is truncated or not UTF-8, has a line of a megabyte or more, or a row
        without text.
    """
    is_manifest = str(path).endswith(".jsonl")
    number = 1
    for block in _whole_lines(path):
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            at = number + block.count(b"\n", 0, error.start)
            raise DataError(
                f"{named(path)}:{at}: not UTF-8 (byte 0x{block[error.start]:02x}); save the file as UTF-8"
            ) from None
        if is_manifest:
            text = _row_texts(text, path, number)
        yield number, text.encode() if spelling is None else _spelled(text, spelling)
        number += block.count(b"\n")


def _row_texts(rows: str, path: str | Path, number: int) -> str:
    """Return the texts of as many rows of a manifest, a line each.  Args: number: of the first row's line."""
    lines = []
    for place, row in enumerate(rows.removesuffix("\n").split("\n"), number):
        try:
            values = json.loads(row) if row.strip() else {"text": ""}
            lines.append(" ".join(values["text"].split()))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{path}:{place}: no row with a text; give a manifest, or a text not named *.jsonl"
            ) from None
    return "".join(f"{line}\n" for line in lines)


def _spelled(lines: str, spelling: Callable[[str], str]) -> bytes:
    """Return as many lines as there were, each with the words that `spelling` makes of it."""
    spelled = (" ".join(spelling(line).split()) for line in lines.removesuffix("\n").split("\n"))
    return "".join(f"{line}\n" for line in spelled).encode()


def _whole_lines(path: str | Path) -> Iterator[bytes]:
    rest, number, first = b"", 1, True
    for block in _raw_blocks(path):
        text = rest + (block.removeprefix(_BOM) if first else block)
        first = False
        end = text.rfind(b"\n") + 1
        rest = text[end:]
        _refuse_long_lines(path, number, text, end)
        number += text.count(b"\n", 0, end)
        if end:
            yield text[:end]
    if rest:
        yield rest + b"\n"


def _refuse_long_lines(path: str | Path, number: int, text: bytes, end: int) -> None:
    """Raise DataError if a line of text, or what follows `end` without being a line yet, is too long."""
    start = 0
    while start + MAX_LINE_BYTES <= len(text):
        stop = text.rfind(b"\n", start, start + MAX_LINE_BYTES) + 1
        if stop == 0:
            at = number + text.count(b"\n", 0, min(start, end))
            raise DataError(
                f"{named(path)}:{at}: the line is longer than {MAX_LINE_BYTES} bytes; break it, or get the file again"
            )
        start = stop


def _raw_blocks(path: str | Path) -> Iterator[bytes]:
    try:
        if str(path) == "-":
            yield from _expanded(standard_input())
            return
        with open(path, "rb") as file:
            yield from _expanded(file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{named(path)}: a truncated or broken gzip file ({error}); get it again") from None
    except OSError as error:
        raise DataError(f"{named(path)}: cannot read: {error.strerror or error}; check the path") from None


def _expanded(file: IO[bytes]) -> Iterator[bytes]:
    start = file.peek(2)[:2] if hasattr(file, "peek") else b""
    source: IO[bytes] = gzip.open(file, "rb") if start == _GZIP_MAGIC else file  # type: ignore[assignment] # noqa: SIM115
    while block := source.read(BLOCK_BYTES):
        yield block
