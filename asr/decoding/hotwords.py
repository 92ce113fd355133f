"""Phrases that a search shall favour or avoid, found wherever they are said.

Where a phrase fails, what was said may still begin another one at a later word: each node of the trie knows the longest
such beginning.  Source: Aho and Corasick 1975, "Efficient string matching: an aid to bibliographic search".
"""

from collections.abc import Mapping

import numpy as np

from asr.decoding.fusion import DEAD, SPACE, Hotwords, stands_alone
from asr.decoding.trie import build_trie

MOST_GAIN = 300.0  # natural logs, of a phrase: what is said instead must stay within the range of floats


def build_hotwords(phrases: Mapping[str, float]) -> Hotwords:
    """Return the phrases with their weights, natural logs for each character but spaces.

    Getting to a character is worth the greatest weight of the phrases that hold it.
    """
    phrases = {_apart(phrase): weight for phrase, weight in phrases.items()}
    trie = build_trie(list(phrases), np.maximum(0.0, np.array(list(phrases.values()))))
    costs = [min(0.0, weight) * num_letters(phrase) for phrase, weight in phrases.items()]
    count, values, ends = len(trie.ends), trie.values.tolist(), trie.ends.tolist()
    parents = np.repeat(np.arange(count), np.diff(trie.firsts)).tolist()  # of all nodes but the first
    arcs = list(zip(parents, trie.characters.tolist(), strict=True))
    children = {arc: node for node, arc in enumerate(arcs, 1)}
    fails = [DEAD] * count
    # of each node: what is lost if it fails and what if its word ends; what its phrases gain; both of shorter endings
    pending, kept, own, nested, most = ([0.0] * count for _ in range(5))
    for node, (parent, character) in enumerate(arcs, 1):
        fails[node] = _fail(fails, children, parent, character)
        shorter = max(0, fails[node])
        nested[node] = min(max(nested[shorter] + own[shorter], -MOST_GAIN), MOST_GAIN)
        most[node] = max(most[shorter], pending[shorter])
        pending[node] = kept[parent] if character == SPACE else pending[parent] + values[node]
        if ends[node] >= 0:
            own[node] = costs[ends[node]] or pending[node]
        kept[node] = 0.0 if ends[node] >= 0 and not costs[ends[node]] else pending[node]
    found, losses = np.array(own) + np.array(nested), np.array(pending)
    lift = float((np.array(most) - losses).max())
    end_lift = float((found + np.maximum(most, kept) - losses).max())
    borders = np.array([True, *(character == SPACE for _, character in arcs)])
    return Hotwords(trie, np.array(fails, np.int32), losses, found, borders, lift, end_lift)


def _apart(phrase: str) -> str:
    """Return a phrase with spaces around each character of a script that puts none between words."""
    spaced = "".join(f" {letter} " if stands_alone(ord(letter)) else letter for letter in phrase)
    return " ".join(spaced.split())


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
