"""Phrases that a search shall favour or avoid, found wherever they are said.

Where a phrase fails, what was said may still begin another one at a later word: each node of the trie knows the longest
such beginning.  Source: Aho and Corasick 1975, "Efficient string matching: an aid to bibliographic search".
"""

from collections.abc import Mapping

import numpy as np

from asr.decoding.fusion import DEAD, SPACE, Hotwords
from asr.decoding.trie import build_trie

MOST_GAIN = 300.0  # natural logs, of a phrase: what is said instead must stay within the range of floats


def build_hotwords(phrases: Mapping[str, float]) -> Hotwords:
    """Return the phrases with their weights, natural logs for each character but spaces.

    Getting to a character is worth the greatest weight of the phrases that hold it.
    """
    trie = build_trie(list(phrases), np.maximum(0.0, np.array(list(phrases.values()))))
    costs = [min(0.0, weight) * num_letters(phrase) for phrase, weight in phrases.items()]
    count = len(trie.ends)
    parents = np.repeat(np.arange(count), np.diff(trie.firsts)).tolist()  # of all nodes but the first
    arcs = list(zip(parents, trie.characters.tolist(), strict=True))
    children = {arc: node for node, arc in enumerate(arcs, 1)}
    fails = [DEAD] * count
    pending, own, nested, shorter_pending = np.zeros((4, count))
    for node, (parent, character) in enumerate(arcs, 1):
        fails[node] = _fail(fails, children, parent, character)
        shorter = max(0, fails[node])
        nested[node] = np.clip(nested[shorter] + own[shorter], -MOST_GAIN, MOST_GAIN)
        shorter_pending[node] = max(shorter_pending[shorter], pending[shorter])
        if character == SPACE:
            pending[node] = 0.0 if own[parent] == pending[parent] else pending[parent]
            continue
        pending[node] = pending[parent] + trie.values[node]
        if trie.ends[node] >= 0:
            own[node] = costs[trie.ends[node]] or pending[node]
    found = own + nested
    carried = np.maximum(shorter_pending, np.where(own == pending, 0.0, pending))
    lift, end_lift = (shorter_pending - pending).max(), (found + carried - pending).max()
    return Hotwords(trie, np.array(fails, np.int32), pending, found, float(lift), float(end_lift))


def _fail(fails: list[int], children: Mapping[tuple[int, int], int], parent: int, character: int) -> int:
    """Return the node of the longest ending, from a later word on, of what leads to a child of `parent`.

    Where a word begins that is at least the first node, within a word DEAD if there is none.
    """
    shorter = fails[parent]
    while shorter != DEAD:
        if (found := children.get((shorter, character))) is not None:
            return found
        shorter = fails[shorter]
    return 0 if character == SPACE else DEAD


def num_letters(phrase: str) -> int:
    """Return how many characters of a phrase count: all but spaces."""
    return len(phrase.replace(" ", ""))
