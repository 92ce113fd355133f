"""Error rates of parts of a test set: of each speaker, by length, by noise."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from asr.scoring.bootstrap import Interval, bootstrap_interval
from asr.scoring.error_rate import ErrorCounts, Score, UtteranceScore

# Fixed, so that the slices of two results can be laid side by side.
SECONDS = (0, 1, 2, 4, 8, 16, 32)
WORDS = (0, 1, 2, 3, 5, 10, 20, 40)
DECIBELS = (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50)


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the utterances, scored; the interval is None for a single utterance: nothing can be drawn anew."""

    name: str
    utterances: tuple[UtteranceScore, ...]
    words: ErrorCounts
    interval: Interval | None

    @property
    def sentence_errors(self) -> int:
        """Utterances with at least one word error."""
        return sum(utterance.words.errors > 0 for utterance in self.utterances)


def slices(score: Score, label_of: Mapping[str, str], *, seed: int) -> list[Slice]:
    """Return the slices that the labels of the utterances (by id) make, in the order of `label_of`.

    Their counts add up to those of the score.
    """
    groups: dict[str, list[UtteranceScore]] = {label: [] for label in label_of.values()}
    for utterance in score.utterances:
        groups[label_of[utterance.id]].append(utterance)
    return [_slice(name, group, seed) for name, group in groups.items()]


def in_bins(
    values: Mapping[str, float | None], edges: Sequence[float], unit: str, *, whole: bool = False
) -> dict[str, str]:
    """Return the bin of each utterance as a label, in ascending order, unknown ones last.

    Args:
        edges: ascending; below the first and from the last on are bins too.  A value on an edge lies above it.
        whole: values are counts, so that the bin of 5 and more, but fewer than 10, is "5 to 9".
    """
    order = sorted(values, key=lambda name: (values[name] is None, values[name] or 0.0))
    return {name: _bin(values[name], edges, unit, whole) for name in order}


def interval_over_slices(parts: Sequence[Slice], *, seed: int) -> Interval | None:
    """Return the interval of the error rate when whole slices (speakers) are drawn anew; None for fewer than two.

    Errors of one speaker are alike, so this is the wider and truer one for speakers who have not been heard.
    Source: Bisani and Ney 2004, section 3: what is drawn must be independent, and speakers are.
    """
    return bootstrap_interval([part.words for part in parts], seed=seed) if len(parts) > 1 else None


def _slice(name: str, group: Sequence[UtteranceScore], seed: int) -> Slice:
    counts = [utterance.words for utterance in group]
    interval = bootstrap_interval(counts, seed=seed) if len(group) > 1 else None
    return Slice(name, tuple(group), reduce(add, counts), interval)


def _bin(value: float | None, edges: Sequence[float], unit: str, whole: bool) -> str:
    if value is None:
        return "unknown"
    index = bisect_right(edges, value)
    if index == 0:
        return f"below {edges[0]:g} {unit}"
    if index == len(edges):
        return f"from {edges[-1]:g} {unit}"
    low, high = edges[index - 1], edges[index] - whole
    return f"{low:g} {unit}" if low == high else f"{low:g} to {high:g} {unit}"
