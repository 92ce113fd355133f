"""CTC prefix beam search, compiled: one frame after another, prefixes merged, language model and hotwords in one score.

A prefix is a node of a tree that grows where the search goes.  Of each prefix in the beam two sums over alignments are
kept, those that end in a blank and those that do not; equal prefixes are one node, so they merge by themselves.

A space where no word has begun says nothing: it leads to no other prefix, so a text is one answer with however many.

The sums are probabilities, not logarithms: products and sums where logarithms would need two functions for each sum.
They hold what the fusion adds as a factor, and after each frame the best is made 1; what was divided out is kept apart
as a logarithm, so recordings of any length are within range.
Sources: Graves 2012, "Sequence transduction with recurrent neural networks", section 2.5; Hannun et al. 2014,
"First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs".
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decoding.fusion import ADDED, ALL, LENGTH, STATES, extend
from asr.native import compiled, inner, outer

ROOT, NONE = 0, -1
STAYS = -2  # of `Room.befores`
# places in `Beam.counts`
ALIVE, NODES, FRAMES, GREEDY, GREEDY_TOKEN = 0, 1, 2, 3, 4


class Tree(NamedTuple):
    """Prefixes: node 0 is the empty one.  `slot` is the place in the beam, NONE for those that are not in it.

    What was tried and did not get into the beam stays for a while, as it is often tried again in the next frame.
    """

    parent: NDArray[np.int32]
    token: NDArray[np.int32]
    child: NDArray[np.int32]  # the youngest, NONE without any
    sibling: NDArray[np.int32]  # the next older one
    slot: NDArray[np.int32]
    frame: NDArray[np.int32]  # in which most of the prefix's probability came from its parent
    before: NDArray[np.int32]  # what that of the parent was then, which may since have come anew
    states: NDArray[np.int32]  # (nodes, 4) of the fusion
    added: NDArray[np.float64]  # (nodes, 3) by the fusion
    gain: NDArray[np.float64]  # the factor by which the fusion finds the prefix likelier than its parent


class Beam(NamedTuple):
    """Prefixes that are alive, in no order.

    Attributes: counts: prefixes alive, nodes of the tree, frames heard, node (NONE: given up) and last token of the
        best path.
    """

    node: NDArray[np.int32]
    blank: NDArray[np.float64]  # probability of all alignments that end in a blank, times what the fusion makes of it
    other: NDArray[np.float64]  # of those that do not
    scale: NDArray[np.float64]  # (1,) natural log of what a probability of 1 stands for
    counts: NDArray[np.int64]


class Room(NamedTuple):
    """Space to work in, as compiled code that counts no references makes no arrays."""

    chosen: NDArray[np.int64]  # (V,) tokens that are tried
    totals: NDArray[np.float64]  # (beam + 1,) of each prefix, before the frame
    # of the prefixes in the beam, then of those that are new
    blanks: NDArray[np.float64]
    others: NDArray[np.float64]
    scores: NDArray[np.float64]
    nodes: NDArray[np.int32]
    befores: NDArray[np.int32]  # the parent's frame if most of the probability comes from it now, else STAYS
    order: NDArray[np.int64]
    spare: NDArray[np.float64]


class Limits(NamedTuple):
    """What is pruned."""

    beam: int
    beam_share: float  # prefixes less probable than this share of the best are dropped
    token_share: float  # tokens less probable than this share of a frame's best are not tried
    lifts: NDArray[np.float64]  # (V,) the greatest factor by which the fusion may raise a prefix with each token
    lift: float  # the greatest of them
    blank_id: int
    space_id: int  # the token that ends a word and spells nothing, NONE without


def new_tree(nodes: int) -> Tree:
    """Return a tree of the empty prefix alone, with room for so many nodes."""
    parent, token, child, sibling, slot, frame, before = np.full((7, nodes), NONE, np.int32)
    states, added = np.zeros((nodes, STATES), np.int32), np.zeros((nodes, ADDED))
    tree = Tree(parent, token, child, sibling, slot, frame, before, states, added, np.ones(nodes))
    tree.slot[ROOT] = 0
    return tree


def new_beam(size: int) -> Beam:
    """Return the beam before the first frame: the empty prefix."""
    room = size + 1  # the best path's prefix is kept whatever its score
    beam = Beam(np.zeros(room, np.int32), np.zeros(room), np.zeros(room), np.zeros(1), np.zeros(5, np.int64))
    beam.blank[0] = 1.0
    beam.counts[:] = (1, 1, 0, ROOT, NONE)
    return beam


def new_room(size: int, num_tokens: int) -> Room:
    """Return space for a beam of a size and V tokens."""
    most = (size + 1) * (1 + num_tokens)
    blanks, others, scores, spare = np.empty((4, most))
    nodes, befores = np.empty((2, most), np.int32)
    chosen, order = np.empty(num_tokens, np.int64), np.empty(most, np.int64)
    return Room(chosen, np.empty(size + 1), blanks, others, scores, nodes, befores, order, spare)


def pruned(tree: Tree, beam: Beam, *, room: int) -> Tree:
    """Return the tree without the branches that no prefix in the beam is on, with room for so many nodes more.

    The nodes that the beam names are numbered anew.
    """
    alive = beam.node[: beam.counts[ALIVE]]
    kept = np.zeros(beam.counts[NODES], np.bool_)
    _mark(tree.parent, alive, kept)
    numbers = np.cumsum(kept, dtype=np.int32) - np.int32(1)
    count = int(numbers[-1]) + 1
    made = new_tree(count + room)
    for column in range(len(tree)):
        made[column][:count] = tree[column][: len(kept)][kept]
    made.parent[1:count] = numbers[made.parent[1:count]]
    _relink(made.parent, made.child, made.sibling, count)
    alive[:] = numbers[alive]
    beam.counts[NODES] = count
    if beam.counts[GREEDY] != NONE:
        beam.counts[GREEDY] = numbers[beam.counts[GREEDY]]
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


@inner
def _find(tree: Any, node: int, token: int) -> int:
    found = tree.child[node]
    while found != NONE and tree.token[found] != token:
        found = tree.sibling[found]
    return int(found)


@inner
def _tokens(row: Any, limits: Any, chosen: Any) -> int:
    """Fill `chosen` with the tokens that are worth a try, most probable first; return how many."""
    least = 0.0
    for token in range(len(row)):
        least = max(least, row[token] * limits.token_share)
    count = 0
    for token in range(len(row)):
        if token != limits.blank_id and row[token] >= least and row[token] > 0.0:
            place = count
            while place > 0 and row[chosen[place - 1]] < row[token]:
                chosen[place] = chosen[place - 1]
                place -= 1
            chosen[place] = token
            count += 1
    return count


@inner
def _says_nothing(tree: Any, limits: Any, node: int, token: int) -> bool:
    """Return whether the token is a space where no word has begun."""
    return bool(token == limits.space_id and tree.states[node, LENGTH] == 0)


@inner
def _stay(row: Any, tree: Any, beam: Any, limits: Any, room: Any) -> float:
    """Prolong every prefix by a blank, by its last token once more, or by its last token after its parent.

    Returns: the best score.
    """
    alive, best, totals = beam.counts[ALIVE], 0.0, room.totals
    for b in range(alive):
        totals[b] = beam.blank[b] + beam.other[b]
    for b in range(alive):
        node = room.nodes[b] = beam.node[b]
        room.blanks[b], room.others[b] = totals[b] * row[limits.blank_id], 0.0
        room.befores[b] = STAYS
        if node != ROOT:
            token, parent = tree.token[node], tree.parent[node]
            place, came = tree.slot[parent], 0.0
            if place != NONE:
                came = tree.gain[node] * (beam.blank[place] if tree.token[parent] == token else totals[place])
            room.others[b] = (beam.other[b] + came) * row[token]
            if came * row[token] > room.blanks[b] + beam.other[b] * row[token]:
                room.befores[b] = tree.frame[parent]
        if limits.space_id != NONE and _says_nothing(tree, limits, node, limits.space_id):
            # after a space another one is its repetition, which is in the sum, or comes after a blank
            room.others[b] += row[limits.space_id] * (totals[b] if node == ROOT else beam.blank[b])
        room.scores[b] = room.blanks[b] + room.others[b]
        best = max(best, room.scores[b])
    return best


@inner
def _least_kept(scores: Any, count: int, size: int, spare: Any) -> float:
    """Return the score of rank `size` (from 1), by Hoare's selection; numpy's takes seconds to compile."""
    for place in range(count):
        spare[place] = scores[place]
    low, high = 0, count - 1
    while low < high:
        pivot = spare[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while spare[i] > pivot:
                i += 1
            while spare[j] < pivot:
                j -= 1
            if i <= j:
                spare[i], spare[j] = spare[j], spare[i]
                i += 1
                j -= 1
        if size - 1 <= j:
            high = j
        elif size - 1 >= i:
            low = i
        else:
            break
    return float(spare[size - 1])


@inner
def _kept(room: Any, count: int, size: int, protected: int) -> int:
    """Fill `room.order` with the places of the best `size` scores and the protected one; return how many."""
    order, scores = room.order, room.scores
    if count <= size:
        for place in range(count):
            order[place] = place
        return count
    least = _least_kept(scores, count, size, room.spare)
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


@inner
def _follow_greedy(row: Any, beam: Any, chosen: Any, num_tokens: int, blank_id: int) -> int:
    """Return the token that the best path adds in this frame, NONE if it adds none."""
    best = NONE
    if num_tokens > 0 and row[chosen[0]] > row[blank_id]:
        best = chosen[0]
    before = beam.counts[GREEDY_TOKEN]
    beam.counts[GREEDY_TOKEN] = best
    return best if best != before else NONE


@inner
def _grow(tree: Any, beam: Any, fusion: Any, parent: int, token: int) -> int:
    """Return a new node of the tree."""
    node = beam.counts[NODES]
    beam.counts[NODES] += 1
    tree.parent[node], tree.token[node], tree.slot[node] = parent, token, NONE
    tree.child[node], tree.sibling[node] = NONE, tree.child[parent]
    tree.child[parent] = node
    extend(fusion, tree.states[parent], tree.added[parent], token, tree.states[node], tree.added[node])
    tree.gain[node] = np.exp(tree.added[node, ALL] - tree.added[parent, ALL])
    return int(node)


@inner
def _longer(row: Any, tree: Any, beam: Any, limits: Any, fusion: Any, room: Any, num_tokens: int, best: float) -> Any:
    """Add the prefixes that are a token longer; return (how many there are now, the best score, the protected place).

    Those in the beam already have had what comes to them from their parents.
    """
    alive = count = beam.counts[ALIVE]
    greedy, greedy_token = beam.counts[GREEDY], _follow_greedy(row, beam, room.chosen, num_tokens, limits.blank_id)
    protected = tree.slot[greedy] if greedy != NONE and greedy_token == NONE else NONE
    # no prefix below so many others will be kept
    least = _least_kept(room.scores, alive, limits.beam, room.spare) if alive >= limits.beam else 0.0
    for b in range(alive):
        node = room.nodes[b]
        for k in range(num_tokens):
            token = room.chosen[k]
            is_greedy = node == greedy and token == greedy_token
            cut = 0.0 if is_greedy else max(least, best * limits.beam_share)
            if room.totals[b] * row[token] * limits.lift < cut and (node != greedy or greedy_token == NONE):
                break  # all further tokens are less probable
            if _says_nothing(tree, limits, node, token):
                protected = b if is_greedy else protected
                continue
            mass = row[token] * (beam.blank[b] if token == tree.token[node] else room.totals[b])
            if mass * limits.lifts[token] < cut:
                continue
            child = _find(tree, node, token)
            if child == NONE:
                child = _grow(tree, beam, fusion, node, token)
            place, score = tree.slot[child], mass * tree.gain[child]
            if place == NONE:
                if score < cut or score == 0.0:
                    continue
                place = count
                count += 1
                room.blanks[place], room.others[place], room.scores[place] = 0.0, score, score
                room.nodes[place], room.befores[place] = child, tree.frame[node]
                best = max(best, score)
            if is_greedy:
                protected = place
    return count, best, protected


@inner
def _settle(tree: Any, beam: Any, room: Any, kept: int, best: float, least: float, protected: int) -> None:
    """Make the prefixes at the first places of `room.order` the beam, the best of them with probability 1."""
    before, alive = beam.counts[ALIVE], 0
    for b in range(before):
        tree.slot[beam.node[b]] = NONE
    beam.counts[GREEDY] = NONE
    for k in range(kept):
        place = room.order[k]
        if room.scores[place] < least and place != protected:
            continue
        node = room.nodes[place]
        if room.befores[place] != STAYS:
            tree.frame[node], tree.before[node] = beam.counts[FRAMES], room.befores[place]
        beam.node[alive] = node
        beam.blank[alive], beam.other[alive] = room.blanks[place] / best, room.others[place] / best
        tree.slot[node] = alive
        if place == protected and room.scores[place] > 0.0:
            beam.counts[GREEDY] = node
        alive += 1
    beam.counts[ALIVE] = alive
    beam.scale[0] += np.log(best)
    beam.counts[FRAMES] += 1


@outer
def advance(probs: Any, tree: Any, beam: Any, limits: Any, fusion: Any, room: Any) -> int:
    """Take in frames of probabilities (E, V) while the tree has room; return how many."""
    for t in range(probs.shape[0]):
        row = probs[t]
        num_tokens = _tokens(row, limits, room.chosen)
        if beam.counts[NODES] + beam.counts[ALIVE] * num_tokens > len(tree.parent):
            return t
        best = _stay(row, tree, beam, limits, room)
        count, best, protected = _longer(row, tree, beam, limits, fusion, room, num_tokens, best)
        kept = _kept(room, count, limits.beam, protected)
        _settle(tree, beam, room, kept, best, best * limits.beam_share, protected)
    return int(probs.shape[0])
