"""A grammar as an automaton over a recogniser's tokens: from each state every token leads to one state at most."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decoding.lexicon import characters_of
from asr.decoding.network import START, Network
from asr.errors import DataError
from asr.text.tokenizer import SPACE

if TYPE_CHECKING:
    from asr.text.tokenizer import Tokenizer

MAX_STATES = 500_000
MAX_SIZE = 10_000_000  # arcs, and places that states hold

Spell = Callable[[str], Sequence[str]]
# A place in the network: what is left of a word and the state after it; None: a word begins at the state.
_Place = tuple[str | None, int]
_Arcs = list[dict[str, int]]


class Automaton(NamedTuple):
    """State 0 is the start; the arcs of state q are `firsts[q]` to `firsts[q + 1]`.

    Attributes: tokens, sources, nexts: (arcs,) what each says, and from where to where it leads.
        ends: (states,) whether a phrase may end there.
    """

    firsts: NDArray[np.int32]
    tokens: NDArray[np.int32]
    sources: NDArray[np.int32]
    nexts: NDArray[np.int32]
    ends: NDArray[np.bool_]


def build_automaton(network: Network, spell: Spell, tokenizer: "Tokenizer", *, where: str) -> Automaton:
    """Return the automaton of all phrases of a network.

    Args: spell: word -> its spellings, of characters that the tokens spell, of phones `phone(id)`.
    Raises: DataError for phrases that need too many states, and where there are none.
    Source: subset construction, Rabin and Scott 1959, "Finite automata and their decision problems".
    """
    arcs, ends = _determinise(network, spell, tokenizer, where)
    tokens = _token_arcs(arcs, _token_tree(tokenizer))
    kept = _useful(tokens, ends)
    if not kept:
        raise DataError(f"{where}: allows no phrase at all; give it a rule that words can follow to the end")
    numbers = {state: number for number, state in enumerate(kept)}
    rows = [
        (token, numbers[state], numbers[after])
        for state in kept
        for token, after in sorted(tokens[state].items())
        if after in numbers
    ]
    said, sources, nexts = np.array(rows, np.int32).reshape(-1, 3).T.copy()
    firsts = np.searchsorted(sources, np.arange(len(kept) + 1)).astype(np.int32)
    return Automaton(firsts, said, sources, nexts, np.array([ends[state] for state in kept]))


def _determinise(network: Network, spell: Spell, tokenizer: "Tokenizer", where: str) -> tuple[_Arcs, list[bool]]:
    """Return (arcs by character of each state, whether a phrase may end there); a state is a set of places."""
    places = _Places(network, spell, SPACE if tokenizer.has_space else "")
    # pieces mark where a word begins, also the first one
    first = frozenset({places.number(("" if tokenizer.kind == "sentencepiece" else None, START))})
    states, waiting = {first: 0}, [first]
    arcs: _Arcs = []
    size = 0
    for state in waiting:
        found: dict[str, set[int]] = {}
        for place in state:
            for character, after in places.moves(place):
                found.setdefault(character, set()).add(after)
        row = {}
        for character in sorted(found):
            target = frozenset(found[character])
            if target not in states:
                states[target] = len(states)
                waiting.append(target)
                size += len(target)
            row[character] = states[target]
        size += len(row)
        if len(states) > MAX_STATES or size > MAX_SIZE:
            raise DataError(f"{where}: its phrases need more than {MAX_STATES} states; repeat less, or list fewer")
        arcs.append(row)
    return arcs, [any(map(places.ends, state)) for state in waiting]


class _Places:
    """Places in a network by numbers, and where characters lead from them."""

    def __init__(self, network: Network, spell: Spell, separator: str) -> None:
        self._network, self._spell, self._separator = network, spell, separator
        self._numbers: dict[_Place, int] = {}
        self._places: list[_Place] = []
        self._moves: list[list[tuple[str, int]] | None] = []

    def number(self, place: _Place) -> int:
        """Return the number of a place."""
        if place not in self._numbers:
            self._numbers[place] = len(self._places)
            self._places.append(place)
            self._moves.append(None)
        return self._numbers[place]

    def ends(self, number: int) -> bool:
        """Return whether a phrase may end there: after a word, or before the first."""
        rest, state = self._places[number]
        return (rest == "" or (rest, state) == (None, START)) and self._network.ends(state)

    def moves(self, number: int) -> list[tuple[str, int]]:
        """Return (character, place after it) of all that may come next."""
        found = self._moves[number]
        if found is None:
            found = [(character, self.number(place)) for character, place in self._next(*self._places[number])]
            self._moves[number] = found
        return found

    def _next(self, rest: str | None, state: int) -> Iterator[tuple[str, _Place]]:
        if rest:
            yield rest[0], (rest[1:], state)
        elif rest == "" and self._separator:
            yield self._separator, (None, state)
        else:
            for word, after in self._network.said(state):
                for spelling in self._spell(word):
                    yield spelling[0], (spelling[1:], after)


def _token_tree(tokenizer: "Tokenizer") -> dict[str, Any]:
    """Return the tokens by their characters: character -> (token or None, tree of longer ones)."""
    tree: dict[str, Any] = {}
    for token in range(tokenizer.size):
        text = characters_of(tokenizer, token)
        if not text:
            continue
        node = tree
        for character in text[:-1]:
            node = node.setdefault(character, [None, {}])[1]
        node.setdefault(text[-1], [None, {}])[0] = token
    return tree


def _token_arcs(arcs: _Arcs, tree: dict[str, Any]) -> list[dict[int, int]]:
    """Return the arcs by token of each state."""
    return [dict(_walk(arcs, state, tree)) for state in range(len(arcs))]


def _walk(arcs: _Arcs, state: int, tree: dict[str, Any]) -> Iterator[tuple[int, int]]:
    for character, after in arcs[state].items():
        if character in tree:
            token, longer = tree[character]
            if token is not None:
                yield token, after
            if longer:
                yield from _walk(arcs, after, longer)


def _useful(tokens: list[dict[int, int]], ends: list[bool]) -> list[int]:
    """Return the states on a way from the start to an end, the start first; none if there is no way."""
    order, seen = [0], {0}
    for state in order:
        for after in tokens[state].values():
            if after not in seen:
                seen.add(after)
                order.append(after)
    before: dict[int, list[int]] = {}
    for state in order:
        for after in tokens[state].values():
            before.setdefault(after, []).append(state)
    useful = {state for state in order if ends[state]}
    waiting = list(useful)
    while waiting:
        for state in before.get(waiting.pop(), []):
            if state not in useful:
                useful.add(state)
                waiting.append(state)
    return [state for state in order if state in useful] if 0 in useful else []
