"""The best phrase of a grammar: exact search over all CTC alignments of all phrases, compiled.

A node of the search is a state of the automaton, where a blank was heard last, or an arc, where its token was.  The
best way to each node is kept from frame to frame (Viterbi 1967); nothing is pruned, so the answer is the phrase with
the most probable alignment.  Ways are told from scores kept every sqrt(E) frames, so an hour needs little memory.
"""

from math import ceil, isqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asr.decoding.automaton import Automaton, build_automaton
from asr.decoding.beam import checked_probs
from asr.decoding.greedy import FramePath, Reading
from asr.decoding.lexicon import characters_of, is_byte, vocabulary_of
from asr.decoding.network import Network
from asr.decoding.searching import NO_PHRASE, LogProbs, LogProbsReader
from asr.errors import DataError
from asr.native import compiled
from asr.text.grammar import Grammar, Node, Reference, Repeat, Word
from asr.text.tokenizer import SPACE

if TYPE_CHECKING:
    from asr.text.lexicon import Lexicon
    from asr.text.tokenizer import Tokenizer

STAYED, FROM_STATE = -2, -1  # the way to a node, where it comes from no arc


class GrammarReader(LogProbsReader):
    """Reads the best phrase of a grammar."""

    def __init__(self, grammar: Grammar, tokenizer: "Tokenizer", lexicon: "Lexicon | None" = None) -> None:
        """Compile the grammar.

        Args: lexicon: how its words are spelled or pronounced; of phones by default the tokens' own.
        Raises: DataError naming the grammar's line for words that cannot be written, and for a grammar that is too
            large or allows nothing; as `vocabulary_of`.
        """
        self._tokenizer = tokenizer
        closed = lexicon is not None or tokenizer.lexicon is not None
        self._spellings = vocabulary_of(tokenizer, lexicon).by_word() if closed else None
        self._alike: dict[str, list[str]] = {}  # spelling -> its words
        for word, spellings in (self._spellings or {}).items():
            for spelling in spellings:
                self._alike.setdefault(spelling, []).append(word)
        self._network = Network(grammar)
        for node in (grammar.root, *grammar.rules.values()):
            _check_words(node, grammar, tokenizer, self._spellings)
        self.automaton = build_automaton(self._network, self._spell, tokenizer, where=grammar.where)

    def read(self, log_probs: LogProbs) -> Reading:
        """Return where the best phrase lies, and its natural log-probability.

        Where the frames are too few for any phrase, nothing is read, with a warning.
        Raises: DataError, UsageError as `checked_probs`.
        """
        checked_probs(log_probs, self._tokenizer.size)
        rows = np.ascontiguousarray(log_probs, np.float32)
        ids = best_phrase(rows, self.automaton)
        found = np.zeros(len(rows), np.int64) if ids is None else ids
        spoken = rows[np.arange(len(rows)), found]
        words, warnings = (None, (NO_PHRASE,)) if ids is None else (self._words(found), ())
        path = FramePath(found, spoken, words, warnings)
        return Reading(path, float(spoken.sum(dtype=np.float64)))

    def _spell(self, word: str) -> list[str]:
        return [word] if self._spellings is None else self._spellings[word]

    def _words(self, path: NDArray[np.int64]) -> tuple[str, ...] | None:
        """Return the words that the grammar calls what a path spells; None: as the tokens spell them."""
        if self._spellings is None or not self._tokenizer.has_space:  # without spaces no word can be told apart
            return None
        ids = path[np.flatnonzero(np.diff(path, prepend=0))]
        said = "".join(characters_of(self._tokenizer, token) for token in ids.tolist()).split(SPACE)
        return self._network.choose([self._alike[spelling] for spelling in said if spelling])


def best_phrase(log_probs: LogProbs, automaton: Automaton) -> NDArray[np.int64] | None:
    """Return the token of each frame, (E,), on the most probable path that the automaton allows; None without any.

    Args: log_probs: (E, V) natural log, contiguous.
    """
    frames, arcs = len(log_probs), len(automaton.tokens)
    scores = np.full(arcs + len(automaton.ends), -np.inf)
    scores[arcs] = 0.0  # as if a blank had been heard before the first frame
    step = max(1, isqrt(frames))
    marks = np.empty((ceil(frames / step), len(scores)))
    ways = np.empty((step, len(scores)), np.int32)
    for place, first in enumerate(range(0, frames, step)):
        marks[place] = scores
        _advance(log_probs[first : first + step], automaton, scores, ways)
    may_end = np.concatenate([automaton.ends[automaton.nexts], automaton.ends])
    node = int(np.where(may_end, scores, -np.inf).argmax())
    if not (may_end[node] and scores[node] > -np.inf):
        return None
    path = np.zeros(frames, np.int64)
    for place in range(len(marks) - 1, -1, -1):
        part = slice(place * step, (place + 1) * step)
        _advance(log_probs[part], automaton, marks[place], ways)
        node = _trace(automaton, ways, node, path[part])
    return path


@compiled
def _advance(log_probs: Any, automaton: Any, scores: Any, ways: Any) -> None:
    """Bring the scores (arcs + states,) over frames (E, V); `ways` (E, arcs + states) notes where each came from."""
    tokens, nexts = automaton.tokens, automaton.nexts
    arcs, states = len(tokens), len(automaton.ends)
    best, second = np.empty(states), np.empty(states)  # of the arcs into a state, and of those with another token
    best_arc, second_arc = np.empty(states, np.int32), np.empty(states, np.int32)
    for t in range(len(log_probs)):
        best[:], second[:], best_arc[:], second_arc[:] = -np.inf, -np.inf, -1, -1
        for arc in range(arcs):
            score, state = scores[arc], nexts[arc]
            if score > best[state]:
                if best_arc[state] >= 0 and tokens[best_arc[state]] != tokens[arc]:
                    second[state], second_arc[state] = best[state], best_arc[state]
                best[state], best_arc[state] = score, arc
            elif score > second[state] and tokens[best_arc[state]] != tokens[arc]:
                second[state], second_arc[state] = score, arc
        for arc in range(arcs):
            state, token = automaton.sources[arc], tokens[arc]
            score, way = scores[arc], STAYED
            if scores[arcs + state] > score:
                score, way = scores[arcs + state], FROM_STATE
            if best_arc[state] >= 0 and tokens[best_arc[state]] != token:
                if best[state] > score:
                    score, way = best[state], best_arc[state]
            elif second[state] > score:
                score, way = second[state], second_arc[state]
            scores[arc] = score + log_probs[t, token]
            ways[t, arc] = way
        for state in range(states):
            way = STAYED
            if best[state] > scores[arcs + state]:
                scores[arcs + state], way = best[state], best_arc[state]
            scores[arcs + state] += log_probs[t, 0]
            ways[t, arcs + state] = way


@compiled
def _trace(automaton: Any, ways: Any, node: int, path: Any) -> int:
    """Fill `path` (E,) back from the node after its last frame; return the node before its first."""
    arcs = len(automaton.tokens)
    for t in range(len(path) - 1, -1, -1):
        path[t] = automaton.tokens[node] if node < arcs else 0
        way = ways[t, node]
        if way == FROM_STATE:
            node = arcs + automaton.sources[node]
        elif way >= 0:
            node = way
    return node


def _check_words(node: Node, grammar: Grammar, tokenizer: "Tokenizer", spellings: dict[str, list[str]] | None) -> None:
    """Raise DataError for a word that cannot be spelled, with its line."""
    if isinstance(node, Word):
        if problem := _problem(node.text, tokenizer, spellings):
            raise DataError(f"{grammar.where}:{node.line}: '{node.text}' {problem}")
    elif isinstance(node, Repeat):
        _check_words(node.part, grammar, tokenizer, spellings)
    elif not isinstance(node, Reference):
        for part in node.parts:
            _check_words(part, grammar, tokenizer, spellings)


def _problem(word: str, tokenizer: "Tokenizer", spellings: dict[str, list[str]] | None) -> str | None:
    """Return why a word cannot be spelled, None if it can."""
    if spellings is not None:
        return None if word in spellings else "is not in the lexicon; add it with its pronunciation (--lexicon FILE)"
    if strange := tokenizer.unknown(word):
        shown = ", ".join(f"'{character}' (U+{ord(character):04X})" for character in strange[:5])
        cure = "spell it in letters of the model, see asr info"
        if not set(strange).isdisjoint("()[]|*+?{}"):
            cure += "; an expression with ( | ) is read from a file named *.regex"
        return f"holds {shown}, which the model cannot write; {cure}"
    if tokenizer.byte_fallback and any(is_byte(tokenizer.symbols[token]) for token in tokenizer.encode(word)):
        return (
            "is written in bytes by the model, which a grammar cannot follow; spell it in letters it has, see asr info"
        )
    return None
