"""ARPA files, plain or gzip, to n-gram models.

Source: Katz 1987 (back-off); the format as SRILM's manual ngram-format(5) describes it.  As kenlm does, a context that
a file of pruned n-grams lacks is put in with back-off weight 1, so that it changes no probability.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.errors import DataError
from asr.lm.arpa_table import Section, build_table
from asr.lm.automaton import automaton
from asr.lm.ngram import LOWEST_LOG10, MAX_ORDER, NgramModel
from asr.lm.reading import line_blocks, named
from asr.lm.table import MAX_NGRAMS
from asr.lm.words import ABSENT, MARKS, WordTable, find_or_add, find_word, hash_of
from asr.native import compiled

_FIRST_ROWS = 1 << 16
_COUNT = re.compile(rb"ngram\s+(\d{1,3})\s*=\s*(\d{1,18})\s*\Z")
_SECTION = re.compile(rb"\\(\d{1,3})-grams:\s*\Z")
# how `_parse` ends: the block is used up, a line that is no n-gram, no room, or what is wrong with a line
_USED_UP, _OTHER, _FULL = 0, 1, 2
_WRONG = {
    3: "does not start with a log10 probability",
    4: "has a probability above 1 (log10 above 0)",
    5: "has the wrong number of words",
    6: "has a word that is not among the 1-grams",
    7: "does not end with a log10 back-off weight",
    8: "has a back-off weight, though nothing is longer",
}
# places of the progress
_POSITION, _ROWS = 0, 1


def read_arpa(path: str | Path) -> NgramModel:
    """Return the model of an ARPA file.

    Raises: DataError naming file and line: not ARPA, truncated, other counts than announced, an n-gram given twice or
        with words unknown to the 1-grams, a probability above 1, a missing back-off weight.
    """
    reader = _Reader(path)
    sections = reader.sections()
    symbols = reader.table.symbols()
    if "<UNK>" in symbols and not reader.has_unknown:
        raise DataError(f"{reader.name}: the unknown word is called <UNK>; rename it to <unk>")
    return automaton(symbols, build_table(reader.name, sections, symbols))


@dataclass
class _Reader:
    """Where reading stands: a block of lines and the position in it."""

    path: str | Path
    table: WordTable = field(default_factory=WordTable)
    has_unknown: bool = False

    def __post_init__(self) -> None:
        self.name = named(self.path)
        self._blocks: Iterator[tuple[int, bytes]] = line_blocks(self.path)
        self._block, self._position = b"", 0
        self._line = 1  # number of the line at the position
        self._returned: tuple[int, bytes] | None = None

    def sections(self) -> list[Section]:
        """Return all n-grams, a section for each length."""
        counts = self._counts()
        sections = []
        for length, count in enumerate(counts, 1):
            line, text = self._next_line()
            found = _SECTION.match(text)
            if not found or int(found[1]) != length:
                self._fail(line, f"expected '\\{length}-grams:', found {_shown(text)}")
            sections.append(self._section(length, count, length == len(counts)))
            if length == 1:
                self._complete_words(sections[0], line)
        line, text = self._next_line()
        if text.strip() != b"\\end\\":
            self._fail(line, f"expected '\\end\\', found {_shown(text)}")
        return sections

    def _counts(self) -> list[int]:
        """Return the announced number of n-grams of each length."""
        line, text = self._next_line()
        if text.strip() != b"\\data\\":
            raise DataError(
                f"{self.name}:{line}: not an ARPA file: expected '\\data\\', found {_shown(text)}; give the file of a"
                " language model"
            )
        counts: list[int] = []
        while True:
            line, text = self._next_line()
            found = _COUNT.match(text)
            if not found:
                self._returned = line, text
                break
            counts.append(int(found[2]))
            if int(found[1]) != len(counts) or len(counts) > MAX_ORDER or counts[-1] > MAX_NGRAMS:
                self._fail(line, f"expected the number of {len(counts)}-grams, found {_shown(text)}")
        if not counts:
            self._fail(line, f"expected 'ngram 1=COUNT', found {_shown(text)}")
        return counts

    def _next_line(self) -> tuple[int, bytes]:
        """Return (number, text) of the next line that is not blank, the returned one first."""
        if self._returned is not None:
            returned, self._returned = self._returned, None
            return returned
        while True:
            if self._position >= len(self._block) and not self._next_block():
                raise DataError(f"{self.name}:{self._line}: the file ends before '\\end\\'; get it again")
            end = self._block.index(b"\n", self._position)
            text, number = self._block[self._position : end], self._line
            self._position, self._line = end + 1, self._line + 1
            if text.strip():
                return number, text

    def _next_block(self) -> bool:
        self._line, self._block = next(self._blocks, (self._line, b""))
        self._position = 0
        return bool(self._block)

    def _section(self, length: int, count: int, last: bool) -> Section:
        """Return the n-grams of one length, from the position on."""
        section = Section(self._line, *_room(_FIRST_ROWS, length))
        at = np.zeros(2, np.int64)
        while True:
            at[_POSITION] = self._position
            before = at[_ROWS]
            text = np.frombuffer(self._block, np.uint8)
            room = section.rows, section.probs, section.backoffs
            status = _parse(text, room, at, self.table.arrays, last)
            self._position, self._line = int(at[_POSITION]), self._line + int(at[_ROWS] - before)
            if status == _OTHER or (status == _USED_UP and not self._next_block()):
                break
            if status == _FULL:
                section = self._with_more_room(section, int(at[_ROWS]))
            elif status in _WRONG:
                self._refuse_line(status)
        found = int(at[_ROWS])
        if found != count:
            self._wrong_count(length, count, found)
        return Section(section.first_line, section.rows[:found], section.probs[:found], section.backoffs[:found])

    def _with_more_room(self, section: Section, used: int) -> Section:
        if used == len(section.rows):
            rows, probs, backoffs = _room(2 * used, section.rows.shape[1])
            rows[:used], probs[:used], backoffs[:used] = section.rows, section.probs, section.backoffs
            return Section(section.first_line, rows, probs, backoffs)
        self.table.grow(len(self._block))
        return section

    def _complete_words(self, section: Section, line: int) -> None:
        """Refuse a vocabulary without the marks of sentences, and put <unk> in if it is missing."""
        known = set(section.rows[:, 0].tolist())
        for number in (1, 2):
            if number not in known:
                self._fail(line, f"no {MARKS[number]} among the 1-grams", "train it on whole sentences")
        self.has_unknown = 0 in known
        if not self.has_unknown:
            section.rows = np.concatenate([section.rows, np.zeros((1, 1), np.int32)])
            section.probs = np.append(section.probs, np.float32(LOWEST_LOG10))
            section.backoffs = np.append(section.backoffs, np.float32(0))

    def _refuse_line(self, status: int) -> NoReturn:
        end = self._block.index(b"\n", self._position)
        text = self._block[self._position : end]
        self._fail(self._line, f"the line {_shown(text)} {_WRONG[status]}")

    def _wrong_count(self, length: int, count: int, found: int) -> NoReturn:
        if not self._block:
            self._fail(self._line, f"the file ends after {found} of {count} {length}-grams")
        self._fail(self._line, f"{found} {length}-grams, but {count} are announced at the top")

    def _fail(self, line: int, what: str, cure: str = "get the file again or make it anew") -> NoReturn:
        raise DataError(f"{self.name}:{line}: {what}; {cure}")


def _shown(text: bytes) -> str:
    line = text.decode("utf-8", "replace").strip()
    return f"'{line[:57]}...'" if len(line) > 60 else f"'{line}'"


def _room(count: int, length: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    return np.empty((count, length), np.int32), np.empty(count, np.float32), np.empty(count, np.float32)


@compiled
def _parse(text: Any, room: Any, at: Any, table: Any, last: bool) -> int:
    """Fill the arrays from lines of n-grams, return how that ended; `at` is the progress, with which a call goes on.

    A missing back-off weight is NaN.
    """
    position, filled = at[0], at[1]
    status = 0
    while position < len(text):
        begin = _skip(text, position)
        if text[begin] == 10 or text[begin] == 92:  # a blank line, a backslash
            status = 1
            break
        if filled == len(room[0]):
            status = 2
            break
        end, status = _parse_line(text, begin, room, filled, table, last)
        if status != 0:
            break
        position, filled = end, filled + 1
    at[0], at[1] = position, filled
    return status


@njit(nogil=True, error_model="numpy")
def _parse_line(text: Any, begin: Any, room: Any, k: Any, table: Any, last: bool) -> Any:
    """Return (where the next line begins, 0 or what is wrong); fill row k."""
    rows, probs, backoffs = room
    row = rows[k]
    end = _field_end(text, begin)
    prob, good = _number(text, begin, end)
    if not good:
        return begin, 3
    if prob > 0:
        return begin, 4
    for place in range(len(row)):
        begin = _skip(text, end)
        if text[begin] == 10:
            return begin, 5
        end = _field_end(text, begin)
        if len(row) == 1:
            word = find_or_add(text, begin, end, table)
            if word == ABSENT:
                return begin, 2
        else:
            word, _ = find_word(text, begin, end, hash_of(text, begin, end), table)
            if word == ABSENT:
                return begin, 6
        row[place] = word
    probs[k] = prob
    backoffs[k] = 0 if last else np.nan
    begin = _skip(text, end)
    if text[begin] != 10:
        end = _field_end(text, begin)
        backoffs[k], good = _number(text, begin, end)
        begin = _skip(text, end)
        if text[begin] != 10:
            return begin, 5
        if not good:
            return begin, 7
        if last and backoffs[k] != 0:
            return begin, 8
    return begin + 1, 0


@njit(inline="always")
def _skip(text: Any, position: int) -> Any:
    """Return the next position that is no space, tab or carriage return."""
    while text[position] == 32 or text[position] == 9 or text[position] == 13:
        position += 1
    return position


@njit(inline="always")
def _field_end(text: Any, position: int) -> Any:
    while text[position] != 32 and text[position] != 9 and text[position] != 13 and text[position] != 10:
        position += 1
    return position


@njit(nogil=True, error_model="numpy")
def _number(text: Any, begin: Any, end: Any) -> Any:
    """Return (the decimal number text[begin:end], whether it is one)."""
    negative = text[begin] == 45
    if negative or text[begin] == 43:
        begin += 1
    digits, value, scale = 0, np.int64(0), 0
    point = False
    while begin < end:
        letter = text[begin]
        if letter == 46 and not point:
            point = True
        elif 48 <= letter <= 57:
            digits += 1
            if value < 100_000_000_000_000_000:
                value = value * 10 + (np.int64(letter) - 48)
                scale -= point
            else:
                scale += not point
        else:
            break
        begin += 1
    if digits == 0:
        return 0.0, False
    if begin < end and (text[begin] == 101 or text[begin] == 69):
        exponent, good = _exponent(text, begin + 1, end)
        if not good:
            return 0.0, False
        scale += exponent
        begin = end
    number = value * 10.0**scale if scale >= 0 else value / 10.0 ** (-scale)
    return (-number if negative else number), begin == end and abs(number) < 1e6


@njit(nogil=True, error_model="numpy")
def _exponent(text: Any, begin: Any, end: Any) -> Any:
    sign = 1
    if begin < end and (text[begin] == 45 or text[begin] == 43):
        sign = -1 if text[begin] == 45 else 1
        begin += 1
    if begin == end or end - begin > 3:
        return 0, False
    value = np.int64(0)
    for k in range(begin, end):
        if not 48 <= text[k] <= 57:
            return 0, False
        value = value * 10 + np.int64(text[k]) - 48
    return sign * value, True
