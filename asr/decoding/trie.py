"""Texts by their characters, for the compiled search."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from asr.decoding.fusion import SPACE, Trie

NOBODY = -1  # of `Trie.ends`


def build_trie(texts: Sequence[str], values: NDArray[np.float64]) -> Trie:
    """Return the trie of texts, each known by its place; a node's value is the greatest of the texts below it.

    A blank in a text is the character SPACE.  Of equal texts the first is found; empty ones never are.

    Args: values: (texts,).
    """
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    codes = np.fromiter(map(ord, chain.from_iterable(texts)), np.int32, int(lengths.sum()))
    codes[codes == ord(" ")] = SPACE
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(texts) else np.zeros(0, np.int64)
    order = np.array(sorted(range(len(texts)), key=lambda place: texts[place].replace(" ", "\0")), np.int64)
    return _by_levels(codes, starts[order], lengths[order], order, values[order])


def _by_levels(
    codes: NDArray[np.int32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    places: NDArray[np.int64],
    values: NDArray[np.float64],
) -> Trie:
    """Return the trie of sorted texts, numbered level by level: so a node's arcs lie together, in order."""
    node = np.zeros(len(lengths), np.int64)  # of each text's prefix so far
    rows = np.arange(len(lengths))
    characters, parents = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    best, ends = [np.array([values.max(initial=-np.inf)])], [np.full(1, NOBODY, np.int32)]
    count, level = 1, 0
    while len(rows := rows[lengths[rows] > level]):
        letters = codes[starts[rows] + level]
        new = np.ones(len(rows), np.bool_)
        new[1:] = (node[rows[1:]] != node[rows[:-1]]) | (letters[1:] != letters[:-1])
        firsts = np.flatnonzero(new)
        characters.append(letters[firsts])
        parents.append(node[rows[firsts]])
        node[rows] = count + np.cumsum(new) - 1
        best.append(np.maximum.reduceat(values[rows], firsts))
        found = np.full(len(firsts), NOBODY, np.int32)
        whole = rows[lengths[rows] == level + 1][::-1]  # of equal texts the first is written last
        found[node[whole] - count] = places[whole]
        ends.append(found)
        count, level = count + len(firsts), level + 1
    arcs = np.bincount(np.concatenate(parents), minlength=count)
    return Trie(
        np.concatenate([[0], np.cumsum(arcs)]).astype(np.int32),
        np.concatenate(characters),
        np.arange(1, count, dtype=np.int32),
        np.concatenate(ends),
        np.concatenate(best),
    )
