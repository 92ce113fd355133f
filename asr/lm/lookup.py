"""Steps through an n-gram automaton in compiled code."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.lm.ngram import NgramModel
from asr.lm.sorting import place_of
from asr.lm.words import START
from asr.native import compiled, inner


@inner
def step(first: Any, words: Any, log10_probs: Any, nexts: Any, backoffs: Any, links: Any, state: Any, word: Any) -> Any:
    """Return (log10 probability of the word in a state, the state after it), for other compiled code.

    Args: the arrays of `NgramModel`; state, word: a state and an id of it, both integers.
    """
    total = 0.0
    while state != 0:
        arc = place_of(words, first[state], first[state + 1], word)
        if arc >= 0:
            return total + log10_probs[arc], np.int64(nexts[arc])
        total += backoffs[state]
        state = np.int64(links[state])
    return total + log10_probs[word], np.int64(nexts[word])


def stream_log10(model: NgramModel, ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return (n,) the log10 probability of each word id of sentences, each from <s> to </s>; 0 for <s>."""
    out = np.zeros(len(ids), np.float64)
    _score(*model.arrays, ids, out)
    return out


@compiled
def _score(first: Any, words: Any, log10_probs: Any, nexts: Any, backoffs: Any, links: Any, ids: Any, out: Any) -> None:
    state: Any = np.int64(0)
    for k in range(len(ids)):
        word = np.int64(ids[k])
        if word == START:
            state = np.int64(nexts[START])
        else:
            out[k], state = step(first, words, log10_probs, nexts, backoffs, links, state, word)
