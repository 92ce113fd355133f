"""Interpolated modified Kneser-Ney smoothing: counts of n-grams to a back-off model.

Source: Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 4.2 and
equation 26; Heafield et al. 2013, "Scalable modified Kneser-Ney language model estimation", whose conventions
(the vocabulary, <s>, cut-offs) are kept, so that the numbers are those of its program lmplz.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.lm.counting import CountLevel
from asr.lm.table import NgramTable
from asr.lm.words import END, START

FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text has too few n-grams of some count to tell them
LOG10_OF_NOTHING = -99.0

Discounts = tuple[float, float, float]
Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """What was estimated.

    Attributes: kept: (words,) which words of the text the model has; discounts: of counts 1, 2, and 3 or more, for each
        length; fixed: the lengths, from 1, whose discounts could not be told from the text.
    """

    table: NgramTable
    suffixes: NDArray[np.int32]
    kept: NDArray[np.bool_]
    discounts: list[Discounts]
    fixed: list[int]


@dataclass(frozen=True, eq=False)
class _Smoothed:
    """The n-grams of one length, estimated: probabilities, kept ones, and weights of their contexts for back-off."""

    probs: Reals
    keep: NDArray[np.bool_]
    gammas: Reals  # (contexts,)


def kneser_ney(
    levels: Sequence[CountLevel], cutoffs: Sequence[int] = (), allowed: NDArray[np.bool_] | None = None
) -> Estimate:
    """Return the model of the counts.

    Args:
        levels: of the lengths 1 to the order, as `count_ngrams` returns them.
        cutoffs: for each length; n-grams that occur so often or less are left out.  Ascending; the last one goes on.
        allowed: (words,) the words that the model may have, marks among them; n-grams with others are left out.
    """
    limits = [*cutoffs, *[cutoffs[-1] if cutoffs else 0] * len(levels)][: len(levels)]
    foreign = np.zeros(len(levels[0].words), np.bool_) if allowed is None else ~allowed
    banned = foreign  # for each length in turn: whether a foreign word is in the n-gram
    smoothed: list[_Smoothed] = []
    estimated = []
    for length, level in enumerate(levels, 1):
        if length > 1:
            banned = banned[level.contexts] | foreign[level.words]
        keep = ~(banned | _rare(level, limits[length - 1], length))
        counts = _adjusted(levels, length)
        estimated.append(discounts_of(counts))
        lower = smoothed[-1].probs if smoothed else np.array([1.0 / max(int(np.count_nonzero(keep)) - 1, 1)])
        smoothed.append(_smooth(level, counts, keep, estimated[-1] or FALLBACK, lower))
        if length == 1:
            smoothed[0].probs[START] = 1.0  # never predicted, so as lmplz writes it
    table, suffixes = _assemble(levels, smoothed)
    fixed = [length for length, values in enumerate(estimated, 1) if values is None]
    return Estimate(table, suffixes, smoothed[0].keep, [values or FALLBACK for values in estimated], fixed)


def _rare(level: CountLevel, limit: int, length: int) -> NDArray[np.bool_]:
    """Return which n-grams occur `limit` times or less; marks never do."""
    rare = level.counts <= limit if limit else np.zeros(len(level.words), np.bool_)
    if length == 1:
        rare[: END + 1] = False
    return rare


def _adjusted(levels: Sequence[CountLevel], length: int) -> NDArray[np.int64]:
    """Return the counts that are smoothed: of the longest n-grams and those after <s> as they are, of others in how
    many contexts they occur (Chen & Goodman 1999, equation 25)."""
    level = levels[length - 1]
    if length == len(levels):
        counts = level.counts.copy()
    else:
        contexts = np.bincount(levels[length].suffixes, minlength=len(level.words))
        counts = np.where(level.initial, level.counts, contexts)
    if length == 1:
        counts[START] = 0
    return counts


def discounts_of(counts: NDArray[np.int64]) -> Discounts | None:
    """Return the discounts of the counts 1, 2, and 3 or more; None where the counts of counts do not tell them.

    Source: Chen & Goodman 1999, equation 26.
    """
    kinds = np.bincount(np.minimum(counts, 5), minlength=6)
    if not kinds[1:4].all():
        return None
    y = kinds[1] / (kinds[1] + 2 * kinds[2])
    one, two, more = (float(k - (k + 1) * y * kinds[k + 1] / kinds[k]) for k in (1, 2, 3))
    in_range = 0 <= one <= 1 and 0 <= two <= 2 and 0 <= more <= 3
    return (one, two, more) if in_range else None


def _smooth(
    level: CountLevel, counts: NDArray[np.int64], keep: NDArray[np.bool_], discounts: Discounts, lower: Reals
) -> _Smoothed:
    """Return probabilities interpolated with those of the n-grams one word shorter, `lower`.

    What n-grams that are left out would have had is shared out as what the discounts took is.
    """
    num_contexts = int(level.contexts.max()) + 1
    taken = np.array([0.0, *discounts])[np.minimum(counts, 3)]
    total = np.bincount(level.contexts, counts, num_contexts)
    shared = np.bincount(level.contexts, np.where(keep, taken, counts), num_contexts)
    gammas = np.divide(shared, total, out=np.ones(num_contexts), where=total > 0)
    probs = (counts - taken) / total[level.contexts] + gammas[level.contexts] * lower[level.suffixes]
    return _Smoothed(probs, keep, gammas)


def _assemble(levels: Sequence[CountLevel], smoothed: Sequence[_Smoothed]) -> tuple[NgramTable, NDArray[np.int32]]:
    """Return (the table of the n-grams that are kept, their longest suffixes)."""
    ends = [1]
    none, nothing = np.array([-1], np.int32), np.zeros(1, np.float32)
    parents, words, suffixes, logs, backoffs = [none], [none], [np.zeros(1, np.int32)], [nothing], [nothing]
    new_ids = np.cumsum(smoothed[0].keep, dtype=np.int32) - 1
    numbers = np.zeros(1, np.int32)  # of the n-grams one word shorter, in the table
    for length, (level, part) in enumerate(zip(levels, smoothed, strict=True), 1):
        keep = part.keep
        parents.append(numbers[level.contexts[keep]])
        suffixes.append(numbers[level.suffixes[keep]])
        words.append(new_ids[level.words[keep]])
        logs.append(_log10(part.probs[keep]))
        weights = np.ones(len(keep))
        if length < len(levels):
            gammas = smoothed[length].gammas
            weights[: len(gammas)] = gammas
        backoffs.append(_log10(weights[keep]))
        numbers = (ends[-1] - 1 + np.cumsum(keep)).astype(np.int32)
        ends.append(ends[-1] + int(np.count_nonzero(keep)))
    joined = NgramTable(
        ends, np.concatenate(parents), np.concatenate(words), np.concatenate(logs), np.concatenate(backoffs)
    )
    return joined, np.concatenate(suffixes)


def _log10(values: Reals) -> NDArray[np.float32]:
    """Return log10, as float32; what is nothing gets the least that files hold."""
    return np.log10(np.clip(values, 10.0**LOG10_OF_NOTHING, 1.0)).astype(np.float32)
