"""The n-grams of an ARPA file, in the order of its lines, to a table sorted and linked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import DataError
from asr.lm.sorting import sort_keys
from asr.lm.table import NgramTable, check_number, num_children
from asr.lm.trie import Trie, child_of, log10_without_oldest, trie_of
from asr.native import compiled


@dataclass(eq=False)
class Section:
    """The n-grams of one length, line by line."""

    first_line: int
    rows: NDArray[np.int32]  # (n-grams, length) word ids
    probs: NDArray[np.float32]  # log10; NaN of a context that no line gives
    backoffs: NDArray[np.float32]  # log10; NaN where the line gives none


class _MissingContextsError(Exception):
    """N-grams of the section before that are needed and not there."""

    def __init__(self, rows: NDArray[np.int32]) -> None:
        super().__init__(f"{len(rows)} contexts")
        self.rows = rows


def build_table(name: str, sections: Sequence[Section], symbols: tuple[str, ...]) -> NgramTable:
    """Return the table of the sections of lengths 1, 2, ...; missing contexts are added.

    Raises: DataError for an n-gram given twice, and for one that others continue without a back-off weight.
    """
    while True:
        lines = [np.zeros(1, np.int64)]  # of each n-gram by its number
        table = _empty_table()
        try:
            for section in sections:
                table = _with_section(name, table, section, symbols, lines)
            break
        except _MissingContextsError as missing:
            before = sections[missing.rows.shape[1] - 1]
            blank = np.full(len(missing.rows), np.nan, np.float32)
            before.rows = np.concatenate([before.rows, missing.rows])
            before.probs = np.concatenate([before.probs, blank])
            before.backoffs = np.concatenate([before.backoffs, np.zeros_like(blank)])
    _settle_backoffs(name, table, np.concatenate(lines), symbols)
    if np.isnan(table.log10_probs).any():
        _fill_probs(trie_of(table))
    return table


def _empty_table() -> NgramTable:
    none, nothing = np.array([-1], np.int32), np.zeros(1, np.float32)
    return NgramTable([1], none, none, nothing, nothing)


def _with_section(
    name: str, table: NgramTable, section: Section, symbols: tuple[str, ...], lines: list[NDArray[np.int64]]
) -> NgramTable:
    """Return the table with the n-grams that are a word longer than its longest."""
    parents = _find(trie_of(table, linked=False), section.rows)
    if (parents < 0).any():
        raise _MissingContextsError(np.unique(section.rows[parents < 0, :-1], axis=0))
    check_number(table.ends[-1] + len(parents), name)
    word_bits = len(symbols).bit_length()
    keys = (parents.astype(np.uint64) << np.uint64(word_bits)) | section.rows[:, -1].astype(np.uint64)
    keys, places = sort_keys(keys, word_bits + table.ends[-1].bit_length())
    repeated = np.flatnonzero(keys[1:] == keys[:-1])
    if len(repeated):
        place = int(places[repeated + 1].min())
        text = " ".join(symbols[word] for word in section.rows[place])
        raise DataError(f"{name}:{section.first_line + place}: the n-gram '{text}' is given twice; remove one of them")
    lines.append(section.first_line + places.astype(np.int64))
    return NgramTable(
        ends=[*table.ends, table.ends[-1] + len(keys)],
        parents=np.concatenate([table.parents, parents[places]]),
        words=np.concatenate([table.words, section.rows[places, -1]]),
        log10_probs=np.concatenate([table.log10_probs, section.probs[places]]),
        backoffs=np.concatenate([table.backoffs, section.backoffs[places]]),
    )


@compiled
def _find(trie: Trie, rows: Any) -> Any:
    """Return the number of each row without its last word, -1 where the table has no such n-gram."""
    parents = np.empty(len(rows), np.int32)
    for k in range(len(rows)):
        ngram: Any = np.int64(0)
        for place in range(rows.shape[1] - 1):
            ngram = np.int64(child_of(trie, ngram, np.int64(rows[k, place])))
            if ngram == 0:
                ngram = -1
                break
        parents[k] = ngram
    return parents


def _settle_backoffs(name: str, table: NgramTable, lines: NDArray[np.int64], symbols: tuple[str, ...]) -> None:
    """Put 0 where no back-off weight is given and none needed.  Raises: DataError where one is needed."""
    missing = np.isnan(table.backoffs)
    needed = np.flatnonzero(missing & (num_children(table) > 0))
    if len(needed):
        ngram = needed[np.argmin(lines[needed])]
        line, text = lines[ngram], _text(table, int(ngram), symbols)
        raise DataError(
            f"{name}:{line}: the n-gram '{text}' has longer ones and no back-off weight; get the file again or make it"
            " anew"
        )
    table.backoffs[missing] = 0


def _text(table: NgramTable, ngram: int, symbols: tuple[str, ...]) -> str:
    words = []
    while ngram:
        words.append(symbols[table.words[ngram]])
        ngram = int(table.parents[ngram])
    return " ".join(reversed(words))


@compiled
def _fill_probs(trie: Trie) -> None:
    """Give n-grams without a probability that which backing off gives them."""
    for ngram in range(1, len(trie.words)):
        if np.isnan(trie.log10_probs[ngram]):
            context = trie.parents[ngram]
            lower = log10_without_oldest(trie, context, np.int64(trie.words[ngram]))
            trie.log10_probs[ngram] = trie.backoffs[context] + lower
