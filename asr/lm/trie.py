"""Finding n-grams in a table, in compiled code: extensions by a word, endings, what backing off leads to."""

import itertools
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.lm.sorting import place_of
from asr.lm.table import NgramTable, num_children
from asr.native import compiled


class Trie(NamedTuple):
    """A table as compiled code sees it; (n-grams,) but for `first`."""

    first: NDArray[np.int64]  # (n-grams + 1,) where the extensions of an n-gram begin
    parents: NDArray[np.int32]
    words: NDArray[np.int32]
    log10_probs: NDArray[np.float32]
    backoffs: NDArray[np.float32]
    suffixes: NDArray[np.int32]  # the longest n-gram in the table that each one ends with, itself left out


def trie_of(table: NgramTable, *, linked: bool = True) -> Trie:
    """Return the table with where to find what; without `linked` all suffixes are the empty n-gram."""
    first = np.concatenate([[1], 1 + np.cumsum(num_children(table))])
    suffixes = np.zeros(table.ends[-1], np.int32)
    trie = Trie(first, table.parents, table.words, table.log10_probs, table.backoffs, suffixes)
    if linked:
        for begin, end in itertools.pairwise(table.ends[1:]):
            _link(trie, begin, end)
    return trie


@njit(nogil=True, error_model="numpy")
def child_of(trie: Trie, parent: Any, word: Any) -> Any:
    """Return the number of the n-gram that is `parent` and a word more, 0 if there is none."""
    if parent == 0:
        return word + 1
    return max(0, place_of(trie.words, trie.first[parent], trie.first[parent + 1], word))


@njit(nogil=True, error_model="numpy")
def log10_without_oldest(trie: Trie, context: Any, word: Any) -> Any:
    """Return log10 of the probability of a word after a context, not the empty one, without its oldest word."""
    total = 0.0
    shorter = np.int64(trie.suffixes[context])
    found = child_of(trie, shorter, word)
    while found == 0:
        total += trie.backoffs[shorter]
        shorter = np.int64(trie.suffixes[shorter])
        found = child_of(trie, shorter, word)
    return total + trie.log10_probs[found]


@compiled
def _link(trie: Trie, begin: int, end: int) -> None:
    """Fill the suffixes of n-grams of one length; those of shorter ones are there."""
    for ngram in range(begin, end):
        word = np.int64(trie.words[ngram])
        shorter = np.int64(trie.suffixes[trie.parents[ngram]])
        found = child_of(trie, shorter, word)
        while found == 0:
            shorter = np.int64(trie.suffixes[shorter])
            found = child_of(trie, shorter, word)
        trie.suffixes[ngram] = found
