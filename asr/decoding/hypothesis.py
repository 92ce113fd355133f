"""What a search returns: token spans, words and hypotheses, as values that never change."""

from dataclasses import dataclass

from asr.units import Seconds


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """One output token and the encoder frames [start, end) that spell it."""

    token_id: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word.

    Attributes:
        start, end: in seconds from the start of what was transcribed, 0 <= start <= end <= duration.
        confidence: mean posterior over the word's aligned non-blank frames, in [0, 1].
    """

    word: str
    start: Seconds
    end: Seconds
    confidence: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One text of an n-best list.

    Attributes: score, acoustic_score, lm_score: as those of a hypothesis.
    """

    text: str
    score: float
    acoustic_score: float
    lm_score: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One answer of a search.

    Attributes:
        token_ids: without blanks, repeats merged.
        score: what the search maximised, a weighted sum of natural logs; higher is better.
        acoustic_score, lm_score: natural logs from the acoustic model alone, the language model alone.
        spans: where each token lies, one a token id, in order and without overlap.
        words: in order; their texts joined by spaces are `text`.
    """

    token_ids: tuple[int, ...]
    text: str
    score: float
    acoustic_score: float
    lm_score: float
    spans: tuple[TokenSpan, ...]
    words: tuple[Word, ...]
