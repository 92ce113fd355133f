"""A grammar as a network of words: states, and arcs that say a word or nothing.

Source: Thompson 1968, "Regular expression search algorithm", with the end of each part handed down, so that a rule may
refer to itself where it ends.
"""

from collections.abc import Iterator, Sequence

from asr.errors import DataError
from asr.text.grammar import NEVER, NOTHING, Choice, Grammar, Node, Reference, Repeat, Row, Word

START, END = 0, 1
MAX_STATES = 1_000_000
MAX_REACHED = 3_000_000  # states that are reached without a word, all states together
MAX_DEPTH = 400  # rules and brackets within each other


class Network:
    """States from START to END.

    Attributes: arcs: of each state, (word, state after it).
    """

    def __init__(self, grammar: Grammar) -> None:
        """Build it.  Raises: DataError for a grammar that is too large, or that refers to itself before its end."""
        self._grammar = grammar
        self.arcs: list[list[tuple[str, int]]] = [[], []]
        self._silent: list[list[int]] = [[], []]
        self._within: dict[str, tuple[int, int]] = {}  # rules that are being built, their starts and ends
        self._depth = self._reached = 0
        self._near: dict[int, tuple[int, ...]] = {}
        self._build(grammar.root, START, END)

    def near(self, state: int) -> tuple[int, ...]:
        """Return the states that are reached without a word, itself included.

        Raises: DataError if they become too many.
        """
        if state not in self._near:
            found, waiting = {state: None}, [state]
            while waiting:
                for after in self._silent[waiting.pop()]:
                    if after not in found:
                        found[after] = None
                        waiting.append(after)
            self._near[state] = tuple(found)
            self._reached += len(found)
            if self._reached > MAX_REACHED:
                raise self._too_large()
        return self._near[state]

    def ends(self, state: int) -> bool:
        """Return whether a phrase may end here."""
        return END in self.near(state)

    def said(self, state: int) -> Iterator[tuple[str, int]]:
        """Yield (word, state after it) of all words that may come next."""
        for near in self.near(state):
            yield from self.arcs[near]

    def choose(self, candidates: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """Return the first phrase whose words are among the candidates of each place."""
        steps: list[dict[int, tuple[int, str]]] = []  # state -> (state before, word)
        states = [START]
        for words in candidates:
            reached: dict[int, tuple[int, str]] = {}
            for state in states:
                for word, after in self.said(state):
                    if word in words:
                        reached.setdefault(after, (state, word))
            steps.append(reached)
            states = list(reached)
        state = next(state for state in states if self.ends(state))
        phrase = []
        for reached in reversed(steps):
            state, word = reached[state]
            phrase.append(word)
        return tuple(reversed(phrase))

    def _state(self) -> int:
        if len(self.arcs) >= MAX_STATES:
            raise self._too_large()
        self.arcs.append([])
        self._silent.append([])
        return len(self.arcs) - 1

    def _too_large(self) -> DataError:
        return DataError(
            f"{self._grammar.where}: its phrases need more than {MAX_STATES} states; repeat less, or list fewer phrases"
        )

    def _build(self, node: Node, start: int, end: int) -> None:
        """Add what leads from one state to another by saying a part of the grammar."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise DataError(f"{self._grammar.where}: more than {MAX_DEPTH} rules and brackets within each other")
        if isinstance(node, Word):
            self.arcs[start].append((node.text, end))
        elif isinstance(node, Choice):
            for part in node.parts:
                self._build(part, start, end)
        elif isinstance(node, Row):
            for part in node.parts[:-1]:
                after = self._state()
                self._build(part, start, after)
                start = after
            self._build(node.parts[-1], start, end)
        elif isinstance(node, Repeat):
            self._repeat(node, start, end)
        else:
            self._refer(node, start, end)
        self._depth -= 1

    def _repeat(self, node: Repeat, start: int, end: int) -> None:
        for _ in range(node.least):
            after = self._state()
            self._build(node.part, start, after)
            start = after
        if node.most is None:
            loop = self._state()
            self._silent[start].append(loop)
            self._build(node.part, loop, loop)
            start = loop
        self._silent[start].append(end)
        more = (node.most or 0) - node.least
        for left in reversed(range(more)):
            after = self._state() if left else end  # a rule that ends with [ ] may refer to itself in there
            self._build(node.part, start, after)
            if left:
                self._silent[after].append(end)
            start = after

    def _refer(self, node: Reference, start: int, end: int) -> None:
        if node.name in (NOTHING, NEVER):
            if node.name == NOTHING:
                self._silent[start].append(end)
            return
        if node.name in self._within:
            first, last = self._within[node.name]
            if last != end:
                raise DataError(
                    f"{self._grammar.where}:{node.line}: <{node.name}> refers to itself before its end, which no"
                    " automaton can follow; write * or +"
                )
            self._silent[start].append(first)
            return
        first = self._state()
        self._silent[start].append(first)
        self._within[node.name] = (first, end)
        self._build(self._grammar.rules[node.name], first, end)
        del self._within[node.name]
