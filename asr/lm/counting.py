"""Texts to word ids, and word ids to counts of n-grams, by sorting packed keys."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import DataError
from asr.lm.reading import line_blocks, named
from asr.lm.sorting import sort_keys
from asr.lm.table import check_number
from asr.lm.words import ABSENT, END, MARKS, START, UNKNOWN, WordTable, find_or_add, find_word, hash_of
from asr.native import compiled

# what `_encode` ended with, and the places of its progress
_DONE, _TABLE_FULL, _MARK = 0, 1, 2
_POSITION, _FILLED, _INSIDE = 0, 1, 2


def encoded_blocks(
    path: str | Path, table: WordTable, *, growing: bool, spelling: Callable[[str], str] | None = None
) -> Iterator[NDArray[np.int32]]:
    """Yield the word ids of whole sentences of a text, a line each, <s> before and </s> after it.

    Words are what stands between spaces, tabs and other controls; a line without words is an empty sentence.

    Args:
        growing: give new words ids; otherwise they count as <unk>, and so do words spelled like a mark.
        spelling: what becomes of a line before its words are looked at.
    Raises: DataError as `line_blocks`, and for a word spelled <s>, </s> or <unk> while growing.
    """
    for number, block in line_blocks(path, spelling):
        text = np.frombuffer(block, np.uint8)
        ids, at = np.empty(2 * len(text), np.int32), np.zeros(3, np.int64)
        while (status := _encode(text, ids, at, table.arrays, growing)) == _TABLE_FULL:
            table.grow(len(text))
        if status == _MARK:
            line = number + block.count(b"\n", 0, int(at[_POSITION]))
            raise DataError(
                f"{named(path)}:{line}: {', '.join(MARKS)} mark sentences and unknown words; remove it from the text"
            )
        yield ids[: at[_FILLED]].copy()


@compiled
def _encode(text: Any, ids: Any, at: Any, table: Any, growing: bool) -> int:
    """Fill `ids` and return how that ended; `at` is the progress, with which a call goes on."""
    position, filled, inside = at[0], at[1], at[2]
    status = _DONE
    while position < len(text):
        if inside == 0:
            ids[filled] = START
            filled, inside = filled + 1, 1
        letter = text[position]
        if letter == 10:
            ids[filled] = END
            filled, inside, position = filled + 1, 0, position + 1
            continue
        if letter <= 32:
            position += 1
            continue
        end = position + 1
        while text[end] > 32:  # the last byte is a newline
            end += 1
        if growing:
            word = find_or_add(text, position, end, table)
        else:
            word, _ = find_word(text, position, end, hash_of(text, position, end), table)
            word = UNKNOWN if word <= END else word
        if word == ABSENT:
            status = _TABLE_FULL
            break
        if growing and word <= END:
            status = _MARK
            break
        ids[filled] = word
        filled, position = filled + 1, end
    at[0], at[1], at[2] = position, filled, inside
    return status


@dataclass(frozen=True, eq=False)
class CountLevel:
    """All n-grams of one length in a text, sorted by (context, last word); for single words, by their id."""

    contexts: NDArray[np.int32]  # the n-gram without its last word, as a place in the level before
    words: NDArray[np.int32]  # the last word
    suffixes: NDArray[np.int32]  # the n-gram without its first word, as a place in the level before
    counts: NDArray[np.int64]  # how often it occurs
    initial: NDArray[np.bool_]  # whether it begins with <s>


def count_ngrams(ids: NDArray[np.int32], num_words: int, order: int) -> list[CountLevel]:
    """Return the n-grams of 1 to `order` words within sentences; fewer levels if no sentence is that long.

    Args: ids: sentences, each from <s> to </s>; num_words: how many ids there are.
    """
    nothing = np.zeros(num_words, np.int32)
    single = np.arange(num_words, dtype=np.int32)
    counts = np.bincount(ids, minlength=num_words)
    levels = [CountLevel(nothing, single, nothing, counts, single == START)]
    check_number(len(ids), "the text")
    ngrams = ids  # the n-gram that ends at each position, as a place in its level; -1 where the sentence is too short
    while len(levels) < order:
        level, ngrams = _longer(ids, ngrams, levels[-1], num_words)
        if not len(level.words):
            break
        levels.append(level)
    return levels


def _longer(
    ids: NDArray[np.int32], ngrams: NDArray[np.int32], level: CountLevel, num_words: int
) -> tuple[CountLevel, NDArray[np.int32]]:
    word_bits = max(num_words - 1, 1).bit_length()
    keys, positions = _keys(ids, ngrams, word_bits)
    keys, places = sort_keys(keys, word_bits + max(len(level.words) - 1, 1).bit_length())
    longer, starts = _number(keys, places, positions, len(ids))
    kinds = keys[starts]
    contexts = (kinds >> np.uint64(word_bits)).astype(np.int32)
    words = (kinds & np.uint64((1 << word_bits) - 1)).astype(np.int32)
    suffixes = ngrams[positions[places[starts]]]
    counts = np.diff(starts, append=len(keys))
    return CountLevel(contexts, words, suffixes, counts, level.initial[contexts]), longer


@compiled
def _keys(ids: Any, ngrams: Any, word_bits: int) -> Any:
    """Return (context and word in one number, the position of the word) of all n-grams one word longer."""
    count = 0
    for k in range(1, len(ids)):
        count += ids[k] != START and ngrams[k - 1] >= 0
    keys, positions = np.empty(count, np.uint64), np.empty(count, np.int32)
    at = 0
    for k in range(1, len(ids)):
        if ids[k] != START and ngrams[k - 1] >= 0:
            keys[at] = (np.uint64(ngrams[k - 1]) << np.uint64(word_bits)) | np.uint64(ids[k])
            positions[at] = k
            at += 1
    return keys, positions


@compiled
def _number(keys: Any, places: Any, positions: Any, length: int) -> Any:
    """Return (the kind of n-gram at each position or -1, where each kind begins in the sorted keys)."""
    ngrams = np.full(length, -1, np.int32)
    starts = np.empty(len(keys), np.int64)
    kind = -1
    for k in range(len(keys)):
        if k == 0 or keys[k] != keys[k - 1]:
            kind += 1
            starts[kind] = k
        ngrams[positions[places[k]]] = kind
    return ngrams, starts[: kind + 1].copy()
