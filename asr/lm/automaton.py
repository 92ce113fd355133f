"""A table of n-grams to the automaton that a search walks through, and back."""

import itertools

import numpy as np
from numpy.typing import NDArray

from asr.lm.ngram import NgramModel
from asr.lm.table import NgramTable, num_children
from asr.lm.trie import trie_of


def automaton(symbols: tuple[str, ...], table: NgramTable, suffixes: NDArray[np.int32] | None = None) -> NgramModel:
    """Return the model of a table; `suffixes` as in its `Trie`, if they are known.

    Every n-gram that others continue, or that has a back-off weight, becomes a state.
    """
    suffixes = trie_of(table).suffixes if suffixes is None else suffixes
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
