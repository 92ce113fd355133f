"""An n-gram back-off model as an automaton in flat arrays: what a search walks through word by word.

A state is a context: what n-grams continue.  Source: Allauzen et al. 2003, "Generalized algorithms for constructing
statistical language models", section 4 (back-off models as automata).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.lm.words import END, MARKS, START, UNKNOWN

# The arrays of a model, in the order of files and of compiled code, and their types.
ARRAYS: dict[str, np.dtype[Any]] = {
    "first": np.dtype("<i8"),
    "words": np.dtype("<i4"),
    "log10_probs": np.dtype("<f4"),
    "nexts": np.dtype("<i4"),
    "backoffs": np.dtype("<f4"),
    "links": np.dtype("<i4"),
}
LOWEST_LOG10 = -100.0  # of an unknown word, where the model has no <unk>
MAX_ORDER = 16  # of a model that is read


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A back-off model; logarithms are to base 10.

    State 0 is the empty context; its arcs are all words of the vocabulary, so its arc i is the word with id i.  States
    with longer contexts come later.  In the symbols 0 is <unk>, 1 is <s>, 2 is </s>.
    """

    order: int
    symbols: tuple[str, ...]
    first: NDArray[np.int64]  # (states + 1,) where the arcs of a state begin
    words: NDArray[np.int32]  # (arcs,) ascending within a state
    log10_probs: NDArray[np.float32]  # (arcs,)
    nexts: NDArray[np.int32]  # (arcs,) the state after the word: the longest of its endings that is a context
    backoffs: NDArray[np.float32]  # (states,) log10; 0 for the empty context
    links: NDArray[np.int32]  # (states,) the state without the oldest word; 0 for the empty context
    binding: dict[str, Any] | None = None  # what a file of it says of the recogniser that it belongs to

    def __post_init__(self) -> None:
        for name, kind in ARRAYS.items():
            array = np.ascontiguousarray(getattr(self, name), kind).view()
            array.flags.writeable = False  # a file's are not either, and compiled code tells the two apart
            object.__setattr__(self, name, array)

    @property
    def start(self) -> int:
        """The state at the start of a sentence."""
        return int(self.nexts[START])

    @property
    def num_states(self) -> int:
        """How many contexts there are, the empty one included."""
        return len(self.backoffs)

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays in the order in which `asr.lm.lookup.step` takes them; all are read-only."""
        return tuple(getattr(self, name) for name in ARRAYS)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.symbols) if word not in MARKS}

    def id_of(self, word: str) -> int:
        """Return the id of a word; that of <unk> for one that is not in the vocabulary, and for the marks."""
        return self._ids.get(word, UNKNOWN)

    def score(self, state: int, word_id: int) -> tuple[float, int]:
        """Return (log10 probability of the word in a state, the state after it): one step, without compiled code."""
        total = 0.0
        while state:
            begin, end = int(self.first[state]), int(self.first[state + 1])
            arc = begin + int(np.searchsorted(self.words[begin:end], word_id))
            if arc < end and self.words[arc] == word_id:
                return total + float(self.log10_probs[arc]), int(self.nexts[arc])
            total += float(self.backoffs[state])
            state = int(self.links[state])
        return total + float(self.log10_probs[word_id]), int(self.nexts[word_id])

    def sentence_log10(self, words: Sequence[str]) -> float:
        """Return the log10 probability of a sentence, its end included."""
        total, state = 0.0, self.start
        for word_id in (*map(self.id_of, words), END):
            log10, state = self.score(state, word_id)
            total += log10
        return total

    def level_bounds(self) -> list[int]:
        """Return where the states of each context length begin, and their number last: states of length k are
        bounds[k] to bounds[k + 1].

        Raises: ValueError if the arrays are those of no model: some states are reached by no arc, or by several.
        """
        bounds = [0, 1]
        while bounds[-1] < self.num_states:
            arcs = slice(int(self.first[bounds[-2]]), int(self.first[bounds[-1]]))
            # a word leads to a longer context only if all of the n-gram is one, and each context is reached so
            longer = int(np.count_nonzero(self.nexts[arcs] >= bounds[-1]))
            if not 0 < longer <= self.num_states - bounds[-1]:
                raise ValueError(f"{longer} arcs lead to states from {bounds[-1]} on, of {self.num_states}")
            bounds.append(bounds[-1] + longer)
        return bounds

    def num_ngrams(self) -> list[int]:
        """Return how many n-grams of 1, 2, ... words there are."""
        counts = [int(self.first[end] - self.first[begin]) for begin, end in itertools.pairwise(self.level_bounds())]
        return counts + [0] * (self.order - len(counts))
