"""All n-grams of a model as one table: what readers and the trainer make, and what automata are made from."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.errors import MachineError
from asr.lm.ngram import NgramModel
from asr.native import compiled

MAX_NGRAMS = (1 << 31) - 2  # their numbers are int32


@dataclass(frozen=True, eq=False)
class NgramTable:
    """N-grams by number: 0 is the empty one, then all words (word id + 1), then those of two words, and so on.

    Within a length they ascend by (parent, last word), so the extensions of an n-gram are neighbours.
    """

    ends: list[int]  # after the last n-gram of k words, k from 0; ends[0] is 1
    parents: NDArray[np.int32]  # the n-gram without its last word; -1 for the empty one
    words: NDArray[np.int32]  # the last word; -1 for the empty one
    log10_probs: NDArray[np.float32]
    backoffs: NDArray[np.float32]  # log10; 0 where there is none

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return len(self.ends) - 1


def num_children(table: NgramTable) -> NDArray[np.int64]:
    """Return (n-grams,) how many n-grams are one of the table's and one word more."""
    return np.bincount(table.parents[1:], minlength=table.ends[-1])


def first_children(table: NgramTable) -> NDArray[np.int64]:
    """Return (n-grams + 1,) where the n-grams that are one of the table's and one word more begin."""
    return np.concatenate([[1], 1 + np.cumsum(num_children(table))])


def longest_suffixes(table: NgramTable) -> NDArray[np.int32]:
    """Return (n-grams,) the longest n-gram in the table that each one ends with, itself left out."""
    suffixes = np.zeros(table.ends[-1], np.int32)
    first = first_children(table)
    for begin, end in itertools.pairwise(table.ends[1:]):
        _link(table.parents, table.words, first, suffixes, begin, end)
    return suffixes


@njit(nogil=True, error_model="numpy")
def child_of(first: Any, words: Any, parent: Any, word: Any) -> Any:
    """Return the number of the n-gram that is `parent` and a word more, 0 if there is none.

    Args: first: (n-grams + 1,) where the extensions of an n-gram begin; words: (n-grams,) last words.
    """
    if parent == 0:
        return word + 1
    low, high = first[parent], first[parent + 1]
    end = high
    while low < high:
        middle = (low + high) >> 1
        if words[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < end and words[low] == word else 0


@njit(nogil=True, error_model="numpy")
def log10_without_oldest(
    first: Any, words: Any, suffixes: Any, log10_probs: Any, backoffs: Any, context: Any, word: Any
) -> Any:
    """Return log10 of the probability of a word after a context without its oldest word.

    Args: first, words: as `child_of` takes them; suffixes, log10_probs, backoffs: (n-grams,); context: not empty.
    """
    total = 0.0
    shorter = np.int64(suffixes[context])
    found = child_of(first, words, shorter, word)
    while found == 0:
        total += backoffs[shorter]
        shorter = np.int64(suffixes[shorter])
        found = child_of(first, words, shorter, word)
    return total + log10_probs[found]


@compiled
def _link(parents: Any, words: Any, first: Any, suffixes: Any, begin: int, end: int) -> None:
    for ngram in range(begin, end):
        word = np.int64(words[ngram])
        shorter = np.int64(suffixes[parents[ngram]])
        found = child_of(first, words, shorter, word)
        while found == 0:
            shorter = np.int64(suffixes[shorter])
            found = child_of(first, words, shorter, word)
        suffixes[ngram] = found


def check_number(count: int, where: str) -> None:
    """Raise MachineError if there are more n-grams than can be numbered."""
    if count > MAX_NGRAMS:
        raise MachineError(f"{where}: {count} n-grams, at most {MAX_NGRAMS} can be kept; use a lower order or prune")


def automaton(symbols: tuple[str, ...], table: NgramTable, suffixes: NDArray[np.int32] | None = None) -> NgramModel:
    """Return the model of a table; `suffixes` as `longest_suffixes` says, if they are known.

    Every n-gram that others continue, or that has a back-off weight, becomes a state.
    """
    suffixes = longest_suffixes(table) if suffixes is None else suffixes
    children = num_children(table)
    is_state = (children > 0) | (table.backoffs != 0)
    is_state[0] = True
    is_state[table.ends[-2] :] = False
    reached = np.cumsum(is_state, dtype=np.int32) - 1
    for begin, end in itertools.pairwise(table.ends):  # the shorter ones are settled first
        others = begin + np.flatnonzero(~is_state[begin:end])
        reached[others] = reached[suffixes[others]]
    return NgramModel(
        order=table.order,
        symbols=symbols,
        first=np.concatenate([[0], np.cumsum(children[is_state])]),
        words=table.words[1:],
        log10_probs=table.log10_probs[1:],
        nexts=reached[1:],
        backoffs=table.backoffs[is_state],
        links=reached[suffixes[is_state]],
    )


def table_of(model: NgramModel) -> NgramTable:
    """Return the n-grams of a model: the inverse of `automaton`."""
    bounds = model.level_bounds()
    ngram_of_state = np.zeros(model.num_states, np.int32)
    for begin, end in itertools.pairwise(bounds):
        arcs = np.arange(model.first[begin], model.first[end])
        longer = arcs[model.nexts[arcs] >= end]
        ngram_of_state[model.nexts[longer]] = longer + 1
    owners = np.repeat(ngram_of_state, np.diff(model.first))
    backoffs = np.zeros(len(model.words) + 1, np.float32)
    backoffs[ngram_of_state] = model.backoffs
    ends = [1] + [1 + int(model.first[bound]) for bound in bounds[1:]]
    ends += [ends[-1]] * (model.order + 1 - len(ends))
    return NgramTable(
        ends=ends,
        parents=np.concatenate([np.array([-1], np.int32), owners]),
        words=np.concatenate([np.array([-1], np.int32), model.words]),
        log10_probs=np.concatenate([np.zeros(1, np.float32), model.log10_probs]),
        backoffs=backoffs,
    )
