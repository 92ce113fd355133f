"""How much of an error rate is chance: a confidence interval over utterances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import UsageError
from asr.randomness import stream
from asr.scoring.error_rate import ErrorCounts

REPLICATIONS = 10_000  # from seed to seed the ends then move by about 0.01 of the width (130 utterances)
_BLOCK_DRAWS = 4_000_000  # 32 MB of indices at a time, however long the test set


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval [low, high] of the error rate (a fraction) that holds with probability `level`."""

    low: float
    high: float
    level: float
    replications: int
    seed: int


def bootstrap_interval(
    counts: Sequence[ErrorCounts], *, seed: int = 0, replications: int = REPLICATIONS, level: float = 0.95
) -> Interval | None:
    """Return the percentile interval of the error rate when the utterances are drawn anew with replacement.

    Errors within one utterance stay together; those of one speaker do not, so with few speakers the truth is
    wider.  Replications in which no reference word is drawn have no rate and are left out; None if no
    utterance has any.
    Raises: UsageError if replications < 1 or level is not in (0, 1).
    Source: Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
        section 3.
    """
    if replications < 1 or not 0 < level < 1:
        raise UsageError(f"bootstrap: replications must be >= 1 and level in (0, 1), got {replications} and {level}")
    errors = np.array([count.errors for count in counts], dtype=np.int64)
    lengths = np.array([count.reference for count in counts], dtype=np.int64)
    if not lengths.sum():
        return None
    drawn_errors, drawn_lengths = drawn_sums((errors, lengths), replications, stream(seed, "bootstrap"))
    spoken = drawn_lengths > 0
    rates = drawn_errors[spoken] / drawn_lengths[spoken]
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, replications, seed)


def drawn_sums(
    values: Sequence[NDArray[np.int64]], replications: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return for each array (utterances,) its sums (replications,) over utterances drawn with replacement.

    Each replication draws as many as there are, the same for all arrays.
    """
    num_utterances = len(values[0])
    block = max(1, _BLOCK_DRAWS // num_utterances)
    sums: list[list[NDArray[np.int64]]] = [[] for _ in values]
    for first in range(0, replications, block):
        size = (min(block, replications - first), num_utterances)
        drawn = generator.integers(0, num_utterances, size=size)
        for some, value in zip(sums, values, strict=True):
            some.append(value[drawn].sum(axis=1))
    return [np.concatenate(some) for some in sums]
