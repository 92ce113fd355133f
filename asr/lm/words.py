"""Words as bytes to their ids and back, in arrays that compiled loops can read: a hash table with open addresses."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.native import compiled

UNKNOWN, START, END = 0, 1, 2  # ids of what is no word of a text
MARKS = ("<unk>", "<s>", "</s>")
ABSENT = -1  # the word is not in the table
_FIRST_WORDS, _FIRST_BYTES = 1 << 12, 1 << 16
_NEWLINE = 10
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a, 64 bits


class WordArrays(NamedTuple):
    """The table as compiled code sees it; word i is `pool[starts[i]:starts[i + 1]]`, i < size[0]."""

    slots: NDArray[np.int32]  # a power of two of them; id + 1, 0 where free
    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]
    pool: NDArray[np.uint8]
    size: NDArray[np.int64]


class WordTable:
    """Words and their ids; the first three are <unk>, <s> and </s>."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        """Make a table of the three marks and `words`, which get ids in their order (a repeated one is ignored)."""
        self.arrays = _empty(_FIRST_WORDS, _FIRST_BYTES)
        self.add((*MARKS, *words))

    def __len__(self) -> int:
        return int(self.arrays.size[0])

    def add(self, words: Iterable[str]) -> None:
        """Give the words that are not in the table the next ids, in their order; none holds a newline."""
        text = np.frombuffer("".join(f"{word}\n" for word in words).encode(), np.uint8)
        position = 0
        while (position := int(_add(text, position, self.arrays))) < len(text):
            self.grow(len(text))

    def grow(self, num_bytes: int = 0) -> None:
        """Make room for twice the words, and for at least `num_bytes` more of their letters."""
        old, count = self.arrays, len(self)
        new = _empty(2 * len(old.hashes), 2 * len(old.pool) + num_bytes)
        used = int(old.starts[count])
        new.hashes[:count], new.starts[: count + 1] = old.hashes[:count], old.starts[: count + 1]
        new.pool[:used] = old.pool[:used]
        new.size[0] = count
        _place(new)
        self.arrays = new

    def symbols(self) -> tuple[str, ...]:
        """Return the words by their ids.  Raises: UnicodeDecodeError if one is not UTF-8."""
        letters, starts = self.arrays.pool.tobytes(), self.arrays.starts[: len(self) + 1].tolist()
        return tuple(letters[begin:end].decode() for begin, end in itertools.pairwise(starts))


def _empty(num_words: int, num_bytes: int) -> WordArrays:
    return WordArrays(
        slots=np.zeros(4 * num_words, np.int32),
        hashes=np.zeros(num_words, np.uint64),
        starts=np.zeros(num_words + 1, np.int64),
        pool=np.empty(num_bytes, np.uint8),
        size=np.zeros(1, np.int64),
    )


@njit(inline="always")
def hash_of(text: Any, begin: Any, end: Any) -> Any:
    """Return the hash of text[begin:end]."""
    value = _OFFSET
    for k in range(begin, end):
        value = (value ^ np.uint64(text[k])) * _PRIME
    return value ^ (value >> np.uint64(32))


@njit(nogil=True, error_model="numpy")
def find_word(text: Any, begin: Any, end: Any, value: Any, table: WordArrays) -> Any:
    """Return (the id of text[begin:end], whose hash is `value`, or ABSENT; the slot where it is or would be)."""
    mask = np.uint64(len(table.slots) - 1)
    slot = np.int64(value & mask)
    while table.slots[slot] != 0:
        word = np.int64(table.slots[slot]) - 1
        if table.hashes[word] == value and table.starts[word + 1] - table.starts[word] == end - begin:
            offset = table.starts[word] - begin
            k = begin
            while k < end and table.pool[offset + k] == text[k]:
                k += 1
            if k == end:
                return word, slot
        slot = (slot + 1) & np.int64(mask)
    return ABSENT, slot


@njit(nogil=True, error_model="numpy")
def find_or_add(text: Any, begin: Any, end: Any, table: WordArrays) -> Any:
    """Return the id of text[begin:end], a new one if need be; ABSENT if the table has no room for it."""
    value = hash_of(text, begin, end)
    word, slot = find_word(text, begin, end, value, table)
    if word != ABSENT:
        return word
    word = table.size[0]
    used = table.starts[word]
    if word >= len(table.hashes) or used + end - begin > len(table.pool):
        return ABSENT
    for k in range(begin, end):
        table.pool[used + k - begin] = text[k]
    table.slots[slot] = word + 1
    table.hashes[word] = value
    table.starts[word + 1] = used + end - begin
    table.size[0] = word + 1
    return word


@compiled
def _add(text: Any, position: int, table: WordArrays) -> Any:
    """Put lines of text from a position on into the table; return where it had no more room, or the end."""
    while position < len(text):
        end = position
        while text[end] != _NEWLINE:
            end += 1
        if find_or_add(text, position, end, table) == ABSENT:
            break
        position = end + 1
    return position


@compiled
def _place(table: WordArrays) -> None:
    """Fill the slots anew from the hashes."""
    mask = len(table.slots) - 1
    for word in range(table.size[0]):
        slot = np.int64(table.hashes[word] & np.uint64(mask))
        while table.slots[slot] != 0:
            slot = (slot + 1) & mask
        table.slots[slot] = word + 1
