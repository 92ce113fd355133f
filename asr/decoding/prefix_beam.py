"""CTC prefix beam search, compiled: one frame after another, prefixes merged, language model and hotwords in one score.

A prefix is a node of a tree that grows where the search goes.  Of each prefix in the beam two sums over alignments are
kept, those that end in a blank and those that do not; equal prefixes are one node, so they merge by themselves.
Sources: Graves 2012, "Sequence transduction with recurrent neural networks", section 2.5; Hannun et al. 2014,
"First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs".
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.decoding.fusion import ALL, extend
from asr.native import compiled

ROOT, NONE = 0, -1
STATES = ADDED = 4  # columns of the fusion's
# places in `Beam.counts`
ALIVE, NODES, FRAMES, GREEDY, GREEDY_TOKEN = 0, 1, 2, 3, 4


class Tree(NamedTuple):
    """Prefixes: node 0 is the empty one.  `slot` is the place in the beam, NONE for those that are not in it."""

    parent: NDArray[np.int32]
    token: NDArray[np.int32]
    child: NDArray[np.int32]  # the youngest, NONE without any
    sibling: NDArray[np.int32]  # the next older one
    slot: NDArray[np.int32]
    frame: NDArray[np.int32]  # in which the prefix was met first
    states: NDArray[np.int32]  # (nodes, 4) of the fusion
    added: NDArray[np.float64]  # (nodes, 4) by the fusion


class Beam(NamedTuple):
    """Prefixes that are alive, in no order.

    Attributes: counts: prefixes alive, nodes of the tree, frames heard, node and last token of the best path.
    """

    node: NDArray[np.int32]
    blank: NDArray[np.float64]  # natural log of all alignments that end in a blank
    other: NDArray[np.float64]  # of those that do not
    counts: NDArray[np.int64]


class Limits(NamedTuple):
    """What is pruned.  Margins are in natural logs below the best."""

    beam: int
    beam_margin: float
    token_margin: float
    lift: float  # by how much the fusion may raise a prefix that the acoustic model alone would drop
    blank_penalty: float
    blank_id: int


def new_tree(nodes: int) -> Tree:
    """Return a tree of the empty prefix alone, with room for so many nodes."""
    parent, token, child, sibling, slot, frame = np.full((6, nodes), NONE, np.int32)
    states, added = np.zeros((nodes, STATES), np.int32), np.zeros((nodes, ADDED))
    tree = Tree(parent, token, child, sibling, slot, frame, states, added)
    tree.slot[ROOT] = 0
    return tree


def new_beam(size: int) -> Beam:
    """Return the beam before the first frame: the empty prefix."""
    room = size + 1  # the best path's prefix is kept whatever its score
    beam = Beam(np.zeros(room, np.int32), np.full(room, -np.inf), np.full(room, -np.inf), np.zeros(5, np.int64))
    beam.blank[0] = 0.0
    beam.counts[:] = (1, 1, 0, ROOT, NONE)
    return beam


def pruned(tree: Tree, beam: Beam, *, room: int) -> Tree:
    """Return the tree without the branches that no prefix in the beam is on, with room for so many nodes more.

    The nodes that the beam names are numbered anew.
    """
    alive = beam.node[: beam.counts[ALIVE]]
    kept = np.zeros(beam.counts[NODES], np.bool_)
    _mark(tree.parent, alive, kept)
    numbers = np.cumsum(kept, dtype=np.int32) - np.int32(1)
    made = new_tree(int(kept.sum()) + room)
    count = int(kept.sum())
    for column in range(len(tree)):
        made[column][:count] = tree[column][: len(kept)][kept]
    made.parent[1:count] = numbers[made.parent[1:count]]
    _relink(made.parent, made.child, made.sibling, count)
    alive[:] = numbers[alive]
    beam.counts[NODES], beam.counts[GREEDY] = count, numbers[beam.counts[GREEDY]]
    return made


@compiled
def _mark(parent: Any, nodes: Any, kept: Any) -> None:
    kept[ROOT] = True
    for node in nodes:
        while not kept[node]:
            kept[node] = True
            node = parent[node]


@compiled
def _relink(parent: Any, child: Any, sibling: Any, count: int) -> None:
    child[:count] = NONE
    for node in range(1, count):
        sibling[node], child[parent[node]] = child[parent[node]], node


@njit(inline="always")
def _add(x: Any, y: Any) -> Any:
    """Return log(exp(x) + exp(y))."""
    if x < y:
        x, y = y, x
    if y == -np.inf:
        return x
    return x + np.log1p(np.exp(y - x))


@njit
def _find(tree: Any, node: int, token: int) -> int:
    found = tree.child[node]
    while found != NONE and tree.token[found] != token:
        found = tree.sibling[found]
    return int(found)


@njit
def _tokens(row: Any, limits: Any, chosen: Any) -> int:
    """Fill `chosen` with the tokens that are worth a try, most probable first; return how many."""
    best = -np.inf
    for token in range(len(row)):
        best = max(best, row[token])
    count = 0
    for token in range(len(row)):
        if token != limits.blank_id and row[token] >= best - limits.token_margin:
            place = count
            while place > 0 and row[chosen[place - 1]] < row[token]:
                chosen[place] = chosen[place - 1]
                place -= 1
            chosen[place] = token
            count += 1
    return count


@njit
def _stay(row: Any, tree: Any, beam: Any, limits: Any, totals: Any, blanks: Any, others: Any) -> None:
    """Prolong every prefix by a blank, or by its last token once more."""
    for b in range(beam.counts[ALIVE]):
        node = beam.node[b]
        totals[b] = _add(beam.blank[b], beam.other[b])
        blanks[b] = totals[b] + row[limits.blank_id] - limits.blank_penalty
        others[b] = beam.other[b] + row[tree.token[node]] if node != ROOT else -np.inf


@njit
def _least_kept(scores: Any, count: int, size: int, room: Any) -> float:
    """Return the score of rank `size` (from 1), by Hoare's selection; numpy's takes seconds to compile."""
    room[:count] = scores[:count]
    low, high = 0, count - 1
    while low < high:
        pivot = room[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while room[i] > pivot:
                i += 1
            while room[j] < pivot:
                j -= 1
            if i <= j:
                room[i], room[j] = room[j], room[i]
                i += 1
                j -= 1
        if size - 1 <= j:
            high = j
        elif size - 1 >= i:
            low = i
        else:
            break
    return float(room[size - 1])


@njit
def _kept(scores: Any, count: int, size: int, protected: int, order: Any, room: Any) -> int:
    """Fill `order` with the places of the best `size` scores and the protected one; return how many."""
    least = _least_kept(scores, count, size, room) if count > size else -np.inf
    kept = 0
    for place in range(count):  # those above the least first, so that ties do not push them out
        if scores[place] > least:
            order[kept] = place
            kept += 1
    for place in range(count):
        if scores[place] == least and kept < size:
            order[kept] = place
            kept += 1
    for place in range(kept):
        if order[place] == protected:
            return kept
    if protected != NONE:
        order[kept] = protected
        kept += 1
    return kept


@njit
def _follow_greedy(row: Any, beam: Any, chosen: Any, num_tokens: int, blank_id: int) -> int:
    """Return the token that the best path adds in this frame, NONE if it adds none."""
    best = NONE
    if num_tokens > 0 and row[chosen[0]] > row[blank_id]:
        best = chosen[0]
    before = beam.counts[GREEDY_TOKEN]
    beam.counts[GREEDY_TOKEN] = best
    return best if best != before else NONE


@njit
def _grow(tree: Any, beam: Any, parent: int, token: int, states: Any, added: Any) -> int:
    """Return a new node of the tree."""
    node = beam.counts[NODES]
    beam.counts[NODES] += 1
    tree.parent[node], tree.token[node] = parent, token
    tree.child[node], tree.sibling[node] = NONE, tree.child[parent]
    tree.child[parent] = node
    tree.states[node], tree.added[node] = states, added
    tree.frame[node] = beam.counts[FRAMES]
    return int(node)


@compiled
def advance(log_probs: Any, tree: Any, beam: Any, limits: Any, fusion: Any) -> None:
    """Take in frames of log-probs (E, V); the tree must have room for E * (beam + 1) nodes more."""
    size = limits.beam
    room = len(beam.node) * (1 + log_probs.shape[1])
    chosen, order = np.empty(log_probs.shape[1], np.int64), np.empty(room, np.int64)
    totals, scores, spare = np.empty(len(beam.node)), np.empty(room), np.empty(room)
    blanks, others = np.empty(room), np.empty(room)
    parents, tokens, nodes = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    states, added = np.empty((room, STATES), np.int32), np.empty((room, ADDED))
    for t in range(log_probs.shape[0]):
        row = log_probs[t]
        alive = count = beam.counts[ALIVE]
        _stay(row, tree, beam, limits, totals, blanks, others)
        num_tokens = _tokens(row, limits, chosen)
        greedy, greedy_token = beam.counts[GREEDY], _follow_greedy(row, beam, chosen, num_tokens, limits.blank_id)
        protected = tree.slot[greedy] if greedy_token == NONE else NONE
        best = -np.inf
        for b in range(alive):
            nodes[b] = beam.node[b]
            scores[b] = _add(blanks[b], others[b]) + tree.added[nodes[b], ALL]
            best = max(best, scores[b])
        for b in range(alive):
            node = nodes[b]
            most = totals[b] + tree.added[node, ALL] + limits.lift
            for k in range(num_tokens):
                token = chosen[k]
                is_greedy = node == greedy and token == greedy_token
                if most + row[token] < best - limits.beam_margin and not is_greedy:
                    break  # all further tokens are less probable
                score = row[token] + (beam.blank[b] if token == tree.token[node] else totals[b])
                if score == -np.inf:
                    continue
                child = _find(tree, node, token)
                place = tree.slot[child] if child != NONE else NONE
                if place != NONE:
                    others[place] = _add(others[place], score)
                    scores[place] = _add(blanks[place], others[place]) + tree.added[child, ALL]
                else:
                    place = count
                    count += 1
                    if child == NONE:
                        extend(fusion, tree.states[node], tree.added[node], token, states[place], added[place])
                    else:
                        added[place, ALL] = tree.added[child, ALL]
                    blanks[place], others[place] = -np.inf, score
                    parents[place], tokens[place], nodes[place] = node, token, child
                    scores[place] = score + added[place, ALL]
                best = max(best, scores[place])
                if is_greedy:
                    protected = place
        for b in range(alive):
            tree.slot[beam.node[b]] = NONE
        kept = _kept(scores, count, size, protected, order, spare)
        alive = 0
        for k in range(kept):
            place = order[k]
            if scores[place] < best - limits.beam_margin and place != protected:
                continue
            node = nodes[place]
            if node == NONE:
                node = _grow(tree, beam, parents[place], tokens[place], states[place], added[place])
            beam.node[alive], beam.blank[alive], beam.other[alive] = node, blanks[place], others[place]
            tree.slot[node] = alive
            if place == protected:
                beam.counts[GREEDY] = node
            alive += 1
        beam.counts[ALIVE] = alive
        beam.counts[FRAMES] += 1
