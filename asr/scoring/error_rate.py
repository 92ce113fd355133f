"""Word and character error rates with alignments.

Every edit costs 1 (as in Kaldi's compute-wer; sclite's weights are 3, 3 and 4 and may split the same errors
otherwise).  Totals add up: errors = insertions + deletions + substitutions, and a total is the sum over its
utterances.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

import kaldialign

from asr.errors import DataError
from asr.text.normalize import Case, Normalizer, NormalizerConfig

_NOTHING = -1  # stands for "no word" in kaldialign's alignments; words are numbered from 0

Alignment = tuple[tuple[str | None, str | None], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """One utterance to score: what was said and what was recognised."""

    id: str
    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Edits that turn the reference into the hypothesis, and the reference's length (words or characters)."""

    insertions: int
    deletions: int
    substitutions: int
    reference: int

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        """Return the counts of both together."""
        return ErrorCounts(
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
            self.reference + other.reference,
        )

    @property
    def errors(self) -> int:
        """All edits."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def rate(self) -> float:
        """Errors per reference word (or character): above 1 with many insertions, inf if there is no reference."""
        if self.reference:
            return self.errors / self.reference
        return math.inf if self.errors else 0.0


@dataclass(frozen=True, slots=True)
class UtteranceScore:
    """The errors of one utterance.

    Attributes:
        alignment: (reference word, hypothesis word) in order; None on the left is an insertion, on the right
            a deletion.
    """

    id: str
    words: ErrorCounts
    characters: ErrorCounts
    alignment: Alignment


@dataclass(frozen=True, slots=True)
class Score:
    """The errors of a test set; totals are sums over `utterances`."""

    utterances: tuple[UtteranceScore, ...]
    words: ErrorCounts
    characters: ErrorCounts

    @property
    def sentence_errors(self) -> int:
        """Utterances with at least one word error."""
        return sum(utterance.words.errors > 0 for utterance in self.utterances)


def score(pairs: Iterable[Pair], *, case: Case = "keep", spelling: Callable[[str], str] | None = None) -> Score:
    """Return the errors of all pairs, in their order.

    Both texts are first normalised: by `spelling` (a model's own normaliser: one that never learnt punctuation is not
    asked for it), then Unicode NFC, single spaces, no invisible characters, letters to `case`.
    Words are what spaces separate.  Characters are code points, the single spaces between words included, as
    ESPnet counts them (the 130 AN4 test utterances have 773 words and 2565 characters).  An empty reference
    adds its insertions and no length.
    Raises: DataError if there is no pair.
    """
    cased = Normalizer(NormalizerConfig(case=case))

    def normalize(text: str) -> str:
        return cased(text if spelling is None else spelling(text))

    utterances = tuple(score_utterance(pair, normalize) for pair in pairs)
    if not utterances:
        raise DataError("nothing to score: there is no utterance; check the files")
    return Score(
        utterances,
        words=reduce(add, (utterance.words for utterance in utterances)),
        characters=reduce(add, (utterance.characters for utterance in utterances)),
    )


def score_utterance(pair: Pair, normalize: Callable[[str], str]) -> UtteranceScore:
    """Return the errors of one pair after `normalize`, which leaves single spaces between words."""
    reference, hypothesis = normalize(pair.reference), normalize(pair.hypothesis)
    alignment = align(reference.split(), hypothesis.split())
    return UtteranceScore(
        pair.id,
        words=_count(alignment),
        characters=character_errors(reference, hypothesis),
        alignment=alignment,
    )


def align(reference: list[str], hypothesis: list[str]) -> Alignment:
    """Return an alignment with the fewest edits; any word may occur in the texts, "*" and "" too."""
    number_of = {word: number for number, word in enumerate(dict.fromkeys(reference + hypothesis))}
    words: dict[int, str | None] = {number: word for word, number in number_of.items()}
    words[_NOTHING] = None
    numbers = kaldialign.align(
        [number_of[word] for word in reference], [number_of[word] for word in hypothesis], _NOTHING
    )
    return tuple((words[left], words[right]) for left, right in numbers)


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Return the fewest edits between two texts, word by word."""
    return _count(align(reference, hypothesis)).errors


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Return the edits between two texts, code point by code point; memory grows with the length only."""
    edits = kaldialign.edit_distance(reference, hypothesis)
    return ErrorCounts(int(edits["ins"]), int(edits["del"]), int(edits["sub"]), len(reference))


def _count(alignment: Alignment) -> ErrorCounts:
    insertions = sum(left is None for left, _ in alignment)
    deletions = sum(right is None for _, right in alignment)
    differing = sum(left != right for left, right in alignment)
    return ErrorCounts(insertions, deletions, differing - insertions - deletions, len(alignment) - insertions)
