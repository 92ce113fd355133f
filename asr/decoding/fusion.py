"""What a search adds to the acoustic score of a prefix: a language model over words or tokens, and hotwords.

Words are scored when they are complete.  Until then a prefix counts as the best word that it can still become, and one
that no word of the vocabulary starts with counts the more as unknown the longer it is; both are taken back when the
word ends (language model look-ahead, Ortmanns et al. 1996).  So the vocabulary stays open, and the beam does not fill
with what no word is.
Where it is closed, a prefix that no word starts with is impossible.  Of words that are spelled alike the one is said
that the language model finds best at that place.

Hotwords gain their weight for each character as they are spelled, and lose all of it again if the phrase is not
completed at the end of a word.  Those that are avoided lose theirs when they are complete, so that what only begins
like them is not dropped.  Of several that are being spelled at once the longest counts until it fails or all are said.
Each character of a script that puts no spaces between words is a word of its own to them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.lm.lookup import step
from asr.lm.sorting import place_of
from asr.lm.words import END, UNKNOWN
from asr.native import compiled, inner

WORDS, TOKENS, NO_MODEL = 1, 2, 0  # what the language model's units are
SPACE, STRANGE = 0, -1  # characters of a trie: of hotwords the space; one that no trie holds
DEAD = -1  # state of a trie that nothing in it continues
LN_10 = float(np.log(10.0))
# Thai and Lao, Burmese, Khmer, kana, and Chinese characters: scripts without spaces between words
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
UNKNOWN_LETTERS = 4  # after so many an unfinished word that is unknown costs as much as a finished one
# columns of a prefix's states
TRIE, MODEL, HOTWORD, LENGTH = 0, 1, 2, 3
# columns of what is added to a prefix's score: all of it; without what is taken back when the word ends; the natural
# log-probability of the language model, not weighted
ALL, CERTAIN, MODEL_LOG = 0, 1, 2
STATES, ADDED = 4, 3  # how many columns


class Spelling(NamedTuple):
    """How tokens spell: those that start a word, and the characters of each, `firsts[v]` to `firsts[v + 1]`."""

    starts: NDArray[np.bool_]
    firsts: NDArray[np.int32]
    characters: NDArray[np.int32]


class Trie(NamedTuple):
    """Texts by their characters: node 0 is the start, the arcs of node n are `firsts[n]` to `firsts[n + 1]`.

    Attributes:
        characters, nexts: (arcs,) ascending within a node; where each leads.
        ends: (nodes,) the number of the text that ends there, -1 for none.
        values: (nodes,) of words the best score below, of hotwords the weight of getting there.
    """

    firsts: NDArray[np.int32]
    characters: NDArray[np.int32]
    nexts: NDArray[np.int32]
    ends: NDArray[np.int32]
    values: NDArray[np.float64]


class Hotwords(NamedTuple):
    """Phrases, as `asr.decoding.hotwords` builds them.

    Attributes:
        fails: (nodes,) where to look on for what a node does not continue: the longest of its endings, from a later
            word on, that begins a phrase; DEAD where no word begins and none does.
        pending: (nodes,) what is lost if the phrase fails there.
        found: (nodes,) what all phrases gain and cost that end there, where a word ends.
        borders: (nodes,) whether no letter has come since a word ended.
        lift, end_lift: by how much failing may raise a prefix, with a character and where a word ends.
    """

    trie: Trie
    fails: NDArray[np.int32]
    pending: NDArray[np.float64]
    found: NDArray[np.float64]
    borders: NDArray[np.bool_]
    lift: float
    end_lift: float


class Arcs(NamedTuple):
    """An n-gram model as `NgramModel` keeps it."""

    first: NDArray[np.int64]
    words: NDArray[np.int32]
    log10_probs: NDArray[np.float32]
    nexts: NDArray[np.int32]
    backoffs: NDArray[np.float32]
    links: NDArray[np.int32]


class Fusion(NamedTuple):
    """All that is added to the acoustic score.

    Attributes:
        units: WORDS, TOKENS or NO_MODEL.
        closed: whether the words of the vocabulary alone may be said.
        word_ids: (words,) the model's id of each word of the vocabulary; alike: (words,) the next word that is spelled
            alike, -1 without one.
        token_words: (V,) the model's id of each token, where tokens are its units.
        weight: of a log10 of the model, in natural logs; bonus: of a word; unknown: of one outside the vocabulary.
        start: the model's state before the first word.
        hotword_lifts: (V,) by how much hotwords may raise a prefix with each token, natural log.
    """

    spelling: Spelling
    units: int
    vocabulary: Trie
    closed: bool
    word_ids: NDArray[np.int32]
    alike: NDArray[np.int32]
    arcs: Arcs
    token_words: NDArray[np.int32]
    weight: float
    bonus: float
    unknown: float
    start: int
    hotwords: Hotwords
    hotword_lifts: NDArray[np.float64]


def lifts_of(fusion: Fusion) -> NDArray[np.float64]:
    """Return (V,) by how much each token may raise a prefix, natural log: what the acoustic model finds worse by more
    is not tried.

    Where a word ends this is its bonus, and as much as it is likelier where it stands than anywhere.
    """
    return fusion.hotword_lifts + fusion.spelling.starts * (max(0.0, fusion.bonus) + 2.0 * fusion.weight)


def no_trie() -> Trie:
    """Return a trie of nothing."""
    return Trie(
        np.zeros(2, np.int32),
        np.zeros(0, np.int32),
        np.zeros(0, np.int32),
        np.full(1, -1, np.int32),
        np.zeros(1),
    )


def plain(num_tokens: int) -> Fusion:
    """Return what adds nothing to a search over so many tokens."""
    spelling = Spelling(np.zeros(num_tokens, np.bool_), np.zeros(num_tokens + 1, np.int32), np.zeros(0, np.int32))
    arcs = Arcs(
        np.zeros(2, np.int64),
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int32),
        np.zeros(1, np.float32),
        np.zeros(1, np.int32),
    )
    for array in arcs:
        array.setflags(write=False)  # as those of a model are: the search is compiled once for both
    words, none = np.zeros(num_tokens, np.int32), np.zeros(0, np.int32)
    hotwords = Hotwords(no_trie(), np.full(1, DEAD, np.int32), np.zeros(1), np.zeros(1), np.ones(1, np.bool_), 0.0, 0.0)
    scales = (0.0, 0.0, 0.0, 0)
    lifts = np.zeros(num_tokens)
    return Fusion(spelling, NO_MODEL, no_trie(), False, none, none, arcs, words, *scales, hotwords, lifts)


@inner
def _child(trie: Any, node: int, character: int) -> int:
    """Return the node that a character leads to, DEAD if none."""
    arc = place_of(trie.characters, trie.firsts[node], trie.firsts[node + 1], character)
    return int(trie.nexts[arc]) if arc >= 0 else DEAD


@inner
def _follow_hotwords(hotwords: Any, states: Any, added: Any, character: int) -> None:
    """Go on by a character to the longest phrase that is being spelled; what it has gained so far is pending."""
    node = states[HOTWORD]
    after = DEAD
    if node != DEAD:
        added[CERTAIN] -= hotwords.pending[node]
    while node != DEAD and after == DEAD:
        after = _child(hotwords.trie, node, character)
        node = hotwords.fails[node]
    if after == DEAD and character == SPACE:  # any phrase may begin
        after = 0
    if after != DEAD:
        added[CERTAIN] += hotwords.pending[after]
    states[HOTWORD] = after


@inner
def _end_word_of_hotwords(hotwords: Any, states: Any, added: Any) -> None:
    """Add what the phrases gain and cost that end here, where a word does, unless it has ended already."""
    node = states[HOTWORD]
    if node != DEAD and hotwords.borders[node]:
        return
    if node != DEAD:
        added[CERTAIN] += hotwords.found[node]
    _follow_hotwords(hotwords, states, added, SPACE)


def stands_alone(character: int) -> bool:
    """Return whether a character's script puts no spaces between words, so that any character may begin one."""
    found = False
    for low, high in _UNSPACED:
        found |= low <= character <= high
    return found


_stands_alone = inner(stands_alone)


@inner
def _say(fusion: Any, states: Any, added: Any, word_id: int, word: int) -> int:
    """Add the language model's score of a word or token; return the word of the vocabulary.

    Args: word: its place in the vocabulary, -1 for none; of those that are spelled alike the best is said.
    """
    arcs = fusion.arcs
    most, said, after = -np.inf, word, states[MODEL]
    while True:
        log10, state = step(
            arcs.first, arcs.words, arcs.log10_probs, arcs.nexts, arcs.backoffs, arcs.links, states[MODEL], word_id
        )
        if log10 > most:
            most, said, after = log10, word, state
        word = fusion.alike[word] if word >= 0 else -1
        if word < 0:
            break
        word_id = fusion.word_ids[word]
    states[MODEL] = after
    added[CERTAIN] += fusion.weight * most
    added[MODEL_LOG] += LN_10 * most
    return int(said)


@inner
def _end_word(fusion: Any, states: Any, added: Any) -> int:
    """Score the word that ends here, if there is one, and start the next; return its place, -1 for none."""
    if states[LENGTH] == 0:
        return -1
    added[CERTAIN] += fusion.bonus
    node = states[TRIE]
    word = fusion.vocabulary.ends[node] if node != DEAD else -1
    if word < 0 and (fusion.closed or fusion.units == WORDS):
        added[CERTAIN] += -np.inf if fusion.closed else fusion.unknown
    if fusion.units == WORDS:
        word = _say(fusion, states, added, fusion.word_ids[word] if word >= 0 else UNKNOWN, word)
    _end_word_of_hotwords(fusion.hotwords, states, added)
    states[TRIE], states[LENGTH] = 0, 0
    return int(word)


@inner
def _spell(fusion: Any, states: Any, added: Any, character: int) -> None:
    """Add a character to the word."""
    if states[TRIE] != DEAD:
        states[TRIE] = _child(fusion.vocabulary, states[TRIE], character)
    if fusion.closed and states[TRIE] == DEAD:
        added[CERTAIN] = -np.inf
    is_alone = _stands_alone(character)
    if is_alone:
        _end_word_of_hotwords(fusion.hotwords, states, added)
    _follow_hotwords(fusion.hotwords, states, added, character)
    if is_alone:
        _end_word_of_hotwords(fusion.hotwords, states, added)
    states[LENGTH] += 1


@inner
def _look_ahead(fusion: Any, states: Any, before: float) -> float:
    """Return what the unfinished word counts for; before: what it did a token ago."""
    if fusion.units != WORDS or states[LENGTH] == 0:
        return 0.0
    if states[TRIE] != DEAD:
        return float(fusion.weight * fusion.vocabulary.values[states[TRIE]])
    if fusion.closed:  # impossible already
        return 0.0
    price = fusion.weight * fusion.arcs.log10_probs[UNKNOWN] + fusion.unknown
    return float(min(before, price * min(1.0, states[LENGTH] / UNKNOWN_LETTERS)))


@inner
def extend(fusion: Any, states: Any, added: Any, token: int, new_states: Any, new_added: Any) -> None:
    """Fill the states (4,) and the added scores (3,) of a prefix that is longer by a token."""
    for column in range(len(states)):  # numba would make a copy of a slice first
        new_states[column] = states[column]
    for column in range(len(added)):
        new_added[column] = added[column]
    spelling = fusion.spelling
    if spelling.starts[token]:
        _end_word(fusion, new_states, new_added)
    for place in range(spelling.firsts[token], spelling.firsts[token + 1]):
        _spell(fusion, new_states, new_added, spelling.characters[place])
    if fusion.units == TOKENS:
        _say(fusion, new_states, new_added, fusion.token_words[token], -1)
    before = 0.0 if spelling.starts[token] else added[ALL] - added[CERTAIN]
    new_added[ALL] = new_added[CERTAIN] + _look_ahead(fusion, new_states, before)


def finished(fusion: Fusion, states: NDArray[np.int32], added: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what whole sentences add, (N, 3), of prefixes with states (N, 4) and added scores (N, 3)."""
    states, added = states.copy(), added.copy()
    _finish(fusion, states, added)
    return added


@compiled
def _finish(fusion: Any, all_states: Any, all_added: Any) -> None:
    for place in range(len(all_states)):
        states, added = all_states[place], all_added[place]
        _end_word(fusion, states, added)
        if fusion.units != NO_MODEL:
            _say(fusion, states, added, END, -1)
        added[CERTAIN] -= fusion.hotwords.pending[states[HOTWORD]]
        added[ALL] = added[CERTAIN]


def words_said(fusion: Fusion, token_ids: Sequence[int]) -> tuple[list[int], int]:
    """Return (words of a closed vocabulary that tokens say in full, how many of the tokens spell them).

    The tokens after those spell an unfinished word.  The number is -1 if the vocabulary does not allow the tokens.
    """
    tokens = np.asarray(token_ids, np.int64)
    meant = np.full(len(tokens) + 1, -1, np.int32)
    states, added = np.zeros((2, STATES), np.int32), np.zeros((2, ADDED))
    states[0, MODEL] = fusion.start
    _follow(fusion, tokens, meant, states, added)
    if added[0, ALL] == -np.inf:
        return [], -1
    ends = np.flatnonzero(meant >= 0)
    return meant[ends].tolist(), int(ends[-1]) if len(ends) else 0


@compiled
def _follow(fusion: Any, tokens: Any, meant: Any, states: Any, added: Any) -> None:
    """Fill `meant` (U + 1,) with the word that ends before each token, and at the end; -1 where none does."""
    for place in range(len(tokens) + 1):
        if place == len(tokens) or fusion.spelling.starts[tokens[place]]:
            meant[place] = _end_word(fusion, states[0], added[0])
        if place < len(tokens):
            extend(fusion, states[0], added[0], tokens[place], states[1], added[1])
            states[0], added[0] = states[1], added[1]
