"""How well a model foresees a text."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import DataError
from asr.lm.binding import spelling_of
from asr.lm.counting import encoded_blocks
from asr.lm.lookup import stream_log10
from asr.lm.ngram import NgramModel
from asr.lm.reading import named
from asr.lm.words import MARKS, START, UNKNOWN, WordTable


@dataclass(frozen=True)
class Perplexity:
    """Sums over a text; every sentence end counts as a token, as in kenlm's `query`."""

    num_sentences: int
    num_words: int  # without sentence ends
    num_unknown: int
    log10: float  # of all tokens
    log10_unknown: float  # of the unknown words alone

    @property
    def num_tokens(self) -> int:
        """Words and sentence ends."""
        return self.num_words + self.num_sentences

    @property
    def with_unknown(self) -> float:
        """The perplexity, unknown words counted with the probability of <unk>."""
        return _perplexity(self.log10, self.num_tokens)

    @property
    def without_unknown(self) -> float:
        """The perplexity of the other tokens, each still in its context."""
        return _perplexity(self.log10 - self.log10_unknown, self.num_tokens - self.num_unknown)


def _perplexity(log10: float, num_tokens: int) -> float:
    return float(10.0 ** (-log10 / num_tokens))


def perplexity(model: NgramModel, text: str | Path) -> Perplexity:
    """Return how well the model foresees a text with one sentence a line, plain, gzip or "-" for standard input.

    A model that is bound to a recogniser reads the text as that one spells.

    Raises: DataError for a text without a line, or one that cannot be read.
    """
    table = WordTable(model.symbols[len(MARKS) :])
    sentences = tokens = unknown = 0
    log10 = log10_unknown = 0.0
    for ids in encoded_blocks(text, table, growing=False, spelling=spelling_of(model)):
        scores, is_unknown = stream_log10(model, ids), ids == UNKNOWN
        sentences += int(np.count_nonzero(ids == START))
        tokens += len(ids)
        unknown += int(np.count_nonzero(is_unknown))
        log10 += float(scores.sum())
        log10_unknown += float(scores[is_unknown].sum())
    if not sentences:
        raise DataError(f"{named(text)}: no line in it; give a text with one sentence a line")
    return Perplexity(sentences, tokens - 2 * sentences, unknown, log10, log10_unknown)
