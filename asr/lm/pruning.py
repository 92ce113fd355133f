"""Entropy pruning: n-grams go whose loss changes the model's perplexity least.

Source: Stolcke 1998, "Entropy-based pruning of backoff language models", sections 3 and 4; as in SRILM, <s> counts as
often as </s>.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.lm.automaton import automaton, table_of
from asr.lm.ngram import NgramModel
from asr.lm.table import NgramTable, num_children
from asr.lm.trie import Trie, log10_without_oldest, trie_of
from asr.lm.words import END, START
from asr.native import compiled

_LEAST_MASS = 1e-6  # probabilities are float32: what is left of 1 below this is rounding

Reals = NDArray[np.float64]


def prune(model: NgramModel, threshold: float) -> NgramModel:
    """Return the model without the n-grams whose loss raises its perplexity by less than a share `threshold` each.

    Words stay; an n-gram that a longer one continues stays too.  Back-off weights are computed anew, so that all
    probabilities after a context sum to 1.
    """
    assert threshold > 0
    table = table_of(model)
    lower = _lower_log10(trie_of(table), slice(table.ends[1], table.ends[-1]))
    history = _history_log10(table)
    keep = np.ones(table.ends[-1], np.bool_)
    continued = np.zeros(table.ends[-1], np.bool_)  # by an n-gram that is kept
    for length in range(table.order, 1, -1):
        here = slice(table.ends[length - 1], table.ends[length])
        growth = _perplexity_growth(table, here, lower, history)
        keep[here] = continued[here] | ~(growth < threshold)
        continued[table.parents[here][keep[here]]] = True
    pruned = _part(table, keep)
    suffixes = _renormalise(pruned)
    return replace(automaton(model.symbols, pruned, suffixes), binding=model.binding)


def _lower_log10(trie: Trie, here: slice) -> Reals:
    """Return (n-grams,) log10 of the probability of each last word after the context without its oldest word.

    Only those `here`, of two words or more; 0 elsewhere.
    """
    out = np.zeros(len(trie.words))
    _fill_lower(trie, here.start, here.stop, out)
    return out


@compiled
def _fill_lower(trie: Trie, begin: int, end: int, out: Any) -> None:
    for ngram in range(begin, end):
        out[ngram] = log10_without_oldest(trie, trie.parents[ngram], np.int64(trie.words[ngram]))


def _history_log10(table: NgramTable) -> Reals:
    """Return (n-grams,) log10 of the probability of all words of each n-gram."""
    history = table.log10_probs.astype(np.float64)
    history[START + 1] = history[END + 1]
    for begin, end in zip(table.ends[1:], table.ends[2:], strict=False):
        history[begin:end] += history[table.parents[begin:end]]
    return history


def _sums(table: NgramTable, here: slice, log10: Reals | NDArray[np.float32]) -> Reals:
    """Return (n-grams,) the sum of the probabilities of the n-grams `here` that continue each context."""
    probs: Reals = 10.0 ** log10[here].astype(np.float64)
    return np.bincount(table.parents[here], weights=probs, minlength=table.ends[-1]).astype(np.float64, copy=False)


def _perplexity_growth(table: NgramTable, here: slice, lower: Reals, history: Reals) -> Reals:
    """Return the relative growth of perplexity without each of the n-grams `here` (Stolcke 1998, equations 3 to 8)."""
    contexts = table.parents[here]
    log_p, log_q = table.log10_probs[here].astype(np.float64), lower[here]
    left = (1 - _sums(table, here, table.log10_probs))[contexts]
    left_lower = (1 - _sums(table, here, lower))[contexts]
    old_weight = table.backoffs[contexts].astype(np.float64)
    mass, lower_mass = left + 10.0**log_p, left_lower + 10.0**log_q
    usable = (mass > _LEAST_MASS) & (lower_mass > _LEAST_MASS)
    new_weight = np.log10(np.where(usable, mass, 1)) - np.log10(np.where(usable, lower_mass, 1))
    change = 10.0**log_p * (log_q + new_weight - log_p) + np.maximum(left, 0) * (new_weight - old_weight)
    growth = np.expm1(-(10.0 ** history[contexts]) * change * np.log(10))
    return np.where(usable, growth, np.inf)


def _part(table: NgramTable, keep: NDArray[np.bool_]) -> NgramTable:
    """Return the table of the n-grams that are kept, without lengths of which none is."""
    numbers = np.cumsum(keep, dtype=np.int32) - 1
    ends = [int(np.count_nonzero(keep[:end])) for end in table.ends]
    while len(ends) > 2 and ends[-1] == ends[-2]:
        ends.pop()
    parents = numbers[table.parents[keep]]
    parents[0] = -1
    return NgramTable(ends, parents, table.words[keep], table.log10_probs[keep], table.backoffs[keep])


def _renormalise(table: NgramTable) -> NDArray[np.int32]:
    """Make the probabilities after each context sum to 1 by its back-off weight; return the longest suffixes."""
    trie = trie_of(table)
    table.backoffs[num_children(table) == 0] = 0
    for length in range(2, table.order + 1):  # weights of shorter contexts are settled before they are used
        here = slice(table.ends[length - 1], table.ends[length])
        mass = 1 - _sums(table, here, table.log10_probs)
        lower_mass = 1 - _sums(table, here, _lower_log10(trie, here))
        is_context = np.zeros(len(mass), np.bool_)
        is_context[table.parents[here]] = True
        contexts = np.flatnonzero(is_context & (mass > _LEAST_MASS) & (lower_mass > _LEAST_MASS))
        table.backoffs[contexts] = np.log10(mass[contexts] / lower_mass[contexts])
    return trie.suffixes
