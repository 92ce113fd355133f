"""Which words are taken for which: the errors of a test set counted by word."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from asr.scoring.error_rate import UtteranceScore


@dataclass(frozen=True, slots=True)
class Confusions:
    """Errors with how often each occurs, most frequent first, then in the order of the words.

    Attributes:
        pairs: (reference word, recognised word) of substitutions.
        inserted, deleted: words recognised that nobody said, said that nobody recognised.
    """

    pairs: tuple[tuple[tuple[str, str], int], ...]
    inserted: tuple[tuple[str, int], ...]
    deleted: tuple[tuple[str, int], ...]

    @property
    def substituted(self) -> tuple[tuple[str, int], ...]:
        """Reference words that others were recognised for."""
        return _ranked(_sum((left, count) for (left, _), count in self.pairs))

    @property
    def falsely_recognised(self) -> tuple[tuple[str, int], ...]:
        """Words that were recognised for others."""
        return _ranked(_sum((right, count) for (_, right), count in self.pairs))


def count_confusions(utterances: Iterable[UtteranceScore]) -> Confusions:
    """Return the errors of the utterances by word; their sums are the substitutions, insertions and deletions."""
    pairs: Counter[tuple[str, str]] = Counter()
    inserted: Counter[str] = Counter()
    deleted: Counter[str] = Counter()
    for utterance in utterances:
        for left, right in utterance.alignment:
            if left is None and right is not None:
                inserted[right] += 1
            elif right is None and left is not None:
                deleted[left] += 1
            elif left is not None and right is not None and left != right:
                pairs[left, right] += 1
    ranked = tuple(sorted(pairs.items(), key=lambda item: (-item[1], item[0])))
    return Confusions(ranked, _ranked(inserted), _ranked(deleted))


def _sum(items: Iterable[tuple[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for word, count in items:
        total[word] += count
    return total


def _ranked(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
