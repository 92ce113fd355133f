"""Whether one system is better than another on the same utterances, or only luckier: paired tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.randomness import stream
from asr.scoring.bootstrap import REPLICATIONS, drawn_sums
from asr.scoring.error_rate import Alignment

MIN_GOOD = 2  # words that both have right in a row end a segment (Pallett et al. 1990; sc_stats too)

Column = tuple[str | None, str | None, str | None]  # reference, A, B; None where one has no word


@dataclass(frozen=True, slots=True)
class MatchedPairs:
    """The matched pairs test on segments.

    Attributes:
        segments: stretches in which at least one system errs.
        mean: errors of B minus errors of A, per segment.
        statistic: standard normal if both are equally good; None (and p_value) where it cannot be computed.
        p_value: two-sided.
    """

    segments: int
    mean: float
    statistic: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class BootstrapDifference:
    """How the error rate of B minus that of A (fractions) varies when utterances are drawn anew.

    Attributes:
        low, high: interval of the difference at `level`.
        b_better: share of the draws in which B has the lower rate, ties counting half ("probability of improvement").
        p_value: two-sided, twice the smaller tail; never below 1 / (replications + 1), which is all that draws show.
    """

    low: float
    high: float
    level: float
    b_better: float
    p_value: float
    replications: int
    seed: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """Utterances that only one system has wholly right, and the two-sided p-value of so uneven a split."""

    only_a_right: int
    only_b_right: int
    p_value: float


def merged(a: Alignment, b: Alignment) -> list[Column]:
    """Return two alignments with the same reference as one: insertions between the same words side by side.

    Both systems' errors in the columns are those of their alignments.
    """
    columns: list[Column] = []
    gaps_a, gaps_b = _by_reference(a), _by_reference(b)
    for (word, right_a, inserted_a), (_, right_b, inserted_b) in zip(gaps_a, gaps_b, strict=True):
        if word is not None:
            columns.append((word, right_a, right_b))
        for place in range(max(len(inserted_a), len(inserted_b))):
            columns.append((None, _at(inserted_a, place), _at(inserted_b, place)))
    return columns


def segment_errors(columns: Sequence[Column]) -> list[tuple[int, int]]:
    """Return (errors of A, errors of B) of each segment of an utterance in which at least one errs.

    A segment ends with the utterance or where both have `MIN_GOOD` words in a row right, so that errors of two
    segments are independent for a recogniser whose language model looks no further back.
    Source: Gillick and Cox 1989, "Some statistical issues in the comparison of speech recognition algorithms";
        Pallett, Fisher and Fiscus 1990, "Tools for the analysis of benchmark speech recognition tests".
    """
    segments: list[tuple[int, int]] = []
    num_good = MIN_GOOD  # the utterance's start ends a segment too
    for word, a, b in columns:
        errors = (int(a != word), int(b != word))
        if errors == (0, 0):
            num_good += 1
            continue
        if num_good >= MIN_GOOD:
            segments.append(errors)
        else:
            segments[-1] = (segments[-1][0] + errors[0], segments[-1][1] + errors[1])
        num_good = 0
    return segments


def matched_pairs(segments: Sequence[tuple[int, int]]) -> MatchedPairs:
    """Return the matched pairs sentence-segment word error test (MAPSSWE) of all utterances' segments.

    The mean difference over its standard error is taken as normal, which wants many segments (50 or more).  It cannot
    be computed for fewer than two, or if all differ by the same amount but 0.
    Source: Gillick and Cox 1989, section 3.2.
    """
    differences = np.array([b - a for a, b in segments], dtype=np.float64)
    if not differences.any():
        return MatchedPairs(len(segments), 0.0, 0.0, 1.0)
    mean = float(differences.mean())
    if len(differences) < 2 or (differences == differences[0]).all():
        return MatchedPairs(len(segments), mean, None, None)
    statistic = mean / float(differences.std(ddof=1) / math.sqrt(len(differences)))
    return MatchedPairs(len(segments), mean, statistic, math.erfc(abs(statistic) / math.sqrt(2)))


def bootstrap_difference(
    errors_a: Sequence[int],
    errors_b: Sequence[int],
    lengths: Sequence[int],
    *,
    seed: int = 0,
    replications: int = REPLICATIONS,
    level: float = 0.95,
) -> BootstrapDifference | None:
    """Return how sure the difference is when the same utterances are drawn anew for both systems.

    Args: errors of each utterance, and its reference words.
    None if there is no reference word.
    Source: Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
        section 5; the p-value with 1 added to both counts, Davison and Hinkley 1997, section 4.2.
    """
    if not sum(lengths):
        return None
    differences = np.array(errors_b, np.int64) - np.array(errors_a, np.int64)
    drawn, words = drawn_sums(
        (differences, np.array(lengths, np.int64)), replications, stream(seed, "paired bootstrap")
    )
    changes = drawn[words > 0] / words[words > 0]
    low, high = np.quantile(changes, [(1 - level) / 2, (1 + level) / 2])
    return BootstrapDifference(
        float(low), float(high), level, _share_below_zero(changes), _two_sided(changes), replications, seed
    )


def mcnemar(wrong_a: Sequence[bool], wrong_b: Sequence[bool]) -> McNemar:
    """Return McNemar's exact test on utterances with an error: of those on which they differ, is half each's?

    Source: Gillick and Cox 1989, section 2 (binomial, no approximation).
    """
    only_a = sum(b and not a for a, b in zip(wrong_a, wrong_b, strict=True))
    only_b = sum(a and not b for a, b in zip(wrong_a, wrong_b, strict=True))
    return McNemar(only_a, only_b, _binomial(min(only_a, only_b), only_a + only_b))


def _binomial(fewer: int, total: int) -> float:
    """Return the two-sided probability of `fewer` or less of `total` fair coins."""
    ways = tail = 1  # integers: no rounding until the end
    for count in range(fewer):
        ways = ways * (total - count) // (count + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << total))


def _share_below_zero(changes: NDArray[np.float64]) -> float:
    return float(((changes < 0) + 0.5 * (changes == 0)).mean())


def _two_sided(changes: NDArray[np.float64]) -> float:
    smaller = min((changes <= 0).sum(), (changes >= 0).sum())
    return min(1.0, 2 * float(smaller + 1) / (len(changes) + 1))


def _by_reference(alignment: Alignment) -> list[tuple[str | None, str | None, list[str | None]]]:
    """Return (reference word, what is recognised for it, words inserted after it); first those before any."""
    gaps: list[tuple[str | None, str | None, list[str | None]]] = [(None, None, [])]
    for left, right in alignment:
        if left is None:
            gaps[-1][2].append(right)
        else:
            gaps.append((left, right, []))
    return gaps


def _at(words: Sequence[str | None], place: int) -> str | None:
    return words[place] if place < len(words) else None
