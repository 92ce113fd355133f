"""N-gram models to ARPA files, plain or gzip."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from asr.lm.automaton import table_of
from asr.lm.ngram import NgramModel
from asr.lm.table import NgramTable
from asr.lm.words import WordTable
from asr.native import compiled
from asr.store import replacing

_BUFFER_BYTES = 1 << 22
_NUMBER_BYTES = 32  # room for one number and what stands around it
_GZIP_LEVEL = 6


def write_arpa(path: str | Path, model: NgramModel) -> None:
    """Write a model as ARPA, through a temporary file; compressed if the name ends in .gz.  Raises: MachineError."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        if str(path).endswith(".gz"):
            # no name and no time inside: equal models are equal files
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                packed.writelines(arpa_parts(model))
        else:
            file.writelines(arpa_parts(model))


def arpa_parts(model: NgramModel) -> Iterator[bytes]:
    """Yield the text of an ARPA file piece by piece."""
    table = table_of(model)
    yield b"\\data\\\n"
    for length in range(1, table.order + 1):
        yield b"ngram %d=%d\n" % (length, table.ends[length] - table.ends[length - 1])
    words = WordTable(model.symbols[3:]).arrays
    assert words.size[0] == len(model.symbols), "a symbol is there twice"
    out = np.empty(_BUFFER_BYTES, np.uint8)
    longest = int(np.diff(words.starts[: len(model.symbols) + 1]).max()) + 1
    for length in range(1, table.order + 1):
        yield b"\n\\%d-grams:\n" % length
        row = np.empty(length, np.int32)
        yield from _section(table, length, words, row, _roomy(out, length * longest))
    yield b"\n\\end\\\n"


def _roomy(out: Any, line_bytes: int) -> Any:
    needed = line_bytes + 2 * _NUMBER_BYTES
    return out if len(out) > 2 * needed else np.empty(2 * needed, np.uint8)


def _section(table: NgramTable, length: int, words: Any, row: Any, out: Any) -> Iterator[bytes]:
    ngram, end = table.ends[length - 1], table.ends[length]
    arrays = table.parents, table.words, table.log10_probs, table.backoffs
    while ngram < end:
        ngram, filled = _write(arrays, (ngram, end), words, row, length < table.order, out)
        yield out[:filled].tobytes()


@compiled
def _write(arrays: Any, span: Any, words: Any, row: Any, weighted: bool, out: Any) -> Any:
    """Write lines until the buffer is full; return (the first n-gram that is not in it, bytes used).

    Args: arrays: parents, last words, probabilities and weights of the table; span: the n-grams; row: room for one.
    """
    parents, last_words, probs, backoffs = arrays
    ngram, end = span
    filled = 0
    while ngram < end:
        line = ngram
        needed = 64
        for place in range(len(row) - 1, -1, -1):
            row[place] = last_words[line]
            needed += words.starts[row[place] + 1] - words.starts[row[place]] + 1
            line = parents[line]
        if filled + needed > len(out):
            break
        filled = _write_number(out, filled, probs[ngram])
        for place in range(len(row)):
            out[filled] = 32 if place else 9
            filled += 1
            for k in range(words.starts[row[place]], words.starts[row[place] + 1]):
                out[filled] = words.pool[k]
                filled += 1
        if weighted:
            out[filled] = 9
            filled = _write_number(out, filled + 1, backoffs[ngram])
        out[filled] = 10
        filled += 1
        ngram += 1
    return ngram, filled


@njit(nogil=True, error_model="numpy")
def _write_number(out: Any, filled: int, number: Any) -> int:
    """Write a decimal number of at most 9 digits that reads back as the same float32, above 0.01; return the end."""
    value = np.float64(number)
    if value < 0:
        out[filled] = 45
        filled += 1
        value = -value
    places = 9 if value < 1 else 7
    scaled = np.int64(np.rint(value * 10.0**places))
    while places > 0 and scaled % 10 == 0:
        scaled //= 10
        places -= 1
    unit = np.int64(1)
    for _ in range(places):
        unit *= 10
    whole, rest = scaled // unit, scaled % unit
    filled = _write_digits(out, filled, whole, 1)
    if places:
        out[filled] = 46
        filled = _write_digits(out, filled + 1, rest, places)
    return filled


@njit(nogil=True, error_model="numpy")
def _write_digits(out: Any, filled: int, value: Any, least: int) -> int:
    """Write a whole number with at least so many digits; return the end."""
    digits, rest = 1, value // 10
    while rest > 0:
        digits, rest = digits + 1, rest // 10
    digits = max(digits, least)
    for k in range(digits):
        out[filled + digits - 1 - k] = 48 + value % 10
        value //= 10
    return filled + digits
