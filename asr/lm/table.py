"""All n-grams of a model as one table: what readers and the trainer make, and what automata are made from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import MachineError

MAX_NGRAMS = (1 << 31) - 2  # their numbers are int32


@dataclass(frozen=True, eq=False)
class NgramTable:
    """N-grams by number: 0 is the empty one, then all words (word id + 1), then those of two words, and so on.

    Within a length they ascend by (parent, last word), so the extensions of an n-gram are neighbours.
    """

    ends: list[int]  # after the last n-gram of k words, k from 0; ends[0] is 1
    parents: NDArray[np.int32]  # the n-gram without its last word; -1 for the empty one
    words: NDArray[np.int32]  # the last word; -1 for the empty one
    log10_probs: NDArray[np.float32]
    backoffs: NDArray[np.float32]  # log10; 0 where there is none

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return len(self.ends) - 1


def num_children(table: NgramTable) -> NDArray[np.int64]:
    """Return (n-grams,) how many n-grams are one of the table's and one word more."""
    return np.bincount(table.parents[1:], minlength=table.ends[-1])


def check_number(count: int, where: str) -> None:
    """Raise MachineError if there are more n-grams than can be numbered."""
    if count > MAX_NGRAMS:
        raise MachineError(f"{where}: {count} n-grams, at most {MAX_NGRAMS} can be kept; use a lower order or prune")
